//! Stacks by the recorder's unwinder.
//!
//! ```text
//! thread-local pointer -> ThreadCapture (own pages)
//!                           stacks:  what the thread remembers of its last capture, and its trie
//!                           numbers: node of that trie -> number in the process
//! ```

use std::arch::naked_asm;
use std::cell::Cell;
use std::ffi::c_void;
use std::ptr::{self, NonNull};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};

use heapatlas_record::pages;
use heapatlas_record::region::Errno;
use heapatlas_record::shared_stacks::{CUT_OFF, EMPTY};
use heapatlas_record::stack_bounds;
use heapatlas_record::stack_table::NodeSink;
use heapatlas_record::unwind::{self, Registers, ThreadStacks};

use super::{STACKS, StackId};
use crate::fork;
use crate::guard::Guard;

thread_local! {
    // Constant and without a destructor, see `guard`. The state behind it is given back by a key of the C library,
    // whose destructors run after those of the language.
    static THREAD: Cell<*mut ThreadCapture> = const { Cell::new(ptr::null_mut()) };
}

/// The stack of whoever calls this: about 40 ns. `NONE` when there is no memory. Does not allocate.
#[inline(always)]
pub(crate) fn capture(_: &Guard) -> StackId {
    StackId(capture_caller())
}

/// Hands over the registers as they are in the caller.
#[unsafe(naked)]
extern "C" fn capture_caller() -> u32 {
    naked_asm!(
        "mov rdi, [rsp]",
        "lea rsi, [rsp + 8]",
        "mov rdx, rbp",
        "jmp {}",
        sym capture_at,
    )
}

extern "C" fn capture_at(pc: u64, sp: u64, rbp: u64) -> u32 {
    let mut thread = THREAD.get();
    if thread.is_null() {
        thread = attach();
    }
    // SAFETY: null, or this thread's state; the guard of `capture` says that nobody else of this thread uses it.
    match unsafe { thread.as_mut() } {
        Some(thread) => thread.capture(Registers { pc, sp, rbp }),
        None => EMPTY,
    }
}

struct ThreadCapture {
    stacks: ThreadStacks,
    numbers: Numbers,
}

impl ThreadCapture {
    #[inline]
    fn capture(&mut self, registers: Registers) -> u32 {
        let captured = self.stacks.capture(registers, &mut self.numbers);
        self.numbers.get(captured.stack)
    }
}

/// The number in the process of each node of a thread's trie. (Nodes 0 and 1 are the empty stacks, there as here.)
struct Numbers {
    first: NonNull<u32>,
    capacity: usize,
    length: usize,
}

const FIRST_CAPACITY: usize = 1024;

impl Numbers {
    fn new() -> Option<Self> {
        let first = pages::map(FIRST_CAPACITY * size_of::<u32>())?.cast();
        let mut numbers = Self {
            first,
            capacity: FIRST_CAPACITY,
            length: 0,
        };
        numbers.push(EMPTY);
        numbers.push(CUT_OFF);
        Some(numbers)
    }

    #[inline]
    fn get(&self, node: u32) -> u32 {
        if node as usize >= self.length {
            return CUT_OFF;
        }
        // SAFETY: `length` numbers were written.
        unsafe { *self.first.add(node as usize).as_ptr() }
    }

    /// Without memory the node goes unnumbered, and so do all after it: [`Self::get`] says that they are cut off.
    fn push(&mut self, number: u32) {
        if self.length == self.capacity && !self.grow() {
            return;
        }
        // SAFETY: below the capacity.
        unsafe { *self.first.add(self.length).as_ptr() = number };
        self.length += 1;
    }

    #[cold]
    fn grow(&mut self) -> bool {
        let bytes = self.capacity * size_of::<u32>();
        let Some(larger) = pages::map(2 * bytes) else {
            return false;
        };
        // SAFETY: both are of that size at least, and apart; the old memory is not used any more.
        unsafe {
            larger.copy_from_nonoverlapping(self.first.cast(), bytes);
            pages::unmap(self.first.cast(), bytes);
        }
        self.first = larger.cast();
        self.capacity *= 2;
        true
    }
}

impl NodeSink for Numbers {
    fn node(&mut self, parent: u32, address: u64) {
        let parent = self.get(parent);
        self.push(STACKS.intern(parent, address).unwrap_or(CUT_OFF));
    }
}

impl Drop for Numbers {
    fn drop(&mut self) {
        // SAFETY: mapped with this size; it goes with `self`.
        unsafe { pages::unmap(self.first.cast(), self.capacity * size_of::<u32>()) };
    }
}

