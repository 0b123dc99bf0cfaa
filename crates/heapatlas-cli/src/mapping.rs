//! Files and unpacked streams as memory: the only place where a file is mapped.
//!
//! ```text
//!  plain file          -> MappedFile     shared, read-only; pages come from the page cache
//!  .gz, .zst, stream   -> Buffer         anonymous memory that grows as bytes arrive
//! ```
//!
//! Both give pages back when a reader says that it is done with them, so that reading a file of
//! gigabytes does not hold it in memory beside the graph made from it.
//!
//! **What a mapping cannot promise.** Somebody may write to a mapped file meanwhile: then the
//! reader sees other bytes, which it must survive anyway, since it trusts no byte. Somebody may
//! cut it off: then touching what is gone ends the process by SIGBUS. No signal handler of ours
//! turns that into an error: it could not do so soundly for all threads. A writer that follows
//! our own rule (temporary name, then rename) never does this; [`MappedFile::has_changed`] lets
//! the caller say so when it was noticed in time.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::time::SystemTime;

use heapatlas_model::ByteSource;
#[cfg(unix)]
use memmap2::UncheckedAdvice;
use memmap2::{Mmap, MmapMut};

/// A file mapped for reading.
pub struct MappedFile {
    map: Mmap,
    file: File,
    state: Option<(u64, SystemTime)>,
}

impl MappedFile {
    /// Maps a regular file from its beginning to its present end.
    pub fn new(file: File) -> io::Result<Self> {
        let state = file_state(&file);
        // SAFETY: the mapping is shared and read-only, and readers of a `ByteSource` treat every
        // byte as hostile. What another process may do to the file is told in the module's head.
        let map = unsafe { Mmap::map(&file)? };
        // Advice that is refused costs speed only.
        #[cfg(unix)]
        let _ = map.advise(memmap2::Advice::Sequential);
        Ok(Self { map, file, state })
    }

    /// Whether somebody wrote to the file since it was mapped.
    pub fn has_changed(&self) -> bool {
        file_state(&self.file) != self.state
    }
}

impl ByteSource for MappedFile {
    fn bytes(&self) -> &[u8] {
        &self.map
    }

    fn release(&self, range: Range<usize>) {
        give_back(&self.map, range);
    }

    fn page_out(&self, range: Range<usize>) {
        give_back(&self.map, range);
    }
}

/// Size and time of the last change; `None` when the system does not tell.
fn file_state(file: &File) -> Option<(u64, SystemTime)> {
    let metadata = file.metadata().ok()?;
    Some((metadata.len(), metadata.modified().ok()?))
}

/// Memory that grows while a stream is read into it.
pub struct Buffer {
    map: MmapMut,
    filled: usize,
}

/// The first piece of memory; capacity doubles from here. Memory that is not written to yet costs
/// an address range and nothing else.
const FIRST_CAPACITY: usize = 4 << 20;
/// Room that is offered to a reader at least.
const SMALLEST_READ: usize = 256 << 10;

impl Buffer {
    /// An empty buffer.
    pub fn new() -> io::Result<Self> {
        let map = MmapMut::map_anon(FIRST_CAPACITY)?;
        Ok(Self { map, filled: 0 })
    }

    /// Number of bytes read so far.
    pub fn len(&self) -> usize {
        self.filled
    }

