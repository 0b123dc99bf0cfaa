//! What a file says beside its events, gathered before them: a thread's number in the system
//! decides whether its allocations are asked for.

use heapatlas_trace::file::BlockKind;
use heapatlas_trace::payload::{End, MapFile, ThreadInfo};
use rustc_hash::FxHashMap;

use super::blocks::{Block, decompressor};
use super::error::ReadError;

#[derive(Default)]
pub(super) struct Facts {
    threads: FxHashMap<u64, ThreadFacts>,
    pub end: Option<End>,
}

#[derive(Clone, Default)]
pub(super) struct ThreadFacts {
    pub os_thread_id: u64,
    pub name: String,
}

/// What a JIT compiler told of the code that it made.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CodeMap {
    /// Where the file stood in the measured process.
    pub path: String,
    /// A perf map: lines of address, size (both hexadecimal) and name.
    pub contents: Vec<u8>,
}

impl Facts {
    /// Gathers the facts. Blocks from a damaged one on are taken from the list.
    pub fn gather(blocks: &mut Vec<Block<'_>>) -> (Self, Option<ReadError>) {
        let mut facts = Self::default();
        let mut unpacker = decompressor();
        let damaged = blocks.iter().enumerate().find_map(|(index, block)| {
            let read = match block.kind {
                BlockKind::Thread | BlockKind::End => block.unpack(&mut unpacker),
                _ => return None,
            };
            let taken = read.and_then(|payload| facts.take(block, &payload));
            taken.err().map(|error| (index, error))
        });
        let Some((index, error)) = damaged else {
            return (facts, None);
        };
        blocks.truncate(index);
        (facts, Some(error))
    }

    fn take(&mut self, block: &Block<'_>, payload: &[u8]) -> Result<(), ReadError> {
        let malformed = |error| ReadError::block(block.offset, error);
        if block.kind == BlockKind::End {
            self.end = Some(End::read(payload).map_err(malformed)?);
            return Ok(());
        }
        self.note_thread(&ThreadInfo::read(payload).map_err(malformed)?);
        Ok(())
    }

    /// Notes a thread's number in the system and its latest name.
    pub fn note_thread(&mut self, thread: &ThreadInfo<'_>) {
        let known = self.threads.entry(thread.thread).or_default();
        known.os_thread_id = thread.os_thread_id;
        known.name = String::from_utf8_lossy(thread.name).into_owned();
    }

    /// Forgets a thread that nobody will ask for any more.
    pub fn forget_thread(&mut self, number: u64) {
        self.threads.remove(&number);
    }

    /// What is known of a thread by its number within the recording.
    pub fn thread(&self, number: u64) -> ThreadFacts {
        self.threads.get(&number).cloned().unwrap_or_default()
    }

    /// Whether anything is known of a thread.
    pub fn is_thread(&self, number: u64) -> bool {
        self.threads.contains_key(&number)
    }

    /// Whether a thread has this number in the system.
    pub fn is_os_thread(&self, number: u64, os_thread_id: u64) -> bool {
        self.threads
            .get(&number)
            .is_some_and(|thread| thread.os_thread_id == os_thread_id)
    }

    /// Whether any thread has this number in the system.
    pub fn has_os_thread(&self, os_thread_id: u64) -> bool {
        self.threads
            .values()
            .any(|thread| thread.os_thread_id == os_thread_id)
    }
}

/// The code maps among some blocks, up to the first that is damaged.
pub(super) fn code_maps(blocks: &[Block<'_>]) -> Vec<CodeMap> {
    let mut unpacker = decompressor();
    let mut maps: Vec<CodeMap> = Vec::new();
    for block in blocks.iter().filter(|block| block.kind == BlockKind::Map) {
        let Ok(payload) = block.unpack(&mut unpacker) else {
            break;
        };
        let Ok(map) = MapFile::read(&payload) else {
            break;
        };
        let path = String::from_utf8_lossy(map.path);
        match maps.last_mut().filter(|last| last.path == path) {
            Some(last) => last.contents.extend_from_slice(map.contents),
            None => maps.push(CodeMap {
                path: path.into_owned(),
                contents: map.contents.to_vec(),
            }),
        }
    }
    maps
}
