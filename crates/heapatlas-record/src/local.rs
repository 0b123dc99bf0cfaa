//! Recording without a launcher: chunks of a process' own memory go to a file, each by one system call.
//!
//! ```text
//!            a thread takes it              it is full, old, or the thread ends: the thread writes and frees it
//!   FREE ------------------------> OPEN -----------------------------------------------------------> FREE
//!                                  |  ^                                                                ^
//!                   somebody else  v  | done                                                           |
//!                   flushes     FLUSHED ----- the thread is done with it meanwhile ------> LEFT -------+
//!                                                                    the other one writes the rest
//! ```
//!
//! Nobody waits: a chunk belongs to one thread, and whoever is writing it when the other one comes is asked to do the rest.
//! The place of a block in the file is taken by one addition, so blocks never mix, however often a write is interrupted;
//! one that could not be written leaves a hole, and ends the recording.
//!
//! The descriptor is a duplicate of the caller's, and is closed when the recording is over and nobody writes any more.
//! Before each write it is made sure that it is still of that file: programs close descriptors that they do not know.
//! Nor is a file written beyond the size that the process may have, since that signal would end the program.

use core::ffi::c_int;
use core::fmt;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, AtomicU64};

use heapatlas_trace::file::{self, BLOCK_HEADER_BYTES, BlockHeader, BlockKind, Codec};
use heapatlas_trace::payload::{End, Mode, ProcessInfo, Put};
use heapatlas_trace::raw::{self, MAX_CHUNK_HEAD_BYTES};
use heapatlas_trace::shared::{
    CHUNKS, CLOSED, FREE, KIND_EVENTS, KIND_MODULES, KIND_MODULES_END, MODE_EXACT, MODE_IDLE,
    MODE_SAMPLED, OPEN, PAGE_BYTES,
};
use heapatlas_trace::{Crc32, Decoder, Event};

use crate::clock::{self, ticks};
use crate::fork::{BEGINS, FORKED, GOES_ON};
use crate::os::{self, RoomOfPages};
use crate::recorder::{Recorder, SAMPLES};
use crate::region::{Chunk, Errno, Region};
use crate::{image, module_list, unwind};

/// What a recording without a launcher is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LocalMode {
    /// Every allocation.
    Exact,
    /// Some, by chance.
    Sampled {
        /// The mean number of bytes from one sample to the next.
        interval_bytes: u64,
    },
}

/// Why a recording does not begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum StartError {
    /// One is on.
    IsOn,
    /// Another one is just beginning or ending, or a thread hangs in a write to the file of the last one.
    Busy,
    /// The process belongs to a launcher.
    HasLauncher,
    /// Blocks have places in the file, which this one has not: it is a pipe or a terminal, or opened for appending only.
    NoPlaces,
    /// There is no memory.
    NoMemory,
    /// What the system says of the file, by its number.
    System(i32),
}

/// What came of a recording.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LocalStats {
    /// Bytes in the file.
    pub bytes_written: u64,
    /// Events that are not in it.
    pub dropped_events: u64,
    /// What the system said when the file could not be written any more, by its number. The recording went quiet then.
    pub error: Option<i32>,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::IsOn => f.write_str("a recording is on already"),
            Self::Busy => f.write_str("another recording is just beginning or ending"),
            Self::HasLauncher => f.write_str("this process is recorded by `heapatlas record`"),
            Self::NoPlaces => {
                f.write_str("the file is a pipe or a terminal, or opened for appending")
            }
            Self::NoMemory => f.write_str("there is no memory for the recorder"),
            Self::System(number) => write!(f, "the file cannot be written: system error {number}"),
        }
    }
}

impl core::error::Error for StartError {}

/// What [`Recorder::local_state`] says.
const OFF: u32 = 0;
const CHANGES: u32 = 1;
const ON: u32 = 2;

/// Somebody else than its thread is writing what is in the chunk so far.
const FLUSHED: u32 = 3;
/// The same, and its thread is done with it.
const LEFT: u32 = 4;

