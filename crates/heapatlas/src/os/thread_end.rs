//! A call when a thread ends, for what its allocator noted: after the destructors of the language's thread-locals,
//! and without an allocation through the program's allocator.
//!
//! Fallback, where this is not done: Windows. What was noted is not given back there.

#[cfg(unix)]
pub(crate) use posix::ThreadEnd;

#[cfg(not(unix))]
pub(crate) use none::ThreadEnd;

#[cfg(unix)]
mod posix {
    use std::ffi::c_void;
    use std::sync::atomic::AtomicU32;
    use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};

    use heapatlas_record::pages;

    /// A key of the C library, made when something is first noted.
    pub(crate) struct ThreadEnd {
        /// 0 at first, `BEING_MADE` while a thread makes it, `FAILED`, or the key and 1.
        key: AtomicU32,
        at_end: unsafe extern "C" fn(*mut c_void),
    }

    const BEING_MADE: u32 = u32::MAX;
    const FAILED: u32 = u32::MAX - 1;
    /// About two seconds.
    const TURNS: u32 = 3000;

    impl ThreadEnd {
        /// `at_end` will get what a thread has noted last.
        pub(crate) const fn new(at_end: unsafe extern "C" fn(*mut c_void)) -> Self {
            Self {
                key: AtomicU32::new(0),
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
                    key => return libc::pthread_key_t::try_from(key - 1).ok(),
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
            let key = u32::try_from(key).ok().filter(|&key| key < FAILED - 1);
            let made = key.filter(|_| is_made).map_or(FAILED, |key| key + 1);
            self.key.store(made, Release);
        }
    }
}

#[cfg(not(unix))]
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
