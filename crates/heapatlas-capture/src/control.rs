//! The socket by which recordings are turned on and off while a program runs.
//!
//! The launcher serves it: a stream socket of this user only, in a folder of this user only, named by the number of the
//! launcher's process, with a link named by that of the measured one. Both are there before the program is. A request is one line, an answer one line of JSON with `ok`,
//! and `error` where that is false.
//!
//! ```text
//! status
//! start [exact | sampled BYTES [overhead SHARE] | aggregate | counting] [attached] [output PATH]
//! stop
//! mark TEXT
//! ```
//!
//! A recording that is `attached` ends with the connection; one that ends otherwise is told there, by the same line
//! that answers `stop`.

use std::ffi::CString;
use std::fs::{self, DirBuilder};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::recordings::{How, Wanted};
use crate::region::Region;

/// Nobody has more to say in one line.
const MOST_LINE_BYTES: u64 = 16 << 10;
/// As many may talk at a time.
const MOST_CONNECTIONS: usize = 32;
/// Whoever does not read its answers is not waited for.
const PATIENCE: Duration = Duration::from_millis(200);
/// What is sampled where nobody says how.
pub const DEFAULT_INTERVAL_BYTES: u64 = 512 << 10;

/// The launcher's end.
pub(crate) struct Control {
    requests: Receiver<Request>,
    waiting: Arc<AtomicUsize>,
    /// They go when it goes.
    _paths: SocketPaths,
}

/// What somebody asks for.
pub(crate) struct Request {
    pub connection: Arc<Connection>,
    pub command: Command,
}

/// A line, understood.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Command {
    Status,
    Start {
        wanted: Wanted,
        /// Whether the recording ends with the connection.
        is_attached: bool,
        output: Option<PathBuf>,
    },
    Stop,
    Mark(String),
    /// The other end is closed.
    Gone,
    /// With what is wrong about it.
    Unknown(String),
}

/// Somebody at the other end.
pub(crate) struct Connection {
    stream: Mutex<UnixStream>,
}

impl Connection {
    /// Answers. Who is gone, or does not read, misses it.
    pub fn say(&self, line: &str) {
        if let Ok(mut stream) = self.stream.lock() {
            let _ = stream.write_all(format!("{line}\n").as_bytes());
        }
    }
}

/// A socket that nobody serves yet: who comes is kept waiting.
pub(crate) struct Bound {
    listener: UnixListener,
    folder: PathBuf,
    paths: SocketPaths,
}

/// The socket and the link to it, removed at the end.
struct SocketPaths(Vec<PathBuf>);

impl Drop for SocketPaths {
    fn drop(&mut self) {
        for path in &self.0 {
            let _ = fs::remove_file(path);
        }
    }
}

impl Bound {
    /// Makes the socket.
    ///
    /// # Errors
    /// When there is no folder that is ours alone, or no socket in it.
    pub fn new() -> io::Result<Self> {
        let folder = own_folder()?;
        remove_stale(&folder);
        let path = folder.join(socket_name(std::process::id()));
        let _ = fs::remove_file(&path);
        let bound = Self {
            listener: UnixListener::bind(&path)?,
            folder,
            paths: SocketPaths(vec![path.clone()]),
        };
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        Ok(bound)
    }

    /// What the child makes before it becomes the program: the link by its own number.
    pub fn link(&self) -> io::Result<Link> {
        let text = |path: &Path| CString::new(path.as_os_str().as_bytes());
        Ok(Link {
            target: CString::new(socket_name(std::process::id()))?,
            folder: text(&self.folder)?,
        })
    }

    /// Serves it from here on. Requests wake the launcher by the region.
    ///
    /// # Errors
    /// When no thread can be made.
    pub fn serve(mut self, pid: u32, region: &Arc<Region>) -> io::Result<Control> {
        self.paths.0.push(self.folder.join(socket_name(pid)));
        let (sender, requests) = channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let door = Door {
            sender,
            waiting: Arc::clone(&waiting),
            region: Arc::clone(region),
            connections: Arc::new(AtomicUsize::new(0)),
        };
        let listener = self.listener;
        // Signals are for the thread that launches: it waits, and is to wake up.
        without_signals(|| {
            thread::Builder::new()
                .name("control".to_owned())
                .spawn(move || door.open(&listener))
        })?;
        Ok(Control {
            requests,
            waiting,
            _paths: self.paths,
        })
    }
}