/// Set in the gate while blocks are taken; the rest counts who is writing one.
const IS_OPEN: u32 = 1 << 31;

/// How long the end of a recording waits for those who are writing.
const PATIENCE_NS: u64 = 2_000_000_000;
const PAUSE_NS: u64 = 100_000;

/// How often the resident memory is asked for.
const RESIDENT_NS: u64 = 20_000_000;

/// So often at most is looked whether threads committed something while they were told that the recording is over.
const LAST_LOOKS: usize = 4;

/// The room for the payload of the process block: the program's path and its arguments, which are cut.
const PROCESS_BYTES: usize = 64 << 10;

/// The recorder to be told of forked children.
static FORKS: AtomicPtr<Recorder> = AtomicPtr::new(core::ptr::null_mut());

/// What a region without a launcher has behind it; zeroes are one without a file.
#[repr(C)]
pub(crate) struct Local {
    /// The descriptor plus 1; 0 for none.
    file: AtomicI32,
    identity: [AtomicU64; 2],
    gate: AtomicU32,
    /// The recording whose chunks are taken.
    recording: AtomicU32,
    recorder: AtomicPtr<Recorder>,
    /// Where the next block goes.
    end: AtomicU64,
    start_ns: AtomicU64,
    bytes_written: AtomicU64,
    error: AtomicI32,
    resident_bytes: AtomicU64,
    /// When that is to be asked for again.
    resident_due_ns: AtomicU64,
    /// For each chunk the bytes that were written.
    written: [AtomicU32; CHUNKS],
}

impl Recorder {
    /// Has this process record itself, to a file that was just made and stays the caller's. Every `start_local` begins a
    /// recording of its own. Not for signal handlers.
    ///
    /// # Errors
    /// See [`StartError`]. Nothing has changed then, but that the file may not be empty any more.
    pub fn start_local(&'static self, file: c_int, mode: LocalMode) -> Result<(), StartError> {
        let _errno = Errno::save();
        self.leave_parent();
        match self.take_turn(OFF) {
            Ok(()) => {}
            Err(ON) => return Err(StartError::IsOn),
            Err(_) => return Err(StartError::Busy),
        }
        let started = self.begin_local(file, mode);
        let state = if started.is_ok() { ON } else { OFF };
        self.local_state.store(state, Release);
        started
    }

    /// Ends the recording: what threads have recorded so far is in the file when this returns. `None` if none is on (or
    /// this is a forked child, whose parent goes on).
    pub fn stop_local(&'static self) -> Option<LocalStats> {
        let _errno = Errno::save();
        self.leave_parent();
        self.take_turn(ON).ok()?;
        let region = self.region();
        let stats = region.and_then(|region| Some(self.end_local(&region, region.local()?)));
        self.local_state.store(OFF, Release);
        stats
    }

    /// Writes what threads have recorded so far; the recording goes on. `None` if none is on.
    pub fn flush_local(&'static self) -> Option<LocalStats> {
        let _errno = Errno::save();
        if self.is_forked_child() || self.local_state.load(Acquire) != ON {
            return None;
        }
        let region = self.region()?;
        let local = region.local()?;
        local.flush(&region);
        Some(local.stats(&region))
    }

    fn take_turn(&self, from: u32) -> Result<(), u32> {
        let taken = self
            .local_state
            .compare_exchange(from, CHANGES, Acquire, Acquire);
        taken.map(|_| ())
    }

