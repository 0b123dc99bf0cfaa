//! Whether an address can be a return address, told by the code before it.

use core::ptr;

use super::rule::{Cfa, Rule, SavedRbp};
use crate::os;

const PAGE_BYTES: u64 = 4096;

/// The bytes of the longest call instruction without prefixes.
const LONGEST_CALL: u64 = 7;

/// The bytes of an epilogue that are looked at.
const EPILOGUE: usize = 16;

/// Whether a call instruction ends at `address`. A frame pointer that is none leads to words of
/// the stack, of which nearly all fail here. Costs a system call.
pub fn follows_call(address: u64) -> bool {
    code_from(address.wrapping_sub(LONGEST_CALL)).is_some_and(ends_in_call)
}

/// The rule for code that has no table and ends right after the call to which `return_address` belongs: it
/// gives its frame back and returns. So do Python's trampolines for `perf`, which keep no frame pointer.
pub fn rule_of_epilogue(return_address: u64) -> Option<Rule> {
    let epilogue = code_from::<EPILOGUE>(return_address)?;
    let rule = epilogue_rule(&epilogue)?;
    follows_call(return_address).then_some(rule)
}

/// The code from `start` on. Generated code may lie at the edge of what is mapped: bytes beyond it are 0,
/// which begins no instruction that is looked for. None when nothing can be read.
fn code_from<const LENGTH: usize>(start: u64) -> Option<[u8; LENGTH]> {
    let last = start.checked_add(LENGTH as u64 - 1)?;
    let is_readable = |address: u64| os::is_readable(address & !7);
    let has_start = is_readable(start);
    let has_last = match start / PAGE_BYTES == last / PAGE_BYTES {
        true => has_start,
        false => is_readable(last),
    };
    if !has_start && !has_last {
        return None;
    }
    let mut code = [0; LENGTH];
    for (byte, address) in code.iter_mut().zip(start..) {
        let is_of_first_page = address / PAGE_BYTES == start / PAGE_BYTES;
        if (is_of_first_page && has_start) || (!is_of_first_page && has_last) {
            // SAFETY: its page can be read; code bytes are any bytes.
            *byte = unsafe { ptr::with_exposed_provenance::<u8>(address as usize).read_volatile() };
        }
    }
    Some(code)
}

/// `add rsp, n`, then `pop`s, then `ret`, each of the first two as often as one likes. None for all else.
fn epilogue_rule(mut code: &[u8]) -> Option<Rule> {
    let mut bytes = 0_i32;
    let mut rbp_at = None;
    loop {
        let add = |bytes: i32, amount: i32| (amount >= 0).then(|| bytes.checked_add(amount))?;
        match *code {
            [0x48, 0x83, 0xc4, amount, ..] => {
                bytes = add(bytes, i32::from(amount.cast_signed()))?;
                code = &code[4..];
            }
            [0x48, 0x81, 0xc4, a, b, c, d, ..] => {
                bytes = add(bytes, i32::from_le_bytes([a, b, c, d]))?;
                code = &code[7..];
            }
            // pop of rbx and rbp; the others need a prefix.
            [popped @ (0x5b | 0x5d), ..] => {
                rbp_at = if popped == 0x5d { Some(bytes) } else { rbp_at };
                bytes = add(bytes, 8)?;
                code = &code[1..];
            }
            [0x41, 0x5c..=0x5f, ..] => {
                bytes = add(bytes, 8)?;
                code = &code[2..];
            }
            [0xc3, ..] => return rule_of_frame(bytes, rbp_at),
            _ => return None,
        }
    }
}

/// A frame of so many bytes, in which the caller's `rbp` lies so far from its start.
fn rule_of_frame(bytes: i32, rbp_at: Option<i32>) -> Option<Rule> {
    let offset = bytes.checked_add(8)?;
    let rbp = match rbp_at {
        None => SavedRbp::Unchanged,
        Some(at) if (offset - at) % 8 == 0 => {
            SavedRbp::AtCfa(i8::try_from((at - offset) / 8).ok()?)
        }
        Some(_) => return None,
    };
    Some(Rule {
        cfa: Cfa::Rsp,
        offset,
        addend: 0,
        rbp,
    })
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

    fn check_epilogue(code: &[u8], expected: Option<(i32, SavedRbp)>) {
        let found = epilogue_rule(code).map(|rule| (rule.offset, rule.rbp));
        assert_eq!(found, expected, "{code:x?}");
    }

    #[test]
    fn epilogues() {
        check_epilogue(&[0xc3], Some((8, SavedRbp::Unchanged)));
        // add rsp, 8; ret: the trampoline of Python 3.12
        check_epilogue(
            &[0x48, 0x83, 0xc4, 8, 0xc3, 0x90],
            Some((16, SavedRbp::Unchanged)),
        );
        // pop rbp; ret: that of Python 3.13
        check_epilogue(&[0x5d, 0xc3], Some((16, SavedRbp::AtCfa(-2))));
        // add rsp, 0x1f8; pop rbx; pop rbp; pop r12; pop r15; ret
        let long = [
            0x48, 0x81, 0xc4, 0xf8, 1, 0, 0, 0x5b, 0x5d, 0x41, 0x5c, 0x41, 0x5f, 0xc3,
        ];
        check_epilogue(&long, Some((0x1f8 + 5 * 8, SavedRbp::AtCfa(-4))));
    }

    #[test]
    fn no_epilogues() {
        check_epilogue(&[], None);
        check_epilogue(&[0x90, 0xc3], None);
        check_epilogue(&[0x48, 0x83, 0xc4], None); // cut off
        check_epilogue(&[0x48, 0x83, 0xc4, 0xf8, 0xc3], None); // add rsp, -8
        check_epilogue(&[0x41, 0x5d], None);
    }
}
