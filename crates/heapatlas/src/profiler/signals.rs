//! Signals that save a profile. What the program did on them before is done after.

use std::cell::UnsafeCell;
use std::ffi::c_void;
use std::mem::{MaybeUninit, transmute};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32};
use std::{io, ptr};

use libc::{c_int, siginfo_t};

use crate::os::KeepErrno;
use crate::os::wake::{self, Wake};

/// Signals are smaller than this on every system.
const SIGNALS: usize = 128;

/// A signal that was taken over, until this is dropped.
pub(super) struct Signal(c_int);

/// Has each of these signals wake `wake` up with its number.
pub(super) fn take_over(numbers: &[c_int], wake: &Wake) -> io::Result<Vec<Signal>> {
    WRITE_END.store(wake.write_end(), Relaxed);
    PROCESS.store(std::process::id(), Release);
    numbers.iter().map(|&number| Signal::take(number)).collect()
}

/// Whether a signal ends a process that does not say otherwise, and is sent for that. (Others that would, such as
/// SIGUSR1, are sent to have the profile saved.)
pub(super) fn ends_process(number: u8) -> bool {
    let number = c_int::from(number);
    let ends = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT];
    ends.contains(&number)
        && old_action(number).is_some_and(|old| old.sa_sigaction == libc::SIG_DFL)
}

/// Ends the process by the signal, as if nobody had taken it over.
pub(super) fn end_process(number: u8) {
    let number = c_int::from(number);
    // SAFETY: the action is the default one, and the signal is for this process.
    unsafe {
        libc::signal(number, libc::SIG_DFL);
        libc::kill(libc::getpid(), number);
    }
}

/// Where the handler writes to.
static WRITE_END: AtomicI32 = AtomicI32::new(-1);
/// A forked child has the handler, too, but the helper thread is its parent's.
static PROCESS: AtomicU32 = AtomicU32::new(0);

/// What was done before, by number.
static OLD_ACTIONS: [OldAction; SIGNALS] = [const { OldAction::new() }; SIGNALS];

struct OldAction {
    is_there: AtomicBool,
    action: UnsafeCell<MaybeUninit<libc::sigaction>>,
}

// SAFETY: written before `is_there` is set, by the one profiler that is being started; only read while it is.
unsafe impl Sync for OldAction {}

impl OldAction {
    const fn new() -> Self {
        Self {
            is_there: AtomicBool::new(false),
            action: UnsafeCell::new(MaybeUninit::uninit()),
        }
    }
}

fn old_action(number: c_int) -> Option<&'static libc::sigaction> {
    let old = OLD_ACTIONS.get(usize::try_from(number).ok()?)?;
    // SAFETY: it is there.
    (old.is_there.load(Acquire)).then(|| unsafe { (*old.action.get()).assume_init_ref() })
}

impl Signal {
    fn take(number: c_int) -> io::Result<Self> {
        let place = usize::try_from(number).ok();
        let Some(old) = place.and_then(|place| OLD_ACTIONS.get(place)) else {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        };
        // SAFETY: plain records; the place is nobody else's until `is_there` is set, and what was there is known before
        // the handler is.
        unsafe {
            let mut before = MaybeUninit::uninit();
            if libc::sigaction(number, ptr::null(), before.as_mut_ptr()) != 0 {
                return Err(io::Error::last_os_error());
            }
            if before.assume_init_ref().sa_sigaction == handler_address() {
                // Asked for twice.
                return Ok(Self(0));
            }
            *old.action.get() = before;
            old.is_there.store(true, Release);
            let mut action: libc::sigaction = MaybeUninit::zeroed().assume_init();
            action.sa_sigaction = handler_address();
            action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART | libc::SA_ONSTACK;
            libc::sigemptyset(&mut action.sa_mask);
            if libc::sigaction(number, &action, ptr::null_mut()) != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(Self(number))
    }
}

impl Drop for Signal {
    fn drop(&mut self) {
        let Some(old) = old_action(self.0) else {
            return;
        };
        // SAFETY: plain records. Whoever took the signal after us keeps it.
        unsafe {
            let mut now = MaybeUninit::uninit();
            if libc::sigaction(self.0, ptr::null(), now.as_mut_ptr()) == 0
                && now.assume_init_ref().sa_sigaction == handler_address()
            {
                libc::sigaction(self.0, old, ptr::null_mut());
            }
        }
    }
}

type Handler = extern "C" fn(c_int, *mut siginfo_t, *mut c_void);

fn handler_address() -> usize {
    on_signal as Handler as usize
}

extern "C" fn on_signal(number: c_int, info: *mut siginfo_t, context: *mut c_void) {
    let _errno = KeepErrno::new();
    // SAFETY: always allowed.
    let process = unsafe { libc::getpid() };
    if PROCESS.load(Acquire) == process.cast_unsigned() {
        wake::send(WRITE_END.load(Relaxed), number as u8);
    }
    if let Some(old) = old_action(number) {
        call(old, number, info, context);
    }
}

fn call(old: &libc::sigaction, number: c_int, info: *mut siginfo_t, context: *mut c_void) {
    if matches!(old.sa_sigaction, libc::SIG_DFL | libc::SIG_IGN) {
        return;
    }
    // SAFETY: a handler of the form that its flags say, which the program had set for this signal.
    unsafe {
        if old.sa_flags & libc::SA_SIGINFO != 0 {
            transmute::<usize, Handler>(old.sa_sigaction)(number, info, context);
        } else {
            transmute::<usize, extern "C" fn(c_int)>(old.sa_sigaction)(number);
        }
    }
}
