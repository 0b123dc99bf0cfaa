//! Whether an address can be a return address, told by the code before it.

use core::ptr;

use crate::os;

/// The bytes of the longest call instruction without prefixes.
const LONGEST_CALL: u64 = 7;

/// Whether a call instruction ends at `address`. A frame pointer that is none leads to words of
/// the stack, of which nearly all fail here. Costs two system calls.
pub fn follows_call(address: u64) -> bool {
    let Some(start) = address.checked_sub(LONGEST_CALL) else {
        return false;
    };
    let is_readable = |address: u64| os::is_readable(address & !7);
    if !is_readable(start) || !is_readable(address - 1) {
        return false;
    }
    // SAFETY: both words that these bytes may be part of can be read; code bytes are any bytes.
    let code: [u8; LONGEST_CALL as usize] = unsafe {
        ptr::with_exposed_provenance::<[u8; LONGEST_CALL as usize]>(start as usize).read_volatile()
    };
    ends_in_call(code)
}

fn ends_in_call(code: [u8; LONGEST_CALL as usize]) -> bool {
    const RELATIVE: u8 = 0xe8;
    const INDIRECT: u8 = 0xff;
    let is_indirect = |length: usize| {
        let at = code.len() - length;
        code[at] == INDIRECT && code[at + 1] >> 3 & 7 == 2
    };
    code[2] == RELATIVE || [2, 3, 4, 6, 7].into_iter().any(is_indirect)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(code: [u8; 7], expected: bool) {
        assert_eq!(ends_in_call(code), expected, "{code:x?}");
    }

    #[test]
    fn calls() {
        check([0x90, 0x90, 0xe8, 1, 2, 3, 4], true); // call +disp32
        check([0x90, 0x90, 0x90, 0x90, 0x90, 0xff, 0xd7], true); // call rdi
        check([0x90, 0x90, 0x90, 0x90, 0x41, 0xff, 0xd3], true); // call r11
        check([0x90, 0x90, 0x90, 0x90, 0xff, 0x50, 0x18], true); // call [rax+24]
        check([0x90, 0xff, 0x15, 1, 2, 3, 4], true); // call [rip+disp32]
        check([0xff, 0x94, 0x24, 1, 2, 3, 4], true); // call [rsp+disp32]
        check([0x90, 0x90, 0x90, 0x90, 0x90, 0xff, 0xe7], false); // jmp rdi
        check([0; 7], false);
    }
}