    fn begin_local(&'static self, file: c_int, mode: LocalMode) -> Result<(), StartError> {
        self.prepare_local()?;
        let region = match self.region() {
            Some(region) => region,
            None => Region::new_local().ok_or(StartError::NoMemory)?,
        };
        let local = region.local().ok_or(StartError::HasLauncher)?;
        self.set_region(region);
        let switch = self.switch();
        let recording = switch.recording.load(Relaxed).wrapping_add(1).max(1);
        local.open(self, file, recording)?;
        region.header().dropped.store(0, Relaxed);
        if let Err(error) = local.begin_file(mode) {
            local.shut();
            return Err(error);
        }
        // What was sampled before is not in this recording.
        SAMPLES.clear();
        clock::forget_owners();
        module_list::publish(&region, self.process(), recording);
        self.list_is_out(recording);
        switch.recording.store(recording, Relaxed);
        match mode {
            LocalMode::Exact => switch.mode.store(MODE_EXACT, Release),
            LocalMode::Sampled { interval_bytes } => {
                switch.sample_interval.store(interval_bytes, Relaxed);
                // Another byte than the last time: threads draw anew.
                switch
                    .mode
                    .store(MODE_SAMPLED | recording as u8 & !MODE_SAMPLED, Release);
            }
        }
        Ok(())
    }

    /// What a process needs once.
    fn prepare_local(&'static self) -> Result<(), StartError> {
        if self.fork_sentinel().is_some() {
            return Ok(());
        }
        self.prepare().ok_or(StartError::NoMemory)?;
        FORKS.store(core::ptr::from_ref(self).cast_mut(), Release);
        // SAFETY: the function lives as long as the process. Where there is no memory for it, what it does is
        // done when the child would write.
        unsafe { libc::pthread_atfork(None, None, Some(forked)) };
        Ok(())
    }

    fn end_local(&'static self, region: &Region, local: &Local) -> LocalStats {
        self.switch().mode.store(MODE_IDLE, Release);
        // What threads were about to commit when they were told comes with the second look.
        for _ in 0..LAST_LOOKS {
            if !local.flush(region) {
                break;
            }
        }
        local.end_file(region);
        let stats = local.stats(region);
        local.shut();
        stats
    }

    /// In a forked child that has not left its parent yet: nothing is recorded here, until it begins a recording of its
    /// own.
    fn leave_parent(&self) {
        let Some(sentinel) = self.fork_sentinel() else {
            return;
        };
        if (sentinel.compare_exchange(FORKED, BEGINS, AcqRel, Relaxed)).is_err() {
            return;
        }
        self.switch().mode.store(MODE_IDLE, Release);
        if let Some(region) = self.region()
            && let Some(local) = region.local()
        {
            local.forget();
            // Threads of the parent have chunks of it, which nobody will ever close. What this thread's state refers
            // to stays as it is.
            self.forget_region();
        }
        unwind::begin_in_child();
        self.local_state.store(OFF, Release);
        sentinel.store(GOES_ON, Release);
    }
}

/// Runs in a forked child, before `fork` returns there.
extern "C" fn forked() {
    // SAFETY: null, or the static that was stored.
    if let Some(recorder) = unsafe { FORKS.load(Acquire).as_ref() } {
        let _errno = Errno::save();
        recorder.leave_parent();
    }
}

impl Local {
    /// Takes a duplicate of the descriptor, and blocks of this recording from here on.
    fn open(
        &self,
        recorder: &'static Recorder,
        file: c_int,
        recording: u32,
    ) -> Result<(), StartError> {
        if self.gate.load(Acquire) != 0 || self.file.load(Acquire) != 0 {
            return Err(StartError::Busy);
        }
        let end = place_in(file)?;
        let identity = os::identity(file).ok_or(StartError::System(libc::EBADF))?;
        // SAFETY: makes a descriptor of the same file. The first three have a meaning that programs give them.
        let file = unsafe { libc::fcntl(file, libc::F_DUPFD_CLOEXEC, 3) };
        if file < 0 {
            return Err(StartError::System(last_error()));
        }
        for (place, number) in self.identity.iter().zip(identity) {
            place.store(number, Relaxed);
        }
        self.recorder
            .store(core::ptr::from_ref(recorder).cast_mut(), Relaxed);
        self.end.store(end, Relaxed);
        self.start_ns.store(os::monotonic_ns(), Relaxed);
        self.bytes_written.store(0, Relaxed);
        self.error.store(0, Relaxed);
        self.resident_due_ns.store(0, Relaxed);
        // Whoever leaves a gate that is open does not close the file.
        self.gate.fetch_or(IS_OPEN, AcqRel);
        self.file.store(file + 1, Release);
        self.recording.store(recording, Release);
        Ok(())
    }

