//! Whether a process that is recorded is still there. Most of them are no children of ours.

use std::ffi::{CStr, CString};
use std::fs;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::PathBuf;

/// What the system calls the memory of a region, also in the lists of mappings of those who have it.
pub(crate) const REGION_NAME: &CStr = c"heapatlas-region";

/// A process as the system numbers it.
pub struct Process {
    pid: u32,
    /// Refers to this process, whoever gets the number after it. `None` where the kernel has no such thing.
    handle: Option<OwnedFd>,
}

/// What became of a process image.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum State {
    /// It runs, for all that we know.
    Runs,
    /// Its process has ended.
    Ended,
    /// Its process went on as this program, which did not load the recorder.
    Replaced(PathBuf),
}

impl Process {
    /// The process with this number in our own namespace.
    pub fn open(pid: u32) -> Self {
        let no_flags = 0;
        // SAFETY: a system call without pointers.
        let handle = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.cast_signed(), no_flags) };
        let handle = i32::try_from(handle).ok().filter(|&handle| handle >= 0);
        Self {
            pid,
            // SAFETY: the descriptor was made just now and belongs to nobody else.
            handle: handle.map(|handle| unsafe { OwnedFd::from_raw_fd(handle) }),
        }
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether it has ended, its parent told or not.
    pub fn has_ended(&self) -> bool {
        let Some(handle) = &self.handle else {
            return has_ended_by_its_file(self.pid);
        };
        let mut poll = libc::pollfd {
            fd: handle.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one live entry; does not wait.
        unsafe { libc::poll(&mut poll, 1, 0) == 1 }
    }

    /// A closer look: whether it still has the region. Reads the list of its mappings, which may be long.
    pub fn state(&self, region: &Marks) -> State {
        let maps = fs::read(format!("/proc/{}/maps", self.pid));
        let program = fs::read_link(format!("/proc/{}/exe", self.pid));
        if self.has_ended() {
            return State::Ended;
        }
        match (maps, program) {
            (Ok(maps), Ok(program)) if !maps.is_empty() && !region.is_in_maps(&maps) => {
                State::Replaced(program)
            }
            // A process of another user may not be looked at.
            _ => State::Runs,
        }
    }
}

/// By what a process shows that it has a region, or will have it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Marks {
    /// The path in its environment.
    pub path: CString,
    /// The number of the file in the list of its mappings.
    pub inode: u64,
}

impl Marks {
    /// Lines such as `7f12-7f13 rw-s 0 00:01 1034 /memfd:heapatlas-region (deleted)`.
    fn is_in_maps(&self, maps: &[u8]) -> bool {
        let inode = self.inode.to_string();
        maps.split(|&byte| byte == b'\n').any(|line| {
            let mut words = line
                .split(|&byte| byte == b' ')
                .filter(|word| !word.is_empty());
            words.nth(4) == Some(inode.as_bytes())
                && words
                    .next()
                    .is_some_and(|path| holds(path, REGION_NAME.to_bytes()))
        })
    }

    /// Programs change their arguments and overwrite their environment when they do; so that alone is not enough.
    fn are_of(&self, pid: u32) -> bool {
        let read = |file| fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        holds(&read("environ"), self.path.to_bytes_with_nul()) || self.is_in_maps(&read("maps"))
    }

    /// The processes of this system with these marks: children of the program, some of which have told nothing
    /// yet.
    pub fn processes(&self) -> Vec<Process> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(|&pid| pid != std::process::id() && self.are_of(pid))
            .map(Process::open)
            .filter(|process| !process.has_ended())
            .collect()
    }
}

fn holds(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

/// The state stands behind the name, which is in parentheses and may hold any character.
fn has_ended_by_its_file(pid: u32) -> bool {
    let Ok(line) = fs::read(format!("/proc/{pid}/stat")) else {
        return true;
    };
    let name_end = line.iter().rposition(|&byte| byte == b')');
    let state = name_end.and_then(|end| line.get(end + 2));
    state.is_none_or(|state| b"ZXx".contains(state))
}

/// What the system calls the namespace that our process numbers are of.
pub fn own_namespace() -> Vec<u8> {
    let link = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    link.into_os_string().into_encoded_bytes()
}

/// Pages of the process that are in memory.
pub fn resident_bytes(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = text.split(' ').nth(1)?.parse().ok()?;
    // SAFETY: cannot fail.
    let page_bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    Some(pages * u64::try_from(page_bytes).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    fn marks() -> Marks {
        Marks {
            path: c"/proc/1/fd/99999".to_owned(),
            inode: 77,
        }
    }

    #[test]
    fn the_region_among_mappings() {
        let line =
            |inode, path| format!("7f12a000-7f13b000 rw-s 00000000 00:01 {inode}   {path}\n");
        let heap = "55d0-55d1 rw-p 00000000 00:00 0   [heap]\n".to_owned();
        let ours = line(77, "/memfd:heapatlas-region (deleted)");
        for (maps, expected) in [
            (heap.clone() + &ours, true),
            (
                heap.clone() + &line(78, "/memfd:heapatlas-region (deleted)"),
                false,
            ),
            (line(77, "/usr/lib/libc.so.6"), false),
            (heap, false),
            ("7f12 rw-s".to_owned(), false),
        ] {
            assert_eq!(marks().is_in_maps(maps.as_bytes()), expected, "{maps}");
        }
    }

    #[test]
    fn the_end_of_a_process_shows_before_its_parent_is_told() {
        let mut child = Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("cat starts");
        let process = Process::open(child.id());
        let by_file = Process {
            pid: child.id(),
            handle: None,
        };
        assert!(!process.has_ended() && !by_file.has_ended());
        // Of a program without the recorder.
        assert!(matches!(process.state(&marks()), State::Replaced(_)));
        drop(child.stdin.take());
        // Its output ends when it does, and it becomes a zombie after that.
        std::io::copy(child.stdout.as_mut().expect("piped"), &mut std::io::sink()).expect("read");
        let mut info = std::mem::MaybeUninit::<libc::siginfo_t>::zeroed();
        // SAFETY: waits for the child's end and leaves it a zombie.
        let waited = unsafe {
            libc::waitid(
                libc::P_PID,
                child.id(),
                info.as_mut_ptr(),
                libc::WEXITED | libc::WNOWAIT,
            )
        };
        assert_eq!(waited, 0);
        assert!(process.has_ended() && by_file.has_ended());
        assert_eq!(process.state(&marks()), State::Ended);
        child.wait().expect("it has ended");
        assert!(process.has_ended() && by_file.has_ended());
    }

    #[test]
    fn a_process_that_is_not_there() {
        // The largest number is below this one.
        let process = Process::open(1 << 30);
        assert!(process.has_ended());
        assert_eq!(process.state(&marks()), State::Ended);
    }
}
