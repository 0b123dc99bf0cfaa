//! A call when a thread ends, for what its allocator noted: after the destructors of the language's thread-locals,
//! and without an allocation through the program's allocator.
//!
//! Fallback, where this is not done: Windows. What was noted is not given back there.

#[cfg(all(unix, not(heapatlas_fallback)))]
pub(crate) use posix::ThreadEnd;

#[cfg(not(all(unix, not(heapatlas_fallback))))]
pub(crate) use none::ThreadEnd;

#[cfg(all(unix, not(heapatlas_fallback)))]
mod posix {
    use std::ffi::c_void;
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};

    use heapatlas_record::pages;

    /// A key of the C library, made when something is first noted.
    pub(crate) struct ThreadEnd {
        /// 0 at first, `BEING_MADE` while a thread makes it, `FAILED`, or the key and 1.
        key: AtomicUsize,
        at_end: unsafe extern "C" fn(*mut c_void),
    }

    const BEING_MADE: usize = usize::MAX;
    const FAILED: usize = usize::MAX - 1;
    /// About two seconds.
    const TURNS: u32 = 3000;

    impl ThreadEnd {
        /// `at_end` will get what a thread has noted last.
        pub(crate) const fn new(at_end: unsafe extern "C" fn(*mut c_void)) -> Self {
            Self {
                key: AtomicUsize::new(0),
                at_end,
            }
        }

        /// Notes something for the end of this thread. `false`: it will not be called.
        pub(crate) fn note(&self, value: *mut c_void) -> bool {
            // SAFETY: the key is there; its destructor knows what to do with the value.
            self.get()
                .is_some_and(|key| unsafe { libc::pthread_setspecific(key, value) } == 0)
        }

        fn get(&self) -> Option<libc::pthread_key_t> {
            if self.key.load(Acquire) == 0 {
                self.make();
            }
            // Not for ever: in a forked child its maker may be missing.
            for turn in 0..TURNS {
                match self.key.load(Acquire) {
                    BEING_MADE => pages::wait(turn),
                    0 | FAILED => return None,
                    // A type of 32 or 64 bits, as the system has it; it came from there.
                    key => return Some((key - 1) as libc::pthread_key_t),
                }
            }
            None
        }

        #[cold]
        fn make(&self) {
            if self
                .key
                .compare_exchange(0, BEING_MADE, AcqRel, Acquire)
                .is_err()
            {
                return;
            }
            let mut key = 0;
            // SAFETY: the destructor takes whatever is noted.
            let is_made = unsafe { libc::pthread_key_create(&mut key, Some(self.at_end)) } == 0;
            let made = if is_made { key as usize + 1 } else { FAILED };
            self.key.store(made, Release);
        }
    }
}

#[cfg(not(all(unix, not(heapatlas_fallback))))]
mod none {
    use std::ffi::c_void;

    pub(crate) struct ThreadEnd;

    impl ThreadEnd {
        pub(crate) const fn new(_: unsafe extern "C" fn(*mut c_void)) -> Self {
            Self
        }

        pub(crate) fn note(&self, _: *mut c_void) -> bool {
            false
        }
    }
}