/// A link that is still to be made.
pub(crate) struct Link {
    target: CString,
    folder: CString,
}

impl Link {
    /// Makes it, named by this process. Allocates nothing: it runs between fork and exec. One that is left of an
    /// earlier process with this number goes: two of them cannot run.
    pub fn make(&self) {
        let mut name = [0_u8; 512];
        // SAFETY: cannot fail.
        let pid = unsafe { libc::getpid() }.unsigned_abs();
        let mut digits = [0_u8; 10];
        let mut first = digits.len();
        let mut rest = pid;
        while first == digits.len() || rest > 0 {
            first -= 1;
            digits[first] = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        let parts = [
            self.folder.as_bytes(),
            b"/",
            &digits[first..],
            SOCKET_ENDING.as_bytes(),
        ];
        let mut length = 0;
        for part in parts {
            // The last byte stays a zero.
            let Some(room) = name.get_mut(length..length + part.len()) else {
                return;
            };
            room.copy_from_slice(part);
            length += part.len();
        }
        if length == name.len() {
            return;
        }
        // SAFETY: both texts end with a zero.
        unsafe {
            libc::unlink(name.as_ptr().cast());
            libc::symlink(self.target.as_ptr(), name.as_ptr().cast());
        }
    }
}

const SOCKET_ENDING: &str = ".socket";

impl Control {
    /// What was asked for since the last time.
    pub fn requests(&self) -> impl Iterator<Item = Request> {
        self.requests.try_iter().inspect(|_| {
            self.waiting.fetch_sub(1, Relaxed);
        })
    }

    /// Whether something was.
    pub fn has_requests(&self) -> bool {
        self.waiting.load(Acquire) > 0
    }
}

/// Lets people in.
struct Door {
    sender: Sender<Request>,
    waiting: Arc<AtomicUsize>,
    region: Arc<Region>,
    connections: Arc<AtomicUsize>,
}

impl Door {
    fn open(self, listener: &UnixListener) {
        let door = Arc::new(self);
        for stream in listener.incoming() {
            let Ok(stream) = stream else {
                // No more descriptors, say: those who are in may leave.
                thread::sleep(PATIENCE);
                continue;
            };
            if !is_from_this_user(&stream)
                || door.connections.load(Relaxed) >= MOST_CONNECTIONS
                || stream.set_write_timeout(Some(PATIENCE)).is_err()
            {
                continue;
            }
            door.connections.fetch_add(1, Relaxed);
            let door = Arc::clone(&door);
            let talk = move || {
                let _ = door.talk(stream);
                door.connections.fetch_sub(1, Relaxed);
            };
            // (It inherits the blocked signals.)
            let _ = thread::Builder::new().spawn(talk);
        }
    }

    fn talk(&self, stream: UnixStream) -> io::Result<()> {
        let mut lines = BufReader::new(stream.try_clone()?);
        let connection = Arc::new(Connection {
            stream: Mutex::new(stream),
        });
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = lines
                .by_ref()
                .take(MOST_LINE_BYTES)
                .read_until(b'\n', &mut line);
            let is_whole = line.ends_with(b"\n");
            if !is_whole {
                self.ask(&connection, Command::Gone);
                return read.map(drop);
            }
            self.ask(&connection, Command::parse(&String::from_utf8_lossy(&line)));
        }
    }

    fn ask(&self, connection: &Arc<Connection>, command: Command) {
        let connection = Arc::clone(connection);
        self.waiting.fetch_add(1, Release);
        let request = Request {
            connection,
            command,
        };
        if self.sender.send(request).is_ok() {
            self.region.wake();
        }
    }
}

impl Command {
    fn parse(line: &str) -> Self {
        let line = line.trim_end_matches(['\n', '\r']);
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match (word, rest) {
            ("status", "") => Self::Status,
            ("stop", "") => Self::Stop,
            ("mark", "") => Self::Unknown("`mark` needs a text".to_owned()),
            ("mark", text) => Self::Mark(text.to_owned()),
            ("start", rest) => Self::parse_start(rest).unwrap_or_else(Self::Unknown),
            _ => Self::Unknown(format!(
                "`{line}` is no request; known: status, start, stop, mark TEXT"
            )),
        }
    }