/// Gives this thread its state; null when there is no memory.
#[cold]
#[inline(never)]
fn attach() -> *mut ThreadCapture {
    let _errno = Errno::save();
    let Some(key) = KEY.get() else {
        return ptr::null_mut();
    };
    let Some(thread) = new_thread() else {
        return ptr::null_mut();
    };
    THREAD.set(thread.as_ptr());
    // SAFETY: the key is there, and its destructor takes what is stored.
    unsafe { libc::pthread_setspecific(key, thread.as_ptr().cast()) };
    thread.as_ptr()
}

fn new_thread() -> Option<NonNull<ThreadCapture>> {
    let thread = ThreadCapture {
        stacks: ThreadStacks::new(stack_bounds::of_this_thread()?)?,
        numbers: Numbers::new()?,
    };
    let place: NonNull<ThreadCapture> = pages::map(size_of::<ThreadCapture>())?.cast();
    // SAFETY: fresh pages, large enough and aligned.
    unsafe { place.write(thread) };
    Some(place)
}

extern "C" fn thread_ends(thread: *mut c_void) {
    // What allocates after this gets a new state, and the key's destructor is called once more.
    THREAD.set(ptr::null_mut());
    let Some(thread) = NonNull::new(thread.cast::<ThreadCapture>()) else {
        return;
    };
    // SAFETY: `attach` made it for this thread, and this is its last use.
    unsafe {
        thread.drop_in_place();
        pages::unmap(thread.cast(), size_of::<ThreadCapture>());
    }
}

static TABLES: fork::Tables = fork::Tables {
    hold: || STACKS.hold_for_fork(),
    open: || STACKS.open_after_fork(),
};

/// The key whose destructor gives a thread's state back, made before the first capture.
static KEY: Key = Key(AtomicU32::new(0));

/// 0 at first, [`Key::BEING_MADE`] while a thread makes it, [`Key::FAILED`], or the key and 1.
struct Key(AtomicU32);

impl Key {
    const BEING_MADE: u32 = u32::MAX;
    const FAILED: u32 = u32::MAX - 1;

    fn get(&self) -> Option<libc::pthread_key_t> {
        if self.0.load(Acquire) == 0 {
            self.make();
        }
        let mut turn = 0;
        loop {
            match self.0.load(Acquire) {
                Self::BEING_MADE => pages::wait(turn),
                0 | Self::FAILED => return None,
                key => return Some(key - 1),
            }
            turn += 1;
        }
    }

    #[cold]
    fn make(&self) {
        if self
            .0
            .compare_exchange(0, Self::BEING_MADE, AcqRel, Acquire)
            .is_err()
        {
            return;
        }
        unwind::prepare();
        fork::include(fork::Rank::Stacks, &TABLES);
        let mut key = 0;
        // SAFETY: the destructor takes what `attach` stores.
        let is_made = unsafe { libc::pthread_key_create(&mut key, Some(thread_ends)) } == 0;
        self.0
            .store(if is_made { key + 1 } else { Self::FAILED }, Release);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{addresses, is_cut_off};
    use super::*;
    use crate::guard;

    #[inline(never)]
    fn here() -> StackId {
        let guard = guard::enter().expect("a test is not inside");
        std::hint::black_box(capture(&guard))
    }

    /// The frames of the C library's unwinder, from `here` on outwards.
    fn by_libgcc() -> Vec<u64> {
        unsafe extern "C" {
            fn backtrace(out: *mut *mut c_void, size: i32) -> i32;
        }
        let mut out = [ptr::null_mut::<c_void>(); 256];
        // SAFETY: writes at most 256 addresses.
        let length = unsafe { backtrace(out.as_mut_ptr(), 256) };
        out[..length as usize]
            .iter()
            .map(|&address| address as u64)
            .collect()
    }

    /// The two calls have different return addresses in this function; all outside of it are the same.
    #[inline(never)]
    fn both(depth: u32) -> (StackId, Vec<u64>) {
        if depth > 0 {
            return std::hint::black_box(both(depth - 1));
        }
        (here(), by_libgcc())
    }

    #[test]
    fn the_same_frames_as_libgcc() {
        for depth in [0, 5, 50, 3] {
            let (stack, expected) = both(depth);
            let found = addresses(stack);
            // Ours begins in `here`, theirs in `by_libgcc`, then the two lines of `both`.
            assert_eq!(found[2..], expected[2..], "{depth}");
            assert!(!is_cut_off(stack));
        }
    }

    #[test]
    fn equal_stacks_are_equal_in_every_thread() {
        let capture_in_thread = || std::thread::spawn(|| (here(), here())).join().unwrap();
        let both = [(); 3].map(|()| capture_in_thread());
        assert!(both.iter().all(|found| *found == both[0]));
        assert_ne!(both[0].0, both[0].1);
    }

    #[test]
    fn a_thousand_threads() {
        for _ in 0..10 {
            let threads = [(); 100].map(|()| std::thread::spawn(here));
            let stacks = threads.map(|thread| thread.join().unwrap());
            assert!(stacks.iter().all(|stack| *stack == stacks[0]));
        }
    }
}