    /// Takes no more blocks, and waits for those who are writing one. The last of them closes the file.
    fn shut(&self) {
        self.gate.fetch_add(1, AcqRel);
        self.gate.fetch_and(!IS_OPEN, AcqRel);
        let mut waited_ns = 0;
        while self.gate.load(Acquire) > 1 && waited_ns < PATIENCE_NS {
            os::pause(PAUSE_NS);
            waited_ns += PAUSE_NS;
        }
        self.leave();
    }

    /// In a forked child: the file is the parent's.
    fn forget(&self) {
        self.recording.store(0, Release);
        self.gate.store(0, Release);
        self.close_file();
    }

    fn enter(&self, recording: u32) -> bool {
        let before = self.gate.fetch_add(1, AcqRel);
        let is_taken = before & IS_OPEN != 0 && self.recording.load(Acquire) == recording;
        if !is_taken {
            self.leave();
        }
        is_taken
    }

    fn leave(&self) {
        if self.gate.fetch_sub(1, AcqRel) == 1 {
            self.close_file();
        }
    }

    fn close_file(&self) {
        if let Some(file @ 0..) = self.file.swap(0, AcqRel).checked_sub(1) {
            os::close(file);
        }
    }

    fn stats(&self, region: &Region) -> LocalStats {
        let error = self.error.load(Relaxed);
        LocalStats {
            bytes_written: self.bytes_written.load(Relaxed),
            dropped_events: region.header().dropped.load(Relaxed),
            error: (error != 0).then_some(error),
        }
    }

    /// A thread is done with its chunk.
    pub(crate) fn close(&self, region: &Region, chunk: Chunk) {
        // Before the chunk's state tells others that it is taken care of: so the end of the recording waits for it.
        let is_taken = self.enter(chunk.header().recording.load(Relaxed));
        if is_ours(region.state(chunk.number())) {
            if is_taken {
                self.write_piece(region, chunk, true);
            }
            self.free(region, chunk);
        }
        if is_taken {
            self.leave();
        }
    }

    /// Writes what is committed in all chunks. Gives whether there was anything.
    fn flush(&self, region: &Region) -> bool {
        let recording = self.recording.load(Acquire);
        if !self.enter(recording) {
            return false;
        }
        let used = region.header().used_chunks.load(Acquire) as usize;
        let mut has_written = false;
        for number in 0..used.min(CHUNKS) {
            has_written |= self.flush_chunk(region, region.chunk_at(number), recording);
        }
        self.leave();
        has_written
    }

    fn flush_chunk(&self, region: &Region, chunk: Chunk, recording: u32) -> bool {
        let state = region.state(chunk.number());
        if state.load(Relaxed) != OPEN
            || (state.compare_exchange(OPEN, FLUSHED, AcqRel, Relaxed)).is_err()
        {
            return false;
        }
        // Its thread may not have told yet whose it is.
        let header = chunk.header();
        let is_told = header.sequence.load(Acquire) != 0;
        let is_of = |recording| is_told && header.recording.load(Relaxed) == recording;
        let has_written = is_of(recording) && self.write_piece(region, chunk, false);
        if (state.compare_exchange(FLUSHED, OPEN, AcqRel, Acquire)).is_ok() {
            return has_written;
        }
        if header.recording.load(Relaxed) == recording {
            self.write_piece(region, chunk, true);
        }
        self.free(region, chunk);
        true
    }

    fn free(&self, region: &Region, chunk: Chunk) {
        let header = chunk.header();
        self.written[chunk.number()].store(0, Relaxed);
        header.committed.store(0, Relaxed);
        header.sequence.store(0, Relaxed);
        region.state(chunk.number()).store(FREE, Release);
        region.header().freed.fetch_add(1, Release);
    }