    /// Reads to the end of a stream, telling `progress` the number of bytes now and then. After an
    /// error what was read before it is still there.
    pub fn fill_from(&mut self, stream: &mut impl Read, progress: &dyn Fn(u64)) -> io::Result<()> {
        loop {
            if self.map.len() - self.filled < SMALLEST_READ {
                self.grow()?;
            }
            match stream.read(&mut self.map[self.filled..]) {
                Ok(0) => return Ok(()),
                Ok(count) => self.filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            progress(self.filled as u64);
        }
    }

    /// The bytes, to be read only from now on.
    pub fn finish(self) -> io::Result<FilledBuffer> {
        Ok(FilledBuffer {
            map: self.map.make_read_only()?,
            filled: self.filled,
        })
    }

    fn grow(&mut self) -> io::Result<()> {
        let capacity = self
            .map
            .len()
            .checked_mul(2)
            .ok_or(io::ErrorKind::OutOfMemory)?;
        resize(&mut self.map, capacity)
    }
}

/// Moves the pages, not the bytes.
#[cfg(target_os = "linux")]
fn resize(map: &mut MmapMut, capacity: usize) -> io::Result<()> {
    let options = memmap2::RemapOptions::new().may_move(true);
    // SAFETY: `map` is borrowed mutably, so nobody holds a reference into it; it is anonymous, so
    // there is no file whose end could be passed.
    unsafe { map.remap(capacity, options) }
}

#[cfg(not(target_os = "linux"))]
fn resize(map: &mut MmapMut, capacity: usize) -> io::Result<()> {
    let mut larger = MmapMut::map_anon(capacity)?;
    larger[..map.len()].copy_from_slice(map);
    *map = larger;
    Ok(())
}

/// A stream that was read to its end.
pub struct FilledBuffer {
    map: Mmap,
    filled: usize,
}

impl ByteSource for FilledBuffer {
    fn bytes(&self) -> &[u8] {
        &self.map[..self.filled]
    }

    fn release(&self, range: Range<usize>) {
        give_back(&self.map, range);
    }
}

/// Gives the whole pages within a range back to the system. A mapped file's pages come again from
/// the file when they are touched; anonymous ones come as zeros.
#[cfg(unix)]
fn give_back(map: &Mmap, range: Range<usize>) {
    let page = page_bytes();
    // Mappings start at a page, so offsets can be rounded instead of addresses. Inwards: the
    // neighbors in a page that is only partly done with are still wanted.
    let start = range.start.next_multiple_of(page);
    let end = range.end.min(map.len()) / page * page;
    if start < end {
        // SAFETY: the pages lie in the mapping. A file's come back as they were. Anonymous ones
        // are given back by `ByteSource::release` alone, by whose contract nobody reads these
        // bytes any more, so nobody can see them change. Refused advice costs memory only.
        let _ =
            unsafe { map.unchecked_advise_range(UncheckedAdvice::DontNeed, start, end - start) };
    }
}

#[cfg(not(unix))]
fn give_back(_: &Mmap, _: Range<usize>) {}

#[cfg(unix)]
fn page_bytes() -> usize {
    rustix::param::page_size()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn pattern(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at / 1000 % 251) as u8 + 1).collect()
    }

    #[test]
    fn a_buffer_holds_what_the_stream_gave() {
        let text = pattern(21_000_001);
        let mut buffer = Buffer::new().unwrap();
        buffer.fill_from(&mut text.as_slice(), &|_| {}).unwrap();
        assert_eq!(buffer.len(), text.len());
        assert!(buffer.finish().unwrap().bytes() == text);
    }

    #[test]
    fn release_touches_no_neighbor() {
        let text = pattern(5_000_000);
        let mut buffer = Buffer::new().unwrap();
        buffer.fill_from(&mut text.as_slice(), &|_| {}).unwrap();
        let buffer = buffer.finish().unwrap();
        buffer.release(10_000..4_000_001);
        assert!(buffer.bytes()[..10_000] == text[..10_000]);
        assert!(buffer.bytes()[4_000_001..] == text[4_000_001..]);
        #[cfg(target_os = "linux")]
        assert_eq!(buffer.bytes()[1_000_000], 0, "the page was given back");
    }

    #[test]
    fn a_mapped_file_survives_release_and_notices_change() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&pattern(100_000)).unwrap();
        let mapped = MappedFile::new(file.try_clone().unwrap()).unwrap();
        mapped.release(0..usize::MAX);
        assert!(mapped.bytes() == pattern(100_000));
        assert!(!mapped.has_changed());
        file.write_all(b"more").unwrap();
        assert!(mapped.has_changed());
    }
}
