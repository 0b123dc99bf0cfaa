//! Saves a profile that goes on: again and again, or on a signal. One thread waits for both; without either there is
//! none.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{io, mem};

#[cfg(unix)]
use super::signals::{self, Signal};
use super::state::{self, End};
use crate::guard;
use crate::os::wake::Wake;

/// What is to save.
#[derive(Clone, Debug, Default)]
pub(super) struct Request {
    pub(super) every: Option<Duration>,
    /// Numbers of signals, on Unix.
    pub(super) signals: Vec<i32>,
}

/// The thread that waits.
pub(super) struct Triggers {
    wake: Arc<Wake>,
    thread: Mutex<Option<JoinHandle<()>>>,
    #[cfg(unix)]
    _signals: Vec<Signal>,
}

/// The byte that ends the thread. No signal has this number.
const STOP: u8 = 0;

impl Request {
    /// Starts the thread for the session with this number, if there is something to wait for.
    pub(super) fn start(&self, session: u64) -> io::Result<Option<Triggers>> {
        if self.every.is_none() && self.signals.is_empty() {
            return Ok(None);
        }
        let wake = Arc::new(Wake::new()?);
        #[cfg(unix)]
        let signals = signals::take_over(&self.signals, &wake)?;
        let waiter = Waiter {
            wake: Arc::clone(&wake),
            session,
            every: self.every,
        };
        let thread = thread::Builder::new()
            .name("heapatlas".to_owned())
            .spawn(move || waiter.run())?;
        Ok(Some(Triggers {
            wake,
            thread: Mutex::new(Some(thread)),
            #[cfg(unix)]
            _signals: signals,
        }))
    }
}

impl Triggers {
    /// Ends the thread, unless it is the one that asks, and waits for it.
    pub(super) fn stop(&self) {
        let thread = (self.thread.lock())
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(thread) = thread else {
            return;
        };
        if thread.thread().id() != thread::current().id() {
            self.wake.wake(STOP);
            // It does not panic; if it did, there is nothing to be done about it here.
            let _ = thread.join();
        }
    }
}

struct Waiter {
    wake: Arc<Wake>,
    session: u64,
    every: Option<Duration>,
}

impl Waiter {
    fn run(self) {
        // For good: nothing that this thread allocates is the program's, to its very end.
        mem::forget(guard::enter());
        let mut next = self.next_save();
        loop {
            let left = next.map(|next| next.saturating_duration_since(Instant::now()));
            match self.wake.wait(left) {
                Some(STOP) => return,
                #[cfg(unix)]
                Some(signal) if signals::ends_process(signal) => {
                    state::finish(Some(self.session), &End::Save);
                    return signals::end_process(signal);
                }
                Some(_) => state::save(self.session),
                None => {
                    if next.is_some_and(|next| next <= Instant::now()) {
                        state::save(self.session);
                        next = self.next_save();
                    }
                }
            }
        }
    }

    fn next_save(&self) -> Option<Instant> {
        Instant::now().checked_add(self.every?)
    }
}