    fn parse_start(mut rest: &str) -> Result<Self, String> {
        let mut how = How::Exact;
        let (mut is_attached, mut output) = (false, None);
        while !rest.is_empty() {
            let (word, after) = rest.split_once(' ').unwrap_or((rest, ""));
            rest = after;
            match word {
                "exact" => how = How::Exact,
                "aggregate" => how = How::Aggregate,
                "counting" => how = How::Counting,
                "sampled" => {
                    let (bytes, after) = rest.split_once(' ').unwrap_or((rest, ""));
                    how = sampled(bytes)?;
                    rest = after;
                }
                "overhead" => {
                    let (share, after) = rest.split_once(' ').unwrap_or((rest, ""));
                    how = within(how, share)?;
                    rest = after;
                }
                "attached" => is_attached = true,
                "output" if rest.starts_with('/') => {
                    output = Some(PathBuf::from(std::mem::take(&mut rest)));
                }
                "output" => return Err("`output` needs an absolute path".to_owned()),
                _ => return Err(format!("`{word}` is no part of `start`")),
            }
        }
        Ok(Self::Start {
            wanted: Wanted {
                how,
                duration: None,
            },
            is_attached,
            output,
        })
    }
}

fn sampled(bytes: &str) -> Result<How, String> {
    match bytes.parse() {
        Ok(interval_bytes) if interval_bytes > 0 => Ok(How::Sampled {
            interval_bytes,
            overhead: None,
        }),
        _ => Err(format!(
            "`sampled` needs a number of bytes of 1 or more, not `{bytes}`"
        )),
    }
}

/// The same, with an interval that follows the cost.
fn within(how: How, share: &str) -> Result<How, String> {
    let share_of_time = share.parse().ok().filter(|share| *share > 0.0);
    match how {
        How::Sampled { interval_bytes, .. } if share_of_time.is_some() => Ok(How::Sampled {
            interval_bytes,
            overhead: share_of_time,
        }),
        _ => Err(format!(
            "`overhead` comes after `sampled BYTES` and needs a share such as 0.02, not `{share}`"
        )),
    }
}

/// The request that begins a recording.
#[must_use]
pub fn start_request(how: How, is_attached: bool, output: Option<&Path>) -> String {
    let mut line = format!("start {}", how.name());
    if let How::Sampled {
        interval_bytes,
        overhead,
    } = how
    {
        line.push_str(&format!(" {interval_bytes}"));
        if let Some(share) = overhead {
            line.push_str(&format!(" overhead {share}"));
        }
    }
    if is_attached {
        line.push_str(" attached");
    }
    if let Some(path) = output {
        line.push_str(&format!(" output {}", path.display()));
    }
    line
}

/// Lines that the launcher answers with.
pub(crate) mod reply {
    use std::io;
    use std::path::PathBuf;
    use std::time::Duration;

    use serde_json::{Value, json};

    use crate::counts::Counts;
    use crate::recordings::{Begun, Ended, How};

    pub fn ok() -> String {
        json!({"ok": true}).to_string()
    }

    pub fn error(problem: &str) -> String {
        json!({"ok": false, "error": problem}).to_string()
    }

    pub fn busy(begun: &Begun) -> String {
        let problem = format!("a recording is on already ({})", begun.how.name());
        json!({"ok": false, "busy": true, "error": problem}).to_string()
    }

    pub fn started(pid: u32, how: How) -> String {
        json!({"ok": true, "pid": pid, "mode": how.name()}).to_string()
    }

    pub fn status(
        pid: u32,
        recording: Option<(&Begun, Duration)>,
        interval_bytes: u64,
        counts: Option<&Counts>,
    ) -> String {
        let recording = recording.map(|(begun, elapsed)| {
            let interval_bytes = match begun.how {
                How::Sampled { .. } => interval_bytes,
                _ => 0,
            };
            json!({
                "mode": begun.how.name(),
                "sample_interval_bytes": interval_bytes,
                "elapsed_ns": elapsed.as_nanos() as u64,
            })
        });
        let launcher = std::process::id();
        let mut status =
            json!({"ok": true, "pid": pid, "launcher_pid": launcher, "recording": recording});
        if let Some(counts) = counts {
            status["counts"] = counts_object(counts);
        }
        status.to_string()
    }

    pub fn ended(begun: &Begun, ended: &Ended, kept: &io::Result<Option<PathBuf>>) -> String {
        let path = match kept {
            Ok(path) => path.as_ref().map(|path| path.to_string_lossy()),
            Err(problem) => return error(&problem.to_string()),
        };
        let mut line = json!({
            "ok": true,
            "ended": true,
            "mode": begun.how.name(),
            "path": path,
            "elapsed_ns": ended.elapsed_ns,
            "dropped_events": ended.counters.dropped_events,
            "program_ended": ended.status.is_some(),
        });
        if let Some(counts) = &ended.counts {
            line["counts"] = counts_object(counts);
        }
        line.to_string()
    }

