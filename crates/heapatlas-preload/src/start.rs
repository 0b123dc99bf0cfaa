//! From the first call of the dynamic linker or the C library to a recorder that is on or idle.

use core::cell::UnsafeCell;
use core::ffi::{CStr, c_char, c_void};
use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use heapatlas_record::fork::InChild;
use heapatlas_record::recorder::Recorder;
use heapatlas_trace::shared::{MODE_COUNTING, MODE_EXACT, MODE_IDLE, MODE_SAMPLED};

use crate::interpose::expect_arena_blocks;
use crate::pages::PAGES;
use crate::{next, operators};

/// The recorder of this process image. Its first byte is the mode: each exported function reads it first.
pub static RECORDER: Recorder = Recorder::new(UNSTARTED);

/// Nothing is known yet, not even the next definitions. (No mode of a launcher.)
const UNSTARTED: u8 = 0x7E;
/// The first call looks the next definitions up.
const STARTING: u8 = 0x7F;

/// The variable with the path of the region.
const REGION_VARIABLE: &[u8] = b"HEAPATLAS_REGION=";

/// What to do for a call that found the mode not to be idle.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The next definition is known; go there.
    Forward,
    /// Record.
    Record,
    /// Record by chance; the mode byte tells which samples hold.
    Sample(u8),
    /// Count.
    Count,
    /// The next definitions are being looked up: take memory from the arena.
    Starting,
}

/// The state, after the start if this is the first call.
#[inline(always)]
pub fn state() -> State {
    let mode = RECORDER.switch().mode.load(Acquire);
    if mode & MODE_SAMPLED != 0 {
        // Whether this is a forked child is asked for samples only.
        return State::Sample(mode);
    }
    match mode {
        MODE_EXACT if RECORDER.is_forked_child() => in_forked_child(State::Record),
        MODE_EXACT => State::Record,
        MODE_IDLE => State::Forward,
        MODE_COUNTING if RECORDER.is_forked_child() => in_forked_child(State::Count),
        MODE_COUNTING => State::Count,
        UNSTARTED | STARTING => start(),
        // A launcher of another version.
        _ => State::Forward,
    }
}

/// Whether a sample may be recorded here.
#[inline]
pub fn may_sample() -> bool {
    !RECORDER.is_forked_child() || in_forked_child(State::Record) != State::Forward
}

#[cold]
fn in_forked_child(in_record: State) -> State {
    match RECORDER.in_forked_child() {
        InChild::Record => in_record,
        InChild::Forward => State::Forward,
        InChild::BeQuiet => {
            RECORDER.leave();
            State::Forward
        }
    }
}

extern "C" fn forked() {
    RECORDER.forked();
}

#[cold]
fn start() -> State {
    // A second thread cannot be here: the first calls come before `main`. A nested call is:
    // looking names up may allocate.
    let mode = &RECORDER.switch().mode;
    if mode
        .compare_exchange(UNSTARTED, STARTING, Acquire, Relaxed)
        .is_err()
    {
        return State::Starting;
    }
    next::find_all();
    if ARENA_USED.load(Relaxed) > 0 {
        expect_arena_blocks();
    }
    // From here on calls are forwarded, those of the recorder's own start included. Looking up an operator that is
    // not there allocates the message that nobody reads: it must not come from the arena, or else every `free` of the
    // process would have to ask whether a block is from there.
    mode.store(MODE_IDLE, Release);
    operators::find_all();
    if let Some(path) = region_path() {
        RECORDER.start(path);
        PAGES.store(RECORDER.records_pages().into(), Release);
        // SAFETY: the function lives as long as the process. Where there is no memory for it, what it
        // does is done at the child's first event.
        unsafe { libc::pthread_atfork(None, None, Some(forked)) };
    }
    match mode.load(Acquire) {
        MODE_IDLE => State::Forward,
        MODE_EXACT => State::Record,
        MODE_COUNTING => State::Count,
        mode if mode & MODE_SAMPLED != 0 => State::Sample(mode),
        _ => State::Forward,
    }
}

/// The path that the launcher left in the environment.
fn region_path() -> Option<&'static CStr> {
    unsafe extern "C" {
        static environ: *const *const c_char;
    }
    // SAFETY: the C library's list of variables ends with a null; each ends with a zero. Before
    // the library has set it up it is null.
    unsafe {
        let mut variable = environ;
        while !variable.is_null() && !(*variable).is_null() {
            let text = CStr::from_ptr(*variable);
            if text.to_bytes().starts_with(REGION_VARIABLE) {
                let path = text.to_bytes_with_nul().get(REGION_VARIABLE.len()..)?;
                return CStr::from_bytes_with_nul(path).ok();
            }
            variable = variable.add(1);
        }
    }
    None
}

/// Runs when the object is loaded, so that a program that allocates nothing has a recorder, too.
#[used]
#[unsafe(link_section = ".init_array")]
static AT_LOAD: extern "C" fn() = {
    extern "C" fn at_load() {
        state();
    }
    at_load
};

/// Memory for what is allocated while the next definitions are looked up. Never given back.
#[repr(align(16))]
pub struct Arena(UnsafeCell<[u8; ARENA_BYTES]>);

/// Size of the arena.
pub const ARENA_BYTES: usize = 16 << 10;

// SAFETY: `take` hands each byte out once.
unsafe impl Sync for Arena {}

/// The arena.
pub static ARENA: Arena = Arena(UnsafeCell::new([0; ARENA_BYTES]));
static ARENA_USED: AtomicUsize = AtomicUsize::new(0);

impl Arena {
    /// Zeroed memory; null when there is none left.
    pub fn take(&self, bytes: usize, alignment: usize) -> *mut c_void {
        let Some(rounded) = bytes.checked_add(alignment.max(16) + 15) else {
            return core::ptr::null_mut();
        };
        let start = ARENA_USED.fetch_add(rounded & !15, Relaxed);
        if start.saturating_add(rounded) > ARENA_BYTES {
            return core::ptr::null_mut();
        }
        // SAFETY: the bytes from `start` on lie in the arena and were handed to nobody.
        let memory = unsafe { self.0.get().cast::<u8>().add(start) };
        memory
            .map_addr(|address| address.next_multiple_of(alignment.max(16)))
            .cast()
    }

    /// Whether a block came from here.
    #[inline(always)]
    pub fn holds(&self, block: *const c_void) -> bool {
        (block as usize).wrapping_sub(self.0.get() as usize) < ARENA_BYTES
    }
}
