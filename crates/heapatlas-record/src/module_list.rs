//! The list of loaded files, for the reader who looks names up.

use core::ffi::{CStr, c_int, c_void};
use core::ops::Range;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicU64, AtomicUsize};

use heapatlas_trace::shared::{CHUNK_ROOM, KIND_MODULES, KIND_MODULES_END};
use heapatlas_trace::varint;

use crate::clock::ticks;
use crate::region::{Chunk, Region};
use crate::unwind;

/// The addresses of the files in the list that was published last, as pairs of start and end.
static LISTED: [[AtomicU64; 2]; 1024] = [const { [const { AtomicU64::new(0) }; 2] }; 1024];
static LISTED_COUNT: AtomicUsize = AtomicUsize::new(0);

/// Whether a file was loaded that holds the code before `return_address`, and that is in no list yet.
/// (Code of JIT compilers is in none, ever.)
pub fn is_missing(return_address: u64) -> bool {
    let address = return_address.wrapping_sub(1);
    let count = LISTED_COUNT.load(Acquire);
    // Of more files than there is room for we know nothing.
    let Some(listed) = LISTED.get(..count) else {
        return false;
    };
    let holds =
        |[start, end]: &[AtomicU64; 2]| (start.load(Relaxed)..end.load(Relaxed)).contains(&address);
    !listed.iter().any(holds) && unwind::is_loaded(address)
}

/// Hands the list of loaded files to the launcher, for one recording. Gives up quietly when there is no room.
pub fn publish(region: &Region, process: u32, recording: u32) {
    let mut count = 0_u64;
    // SAFETY: `count_one` takes a counter.
    unsafe { libc::dl_iterate_phdr(Some(count_one), (&raw mut count).cast()) };
    let mut list = List {
        parts: Parts::new(*region, process, recording),
        listed: 0,
        left: count,
    };
    list.parts.varint(ticks());
    list.parts.varint(count);
    // SAFETY: `write_one` takes a list.
    unsafe { libc::dl_iterate_phdr(Some(write_one), (&raw mut list).cast()) };
    // Something was closed meanwhile: empty entries make the count right.
    while list.left > 0 {
        list.left -= 1;
        list.parts.put(&[0; 5]);
    }
    LISTED_COUNT.store(list.listed, Release);
    list.parts.end();
}

struct List {
    parts: Parts,
    /// Files that were written.
    listed: usize,
    /// Files that are yet to be written.
    left: u64,
}

unsafe extern "C" fn count_one(_: *mut libc::dl_phdr_info, _: usize, count: *mut c_void) -> c_int {
    // SAFETY: `publish` passed its counter.
    unsafe { *count.cast::<u64>() += 1 };
    0
}

unsafe extern "C" fn write_one(
    info: *mut libc::dl_phdr_info,
    _: usize,
    list: *mut c_void,
) -> c_int {
    // SAFETY: `publish` passed its list; `info` is valid during this call.
    let (info, list) = unsafe { (&*info, &mut *list.cast::<List>()) };
    if list.left == 0 {
        return 1;
    }
    list.left -= 1;
    let range = write_module(&mut list.parts, info);
    if let Some([start, end]) = LISTED.get(list.listed) {
        start.store(range.start, Relaxed);
        end.store(range.end, Relaxed);
    }
    list.listed += 1;
    0
}

/// Gives the addresses of the file.
fn write_module(parts: &mut Parts, info: &libc::dl_phdr_info) -> Range<u64> {
    let mut own_path = [0; 4096];
    parts.text(path_of(info, &mut own_path));
    // SAFETY: the linker's table of so many headers.
    let headers =
        unsafe { core::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
    parts.text(build_id(info.dlpi_addr, headers));
    parts.varint(info.dlpi_addr);
    let loaded = || {
        headers
            .iter()
            .filter(|header| header.p_type == libc::PT_LOAD)
    };
    let start = loaded().map(|header| header.p_vaddr).min().unwrap_or(0);
    let end = loaded().map(|header| header.p_vaddr + header.p_memsz).max();
    let start = info.dlpi_addr.wrapping_add(start);
    let end = info.dlpi_addr.wrapping_add(end.unwrap_or(0));
    parts.varint(start);
    parts.varint(end);
    start..end
}

/// The linker knows the program itself by no name.
fn path_of<'p>(info: &libc::dl_phdr_info, own_path: &'p mut [u8; 4096]) -> &'p [u8] {
    if info.dlpi_name.is_null() {
        return b"";
    }
    // SAFETY: the linker's text ends with a zero and lives as long as the object is loaded.
    let name = unsafe { CStr::from_ptr(info.dlpi_name) }.to_bytes();
    if name == b"linux-vdso.so.1" {
        return b"[vdso]";
    }
    if !name.is_empty() {
        let length = name.len().min(own_path.len());
        own_path[..length].copy_from_slice(&name[..length]);
        return &own_path[..length];
    }
    let link = c"/proc/self/exe";
    // SAFETY: writes at most so many bytes.
    let length =
        unsafe { libc::readlink(link.as_ptr(), own_path.as_mut_ptr().cast(), own_path.len()) };
    &own_path[..usize::try_from(length).unwrap_or(0)]
}