    pub fn stopped_by_another(begun: &Begun) -> String {
        let mode = begun.how.name();
        json!({"ok": true, "ended": true, "mode": mode, "stopped_by_another": true}).to_string()
    }

    fn counts_object(counts: &Counts) -> Value {
        json!({
            "allocations": counts.allocations,
            "frees": counts.frees,
            "bytes": counts.bytes,
            "live_bytes": counts.live_bytes,
            "peak_bytes": counts.peak_bytes,
            "peak_error_bytes": counts.peak_error_bytes,
        })
    }
}

/// Somebody who asks a launcher.
pub struct Client {
    lines: BufReader<UnixStream>,
    partial: Vec<u8>,
}

/// Why no launcher answers for a process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoLauncher {
    /// There is no process with this number.
    NoProcess,
    /// It is another user's.
    NotPermitted,
    /// It has no recorder, or its launcher is gone.
    NoRecorder,
}

impl Client {
    /// Connects to the launcher of a process, by the number of that or its own.
    ///
    /// # Errors
    /// When there is none that we may talk to.
    pub fn connect(pid: u32) -> Result<Self, NoLauncher> {
        let process = Path::new("/proc").join(pid.to_string());
        let owner = fs::metadata(&process).map_err(|_| NoLauncher::NoProcess)?;
        let mut denied = false;
        for folder in folders_of(owner.uid()) {
            match UnixStream::connect(folder.join(socket_name(pid))) {
                // Somebody else's folder in /tmp would do, too: what counts is who answers.
                Ok(stream) if is_from(&stream, owner.uid()) => {
                    return Ok(Self {
                        lines: BufReader::new(stream),
                        partial: Vec::new(),
                    });
                }
                Ok(_) => {}
                Err(error) => denied |= error.kind() == io::ErrorKind::PermissionDenied,
            }
        }
        if denied || !may_control(owner.uid()) {
            return Err(NoLauncher::NotPermitted);
        }
        Err(NoLauncher::NoRecorder)
    }

    /// Asks for something.
    ///
    /// # Errors
    /// When the launcher is gone.
    pub fn ask(&mut self, line: &str) -> io::Result<()> {
        self.lines
            .get_mut()
            .write_all(format!("{line}\n").as_bytes())
    }

    /// The next line that the launcher says; `None` when it says nothing before `until`, or a signal came that
    /// [`catch_interrupts`] catches.
    ///
    /// # Errors
    /// When the launcher is gone.
    pub fn next_line(&mut self, until: Option<Instant>) -> io::Result<Option<String>> {
        loop {
            if let Some(end) = self.partial.iter().position(|&byte| byte == b'\n') {
                let rest = self.partial.split_off(end + 1);
                let line = std::mem::replace(&mut self.partial, rest);
                return Ok(Some(String::from_utf8_lossy(&line).trim_end().to_owned()));
            }
            if !wait_for_input(self.lines.get_ref(), until)? {
                return Ok(None);
            }
            let available = self.lines.fill_buf()?;
            let length = available.len();
            if length == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.partial.extend_from_slice(available);
            self.lines.consume(length);
        }
    }
}