    /// Writes what is committed in a chunk and was not written before. Gives whether there was anything. The caller has
    /// entered.
    fn write_piece(&self, region: &Region, chunk: Chunk, is_last: bool) -> bool {
        let header = chunk.header();
        let written = &self.written[chunk.number()];
        let from = written.load(Relaxed);
        let committed = header.committed.load(Acquire);
        let is_empty = committed <= from;
        if is_empty && (from == 0 || !is_last) {
            return false;
        }
        // SAFETY: a chunk holds so many bytes, and these do not change any more.
        let bytes = unsafe {
            let start = chunk.bytes().add(from as usize).as_ptr();
            core::slice::from_raw_parts(start, committed.saturating_sub(from) as usize)
        };
        if !self.write_chunk(chunk, u64::from(from), bytes, is_last) {
            let dropped = match header.kind.load(Relaxed) {
                KIND_EVENTS => events_in(bytes),
                _ => 0,
            };
            region.header().dropped.fetch_add(dropped, Relaxed);
        }
        written.store(committed, Relaxed);
        !is_empty
    }

    fn write_chunk(&self, chunk: Chunk, from: u64, bytes: &[u8], is_last_piece: bool) -> bool {
        let header = chunk.header();
        let mut name = [0; 16];
        for (out, word) in name
            .as_chunks_mut::<8>()
            .0
            .iter_mut()
            .zip(&header.thread_name)
        {
            *out = word.load(Relaxed).to_le_bytes();
        }
        let is_list = header.kind.load(Relaxed) != KIND_EVENTS;
        let name_bytes = name
            .iter()
            .position(|&byte| byte == 0)
            .unwrap_or(name.len());
        let elapsed_ns = self.elapsed_ns();
        let (tick, resident_bytes) = (ticks(), self.resident_bytes(elapsed_ns));
        let mut head = Head::default();
        raw::Chunk {
            kind: match header.kind.load(Relaxed) {
                KIND_MODULES => raw::ChunkKind::Modules,
                KIND_MODULES_END => raw::ChunkKind::ModulesEnd,
                _ => raw::ChunkKind::Events,
            },
            is_last_piece,
            thread: u64::from(header.thread.load(Relaxed)),
            os_thread_id: match is_list {
                true => 0,
                false => u64::from(header.os_thread_id.load(Relaxed)),
            },
            sequence: header.sequence.load(Relaxed),
            from,
            base_tick: match is_list {
                true => 0,
                false => header.base_tick.load(Relaxed),
            },
            tick,
            elapsed_ns,
            resident_bytes,
            thread_name: match is_list {
                true => &[],
                false => &name[..name_bytes],
            },
            bytes,
        }
        .write_head(&mut head);
        self.append(BlockKind::Chunk, &head.bytes[..head.length], bytes)
    }

    fn elapsed_ns(&self) -> u64 {
        let start = self.start_ns.load(Relaxed);
        os::monotonic_ns().saturating_sub(start)
    }

    /// Of the whole process, as it was a moment ago.
    fn resident_bytes(&self, now_ns: u64) -> u64 {
        if now_ns >= self.resident_due_ns.load(Relaxed) {
            self.resident_due_ns.store(now_ns + RESIDENT_NS, Relaxed);
            self.resident_bytes
                .store(os::resident_pages() * PAGE_BYTES as u64, Relaxed);
        }
        self.resident_bytes.load(Relaxed)
    }

    /// The file's header and the first block.
    fn begin_file(&self, mode: LocalMode) -> Result<(), StartError> {
        let room = RoomOfPages::map(PROCESS_BYTES).ok_or(StartError::NoMemory)?;
        let mut payload = Payload { room, length: 0 };
        image::describe(|executable, arguments| {
            let arguments = arguments.strip_suffix(b"\0").unwrap_or(arguments);
            let has_any = usize::from(!arguments.is_empty());
            let arguments = arguments
                .split(|&byte| byte == 0)
                .take(has_any * usize::MAX);
            process_info(mode, executable, arguments).write(&mut payload);
        })
        .ok_or(StartError::NoMemory)?;
        let is_written = self.put(&file::raw_header(), &[])
            && self.append(BlockKind::Process, &[], payload.bytes());
        match self.error.load(Relaxed) {
            0 if is_written => Ok(()),
            number => Err(StartError::System(number)),
        }
    }