/// The build-id, from the notes in memory; empty where there is none.
fn build_id(bias: u64, headers: &[libc::Elf64_Phdr]) -> &[u8] {
    const NT_GNU_BUILD_ID: u32 = 3;
    for header in headers
        .iter()
        .filter(|header| header.p_type == libc::PT_NOTE)
    {
        let start = (bias.wrapping_add(header.p_vaddr)) as *const u8;
        // SAFETY: notes lie in a loaded segment.
        let mut notes = unsafe { core::slice::from_raw_parts(start, header.p_memsz as usize) };
        let align = |length: u32| (length as usize).next_multiple_of(4);
        while let Some((head, rest)) = notes.split_first_chunk::<12>() {
            let word = |at: usize| {
                u32::from_ne_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]])
            };
            let (name, contents, kind) = (align(word(0)), word(4) as usize, word(8));
            let Some(id) = rest.get(name..name + contents) else {
                break;
            };
            if kind == NT_GNU_BUILD_ID && rest.starts_with(b"GNU\0") {
                return id;
            }
            notes = rest.get(name + align(word(4))..).unwrap_or(&[]);
        }
    }
    &[]
}

/// A payload that is cut into chunks.
struct Parts {
    region: Region,
    process: u32,
    recording: u32,
    publication: u32,
    sequence: u64,
    chunk: Option<Chunk>,
    filled: usize,
    /// There was no chunk for a part: the list is not ended, and so never used.
    is_lost: bool,
}

impl Parts {
    fn new(region: Region, process: u32, recording: u32) -> Self {
        // A number that no thread has.
        let publication = region.header().next_thread.fetch_add(1, Relaxed);
        Self {
            region,
            process,
            recording,
            publication,
            sequence: 0,
            chunk: None,
            filled: CHUNK_ROOM,
            is_lost: false,
        }
    }

    fn varint(&mut self, value: u64) {
        let (bytes, length) = varint::encode(value);
        self.put(&bytes[..length]);
    }

    fn text(&mut self, text: &[u8]) {
        self.varint(text.len() as u64);
        self.put(text);
    }

    fn put(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if self.filled == CHUNK_ROOM {
                self.close(KIND_MODULES);
                self.open();
            }
            if let Some(chunk) = &self.chunk {
                // SAFETY: `filled` is below the room of the chunk, which is ours.
                unsafe { chunk.bytes().add(self.filled).write(byte) };
                self.filled += 1;
            }
        }
    }

    fn end(&mut self) {
        self.close(KIND_MODULES_END);
    }

    fn open(&mut self) {
        if !self.is_lost {
            self.chunk = self.region.take_or_wait();
        }
        let Some(chunk) = &self.chunk else {
            self.is_lost = true;
            return;
        };
        self.filled = 0;
        self.sequence += 1;
        let header = chunk.header();
        header.kind.store(KIND_MODULES, Relaxed);
        header.thread.store(self.publication, Relaxed);
        header.process.store(self.process, Relaxed);
        header.recording.store(self.recording, Relaxed);
        // SAFETY: cannot fail.
        let pid = unsafe { libc::getpid() };
        header.pid.store(pid.cast_unsigned(), Relaxed);
        header.sequence.store(self.sequence, Release);
    }

    fn close(&mut self, kind: u32) {
        if let Some(chunk) = self.chunk.take() {
            let header = chunk.header();
            header.kind.store(kind, Relaxed);
            header.committed.store(self.filled as u32, Release);
            self.region.close(chunk);
        }
        self.filled = CHUNK_ROOM;
    }
}
