//! What a process image tells the launcher of itself when it begins.

use core::ffi::CStr;
use core::ptr::NonNull;
use core::sync::atomic::Ordering::{Relaxed, Release};

use heapatlas_trace::payload::{ImageInfo, Put};
use heapatlas_trace::shared::{CHUNK_ROOM, KIND_IMAGE};

use crate::clock::ticks;
use crate::os::{self, RoomOfPages};
use crate::region::{Chunk, Region};

/// The room for the program's path.
const PATH_BYTES: usize = 4096;
/// The room for its arguments; longer ones are cut.
const ARGUMENT_BYTES: usize = CHUNK_ROOM - PATH_BYTES - 128;

/// Tells a recording of an image, with the program that it runs. `false` when there is no room: then nothing may be recorded.
pub fn announce(region: &Region, process: u32, recording: u32) -> bool {
    describe(|executable, arguments| {
        tell(region, [process, recording], None, executable, arguments)
    })
    .unwrap_or(false)
}

/// Hands on the program's path and its arguments, each ended by a zero. `None` when there is no memory for them.
pub fn describe<R>(take: impl FnOnce(&[u8], &[u8]) -> R) -> Option<R> {
    // Not on the stack: nobody knows how much of it is left.
    let mut room = RoomOfPages::map(PATH_BYTES + ARGUMENT_BYTES)?;
    let (path, arguments) = room.bytes().split_at_mut(PATH_BYTES);
    let executable = link(c"/proc/self/exe", path);
    let length = os::read_file(c"/proc/self/cmdline", arguments).unwrap_or(0);
    Some(take(
        executable,
        arguments.get(..length).unwrap_or_default(),
    ))
}

/// Tells of a forked child in the recording that was told of its parent. `false` when there is no room: then nothing may be recorded.
pub fn announce_child(region: &Region, process: u32, recording: u32, forked_from: u32) -> bool {
    tell(region, [process, recording], Some(forked_from), &[], &[])
}

/// What a symbolic link says; empty if there is none.
fn link<'o>(path: &CStr, out: &'o mut [u8]) -> &'o [u8] {
    // SAFETY: writes at most so many bytes.
    let length = unsafe { libc::readlink(path.as_ptr(), out.as_mut_ptr().cast(), out.len()) };
    out.get(..usize::try_from(length).unwrap_or(0))
        .unwrap_or_default()
}

fn tell(
    region: &Region,
    [process, recording]: [u32; 2],
    forked_from: Option<u32>,
    executable: &[u8],
    arguments: &[u8],
) -> bool {
    let Some(chunk) = region.take_or_wait() else {
        return false;
    };
    let mut namespace = [0; 32];
    // SAFETY: neither can fail.
    let (pid, parent_pid) = unsafe { (libc::getpid(), libc::getppid()) };
    let info = ImageInfo {
        forked_from,
        parent_pid: u64::from(parent_pid.cast_unsigned()),
        start_tick: ticks(),
        namespace: link(c"/proc/self/ns/pid", &mut namespace),
        executable,
        arguments,
    };
    let mut payload = InChunk { chunk, filled: 0 };
    info.write(&mut payload);
    let header = chunk.header();
    header.kind.store(KIND_IMAGE, Relaxed);
    header.thread.store(0, Relaxed);
    header.process.store(process, Relaxed);
    header.recording.store(recording, Relaxed);
    header.pid.store(pid.cast_unsigned(), Relaxed);
    header.committed.store(payload.filled as u32, Relaxed);
    header.sequence.store(1, Release);
    region.close(chunk);
    true
}

/// A payload that is written straight to a chunk.
struct InChunk {
    chunk: Chunk,
    filled: usize,
}

impl Put for InChunk {
    fn put(&mut self, bytes: &[u8]) {
        let length = bytes.len().min(CHUNK_ROOM - self.filled);
        // SAFETY: so many bytes behind `filled` lie in the chunk, which is ours.
        unsafe {
            let out = self.chunk.bytes().add(self.filled);
            out.copy_from_nonoverlapping(NonNull::from(bytes).cast(), length);
        }
        self.filled += length;
    }
}