    fn end_file(&self, region: &Region) {
        let mut head = Head::default();
        let header = region.header();
        End {
            tick: ticks(),
            elapsed_ns: self.elapsed_ns(),
            status: None,
            dropped_events: header.dropped.load(Relaxed),
            waited_ns: 0,
            captures: 0,
            checked: header.checked.load(Relaxed),
            differences: header.differences.load(Relaxed),
        }
        .write(&mut head);
        self.append(BlockKind::End, &head.bytes[..head.length], &[]);
    }

    /// Appends a block: its payload is a short head, and bytes behind it.
    fn append(&self, kind: BlockKind, head: &[u8], bytes: &[u8]) -> bool {
        let length = (head.len() + bytes.len()) as u32;
        let header = BlockHeader {
            kind: kind as u8,
            codec: Codec::Plain as u8,
            stored_bytes: length,
            raw_bytes: length,
            crc32: Crc32::new().with(head).with(bytes).sum(),
        };
        let mut front = [0; BLOCK_HEADER_BYTES + MAX_CHUNK_HEAD_BYTES];
        let (block, rest) = front.split_at_mut(BLOCK_HEADER_BYTES);
        block.copy_from_slice(&header.to_bytes());
        rest[..head.len()].copy_from_slice(head);
        self.put(&front[..BLOCK_HEADER_BYTES + head.len()], bytes)
    }

    /// Writes bytes to a place of their own.
    fn put(&self, front: &[u8], bytes: &[u8]) -> bool {
        let total = front.len() + bytes.len();
        let place = self.end.fetch_add(total as u64, Relaxed);
        let mut done = 0;
        while done < total {
            let left = [
                part_of(front, done),
                part_of(bytes, done.saturating_sub(front.len())),
            ];
            match self.put_some(&left, place + done as u64) {
                Ok(0) => return self.fail(libc::EIO),
                Ok(length) => done += length,
                Err(libc::EINTR) => {}
                Err(number) => return self.fail(number),
            }
        }
        self.bytes_written.fetch_add(total as u64, Relaxed);
        true
    }

    fn put_some(&self, parts: &[libc::iovec; 2], place: u64) -> Result<usize, i32> {
        if self.error.load(Relaxed) != 0 || self.is_forked_child() {
            return Err(libc::ECANCELED);
        }
        let file = self.file.load(Acquire) - 1;
        let [device, number] = &self.identity;
        if os::identity(file) != Some([device.load(Relaxed), number.load(Relaxed)]) {
            return Err(libc::EBADF);
        }
        let length = (parts[0].iov_len + parts[1].iov_len) as u64;
        if place.saturating_add(length) > os::file_size_limit() {
            return Err(libc::EFBIG);
        }
        os::write_at(file, parts, place)
    }

    /// Nothing is recorded any more. The first error is kept.
    #[cold]
    fn fail(&self, number: i32) -> bool {
        let is_child = self.is_forked_child();
        if !is_child {
            let _ = self.error.compare_exchange(0, number, Relaxed, Relaxed);
        }
        if let Some(recorder) = self.recorder() {
            recorder.switch().mode.store(MODE_IDLE, Release);
        }
        false
    }

    fn recorder(&self) -> Option<&'static Recorder> {
        // SAFETY: null, or the static that was stored.
        unsafe { self.recorder.load(Acquire).as_ref() }
    }

    /// One that nobody told of its parent: by a bare system call.
    fn is_forked_child(&self) -> bool {
        self.recorder().is_none_or(Recorder::is_forked_child)
    }
}

