//! Wakes one thread up, with a byte that says why; from a signal handler, too, where there are such.
//!
//! On Unix by a pipe. Fallback: a condition variable, which a signal handler may not use.

use std::io;
use std::time::Duration;

#[cfg(unix)]
pub(crate) use posix::Wake;

#[cfg(not(unix))]
pub(crate) use portable::Wake;

#[cfg(unix)]
mod posix {
    use super::{Duration, io};
    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

    pub(crate) struct Wake {
        read_end: OwnedFd,
        write_end: OwnedFd,
    }

    impl Wake {
        pub(crate) fn new() -> io::Result<Self> {
            let mut ends = [0; 2];
            // SAFETY: two descriptors are written.
            if unsafe { libc::pipe(ends.as_mut_ptr()) } != 0 {
                return Err(io::Error::last_os_error());
            }
            // SAFETY: they are ours alone.
            let [read_end, write_end] = ends.map(|end| unsafe { OwnedFd::from_raw_fd(end) });
            set_flags(&read_end)?;
            set_flags(&write_end)?;
            Ok(Self {
                read_end,
                write_end,
            })
        }

        /// Waits for a byte; `None` when the time is over.
        pub(crate) fn wait(&self, limit: Option<Duration>) -> Option<u8> {
            let limit = limit.map_or(-1, |limit| {
                i32::try_from(limit.as_millis())
                    .unwrap_or(i32::MAX)
                    .saturating_add(1)
            });
            let mut asked = libc::pollfd {
                fd: self.read_end.as_raw_fd(),
                events: libc::POLLIN,
                revents: 0,
            };
            // SAFETY: one live record.
            if unsafe { libc::poll(&mut asked, 1, limit) } <= 0 {
                return None;
            }
            let mut byte = 0_u8;
            // SAFETY: one byte is written.
            let read = unsafe {
                libc::read(
                    self.read_end.as_raw_fd(),
                    std::ptr::from_mut(&mut byte).cast(),
                    1,
                )
            };
            (read == 1).then_some(byte)
        }

        pub(crate) fn wake(&self, reason: u8) {
            send(self.write_end(), reason);
        }

        /// For [`send`].
        pub(crate) fn write_end(&self) -> RawFd {
            self.write_end.as_raw_fd()
        }
    }

    /// Wakes whoever waits at the other end; allowed in a signal handler. A pipe that is full has woken it already.
    pub(crate) fn send(write_end: RawFd, reason: u8) {
        // SAFETY: one live byte; on a descriptor that was closed meanwhile it fails.
        unsafe { libc::write(write_end, std::ptr::from_ref(&reason).cast(), 1) };
    }

    /// Not for programs that this one starts, and nobody waits in a read or write.
    fn set_flags(end: &OwnedFd) -> io::Result<()> {
        // SAFETY: a live descriptor of ours.
        let results = unsafe {
            [
                libc::fcntl(end.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC),
                libc::fcntl(end.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK),
            ]
        };
        match results.contains(&-1) {
            true => Err(io::Error::last_os_error()),
            false => Ok(()),
        }
    }
}

#[cfg(unix)]
pub(crate) use posix::send;

#[cfg(any(test, not(unix)))]
mod portable {
    use super::{Duration, io};
    use std::sync::{Condvar, Mutex, PoisonError};

    #[derive(Default)]
    pub(crate) struct Wake {
        reason: Mutex<Option<u8>>,
        changed: Condvar,
    }

    impl Wake {
        pub(crate) fn new() -> io::Result<Self> {
            Ok(Self::default())
        }

        /// Waits for a byte; `None` when the time is over.
        pub(crate) fn wait(&self, limit: Option<Duration>) -> Option<u8> {
            let mut reason = self.reason.lock().unwrap_or_else(PoisonError::into_inner);
            if reason.is_none() {
                let limit = limit.unwrap_or(Duration::MAX);
                reason = match self.changed.wait_timeout(reason, limit) {
                    Ok((reason, _)) => reason,
                    Err(poisoned) => poisoned.into_inner().0,
                };
            }
            reason.take()
        }

        pub(crate) fn wake(&self, reason: u8) {
            *self.reason.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
            self.changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both forms, as the program that waits sees them.
    macro_rules! check {
        ($wake:ty) => {
            let wake = std::sync::Arc::new(<$wake>::new().unwrap());
            assert_eq!(wake.wait(Some(Duration::ZERO)), None);
            wake.wake(7);
            assert_eq!(wake.wait(None), Some(7));
            let other = std::sync::Arc::clone(&wake);
            let thread = std::thread::spawn(move || {
                // Without a limit, a turn may end early for nothing.
                std::iter::repeat_with(|| other.wait(None)).flatten().next()
            });
            wake.wake(9);
            assert_eq!(thread.join().unwrap(), Some(9));
        };
    }

    #[test]
    fn a_thread_is_woken() {
        check!(Wake);
        check!(portable::Wake);
    }
}