/// Waits for bytes; `false` when the time is over or a signal came.
fn wait_for_input(stream: &UnixStream, until: Option<Instant>) -> io::Result<bool> {
    loop {
        if was_interrupted() {
            return Ok(false);
        }
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        // A signal that comes right before the wait is seen after so long.
        let limit = left.unwrap_or(PATIENCE).min(PATIENCE);
        let mut poll = libc::pollfd {
            fd: stream.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        let milliseconds = i32::try_from(limit.as_millis()).unwrap_or(0);
        // SAFETY: one live entry.
        let ready = unsafe { libc::poll(&mut poll, 1, milliseconds) };
        match ready {
            1.. => return Ok(true),
            0 if left.is_some_and(|left| left <= limit) => return Ok(false),
            0 => {}
            _ => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
}

static INTERRUPTED: AtomicUsize = AtomicUsize::new(0);

/// From here on `SIGINT`, `SIGTERM` and `SIGHUP` end a wait of [`Client::next_line`] and nothing else.
pub fn catch_interrupts() {
    extern "C" fn note(_: i32) {
        INTERRUPTED.fetch_add(1, Relaxed);
    }
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: a handler that does what handlers may do.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = note as extern "C" fn(i32) as usize;
            libc::sigaction(signal, &action, std::ptr::null_mut());
        }
    }
}

/// Whether one of these signals came. Asked once, it is forgotten.
fn was_interrupted() -> bool {
    INTERRUPTED.swap(0, Relaxed) > 0
}

fn socket_name(pid: u32) -> String {
    format!("{pid}{SOCKET_ENDING}")
}

fn user() -> u32 {
    // SAFETY: cannot fail.
    unsafe { libc::geteuid() }
}

fn may_control(owner: u32) -> bool {
    let user = user();
    user == owner || user == 0
}

/// Where launchers of a user put their sockets, the better place first.
fn folders_of(user_id: u32) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    if user_id == user()
        && let Some(folder) = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from)
        && folder.is_absolute()
    {
        folders.push(folder.join("heapatlas"));
    }
    folders.push(PathBuf::from(format!("/run/user/{user_id}/heapatlas")));
    folders.push(PathBuf::from(format!("/tmp/heapatlas-{user_id}")));
    folders
}

/// A folder that only this user can use.
fn own_folder() -> io::Result<PathBuf> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for folder in folders_of(user()) {
        match make_folder(&folder) {
            Ok(()) => return Ok(folder),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn make_folder(folder: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let found = fs::symlink_metadata(folder)?;
    if !found.is_dir() || found.uid() != user() || found.mode() & 0o077 != 0 {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    Ok(())
}

/// Launchers that were killed leave their sockets behind.
fn remove_stale(folder: &Path) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name();
        let pid = name
            .to_str()
            .and_then(|name| name.strip_suffix(SOCKET_ENDING));
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn is_from_this_user(stream: &UnixStream) -> bool {
    is_from(stream, user())
}

/// Whether the other end is a process of this user, or of the system's.
fn is_from(stream: &UnixStream, user_id: u32) -> bool {
    let mut peer = libc::ucred {
        pid: 0,
        uid: u32::MAX,
        gid: u32::MAX,
    };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: writes at most so many bytes to a live structure.
    let result = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut peer).cast(),
            &raw mut length,
        )
    };
    result == 0 && (peer.uid == user_id || peer.uid == 0)
}

/// Does something with all signals blocked: threads that are made have them so.
fn without_signals<T>(work: impl FnOnce() -> T) -> T {
    // SAFETY: sets of this function; the mask is put back as it was.
    unsafe {
        let (mut all, mut before) = (std::mem::zeroed(), std::mem::zeroed());
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
        let result = work();
        libc::pthread_sigmask(libc::SIG_SETMASK, &before, std::ptr::null_mut());
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expected: Command) {
        assert_eq!(Command::parse(line), expected, "{line}");
    }

    fn start(how: How, is_attached: bool, output: Option<&str>) -> Command {
        let output = output.map(PathBuf::from);
        Command::Start {
            wanted: Wanted {
                how,
                duration: None,
            },
            is_attached,
            output,
        }
    }

    #[test]
    fn requests() {
        check("status\n", Command::Status);
        check("stop\r\n", Command::Stop);
        check("mark two words\n", Command::Mark("two words".to_owned()));
        check("start\n", start(How::Exact, false, None));
        check("start counting", start(How::Counting, false, None));
        let sampled = How::Sampled {
            interval_bytes: 4096,
            overhead: None,
        };
        check(
            "start sampled 4096 attached output /tmp/a b.heaptrace\n",
            start(sampled, true, Some("/tmp/a b.heaptrace")),
        );
        let governed = How::Sampled {
            interval_bytes: 4096,
            overhead: Some(0.02),
        };
        check(
            &start_request(governed, true, Some(Path::new("/tmp/a"))),
            start(governed, true, Some("/tmp/a")),
        );
        check(
            &start_request(How::Counting, false, None),
            start(How::Counting, false, None),
        );
    }

    #[test]
    fn what_is_no_request_says_why() {
        for line in [
            "",
            "go",
            "mark",
            "start sampled",
            "start sampled 0",
            "start sampled 5x",
            "start output here",
            "start exact overhead 1",
            "start sampled 1 overhead no",
            "start now",
            "stop it",
        ] {
            let Command::Unknown(problem) = Command::parse(line) else {
                panic!("{line}")
            };
            assert!(!problem.is_empty());
        }
    }
}