/// Whether a chunk is to be written and freed by its thread, which is done with it; else somebody is writing what is in
/// it so far, and does the rest then.
fn is_ours(state: &AtomicU32) -> bool {
    loop {
        match state.compare_exchange(OPEN, CLOSED, AcqRel, Acquire) {
            Ok(_) => return true,
            // Else the other one is done with it at this moment.
            Err(FLUSHED) => {
                if (state.compare_exchange(FLUSHED, LEFT, AcqRel, Acquire)).is_ok() {
                    return false;
                }
            }
            Err(_) => return false,
        }
    }
}

/// Where the next byte of a file goes.
fn place_in(file: c_int) -> Result<u64, StartError> {
    // SAFETY: both only ask.
    let (place, flags) = unsafe {
        let place = libc::lseek64(file, 0, libc::SEEK_CUR);
        (place, libc::fcntl(file, libc::F_GETFL))
    };
    if flags < 0 {
        return Err(StartError::System(last_error()));
    }
    if flags & libc::O_ACCMODE == libc::O_RDONLY {
        return Err(StartError::System(libc::EBADF));
    }
    if flags & libc::O_APPEND != 0 {
        return Err(StartError::NoPlaces);
    }
    u64::try_from(place).map_err(|_| StartError::NoPlaces)
}

fn last_error() -> i32 {
    // SAFETY: glibc's location of this thread's value is always valid.
    unsafe { *libc::__errno_location() }
}

fn process_info<'a, A>(mode: LocalMode, executable: &'a [u8], arguments: A) -> ProcessInfo<'a, A> {
    // SAFETY: neither can fail.
    let (pid, parent_pid) = unsafe { (libc::getpid(), libc::getppid()) };
    let (mode, sample_interval_bytes) = match mode {
        LocalMode::Exact => (Mode::Exact, 0),
        LocalMode::Sampled { interval_bytes } => (Mode::Sampled, interval_bytes),
    };
    ProcessInfo {
        pid: u64::from(pid.cast_unsigned()),
        parent_pid: u64::from(parent_pid.cast_unsigned()),
        start_unix_ns: os::unix_ns(),
        // The chunks tell ticks and times.
        ticks_per_second: 0,
        start_tick: ticks(),
        page_bytes: PAGE_BYTES as u64,
        pointer_bytes: size_of::<usize>() as u64,
        mode,
        sample_interval_bytes,
        executable,
        arguments,
        recorder_version: env!("CARGO_PKG_VERSION").as_bytes(),
    }
}

/// How many events are in a piece of a stream; nodes are none.
fn events_in(mut bytes: &[u8]) -> u64 {
    let mut decoder = Decoder::new();
    let mut count = 0;
    while let Ok(Some(event)) = decoder.next(&mut bytes) {
        count += u64::from(!matches!(event, Event::Node { .. }));
    }
    count
}

fn part_of(bytes: &[u8], from: usize) -> libc::iovec {
    let left = bytes.get(from..).unwrap_or_default();
    libc::iovec {
        iov_base: left.as_ptr().cast_mut().cast(),
        iov_len: left.len(),
    }
}

/// A short payload.
struct Head {
    bytes: [u8; MAX_CHUNK_HEAD_BYTES],
    length: usize,
}

impl Default for Head {
    fn default() -> Self {
        Self {
            bytes: [0; MAX_CHUNK_HEAD_BYTES],
            length: 0,
        }
    }
}

impl Put for Head {
    fn put(&mut self, bytes: &[u8]) {
        put_in(&mut self.bytes, &mut self.length, bytes);
    }
}

/// The payload of the process block.
struct Payload {
    room: RoomOfPages,
    length: usize,
}

impl Payload {
    fn bytes(&mut self) -> &[u8] {
        &self.room.bytes()[..self.length]
    }
}

impl Put for Payload {
    fn put(&mut self, bytes: &[u8]) {
        put_in(self.room.bytes(), &mut self.length, bytes);
    }
}

/// What does not fit is cut. (There is room for all that is put.)
fn put_in(room: &mut [u8], length: &mut usize, bytes: &[u8]) {
    let room = &mut room[*length..];
    let count = bytes.len().min(room.len());
    room[..count].copy_from_slice(&bytes[..count]);
    *length += count;
}
