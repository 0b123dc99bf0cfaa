//! Results of the last time, by build-id.
//!
//! ```text
//!  <cache>/symbols/<build-id>/frames
//!  "HASYMS" version:u16 fingerprint:u64 crc32:u32 payload
//!  payload := count string* count location*
//!  string  := length bytes          location := address delta, count, (function file line)*
//! ```
//!
//! Numbers of the payload are LEB128. The fingerprint is of the files that the result was read
//! from, with their sizes and times: a debug package that was installed meanwhile is noticed. A
//! file that does not fit in any way counts as none, and is written anew.

use std::collections::HashMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use heapatlas_model::{Frame, Module};

use crate::build_id::Hex;
use crate::elf::ElfFile;
use crate::locate::Located;
use crate::lookup::{Lookup, spread};
use crate::{Options, Warning};

const MAGIC: &[u8; 8] = b"HASYMS\x01\0";
const HEADER_BYTES: usize = 20;

/// The cache of one module.
pub(crate) struct Cache {
    /// `None` if nothing is to be kept.
    path: Option<PathBuf>,
    fingerprint: u64,
}

impl Cache {
    /// The cache for a module that was located; without a build-id nothing is kept.
    pub(crate) fn open(located: &Located<'_>, module: &Module, options: &Options<'_>) -> Self {
        let id = located
            .own
            .as_ref()
            .map_or(&module.build_id[..], |own| own.build_id);
        let folder = options.cache.as_ref().filter(|_| !id.is_empty());
        Self {
            path: folder.map(|cache| {
                cache
                    .join("symbols")
                    .join(Hex(id).to_string())
                    .join("frames")
            }),
            fingerprint: fingerprint(located, options),
        }
    }

    /// Fills in the frames of addresses that are known, and gives those that are not.
    pub(crate) fn fill(&self, lookups: &[Lookup], frames: &mut [Vec<Frame>]) -> Vec<Lookup> {
        let kept = self.path.as_ref().and_then(|path| fs::read(path).ok());
        let mut known = kept
            .and_then(|bytes| self.decode(&bytes))
            .unwrap_or_default();
        let mut unknown = Vec::new();
        for same in lookups.chunk_by(|a, b| a.address == b.address) {
            match known.remove(&same[0].address) {
                Some(found) => spread(found, same, frames),
                None => unknown.extend(same),
            }
        }
        unknown
    }

    /// Keeps the frames of these addresses, and of no others that were kept before: the next
    /// summary is likely to be of the same recording.
    pub(crate) fn save(&self, lookups: &[Lookup], frames: &[Vec<Frame>]) -> Option<Warning> {
        let path = self.path.as_ref()?;
        let written = write_file(path, &self.encode(lookups, frames));
        written.err().map(|error| Warning::Cache {
            path: path.clone(),
            problem: error.to_string(),
        })
    }

    fn encode(&self, lookups: &[Lookup], frames: &[Vec<Frame>]) -> Vec<u8> {
        let mut strings = Strings::default();
        let mut locations = Vec::new();
        let mut last = 0;
        let mut distinct = 0;
        for same in lookups.chunk_by(|a, b| a.address == b.address) {
            let found = &frames[same[0].location];
            put(&mut locations, same[0].address - last);
            put(&mut locations, found.len() as u64);
            for frame in found {
                put(&mut locations, strings.number(&frame.function));
                put(&mut locations, strings.number(&frame.file));
                put(&mut locations, frame.line.into());
            }
            last = same[0].address;
            distinct += 1;
        }
        let mut payload = strings.encoded();
        put(&mut payload, distinct);
        payload.extend(locations);
        let mut bytes = MAGIC.to_vec();
        bytes.extend(self.fingerprint.to_le_bytes());
        bytes.extend(checksum(&payload).to_le_bytes());
        bytes.extend(payload);
        bytes
    }

    fn decode(&self, bytes: &[u8]) -> Option<HashMap<u64, Vec<Frame>>> {
        let (header, payload) = bytes.split_at_checked(HEADER_BYTES)?;
        let is_ours = header[..8] == MAGIC[..]
            && header[8..16] == self.fingerprint.to_le_bytes()
            && header[16..] == checksum(payload).to_le_bytes();
        is_ours.then(|| decode_payload(payload))?
    }
}

fn decode_payload(mut bytes: &[u8]) -> Option<HashMap<u64, Vec<Frame>>> {
    let bytes = &mut bytes;
    let mut strings = Vec::new();
    for _ in 0..take(bytes)? {
        let length = usize::try_from(take(bytes)?).ok()?;
        let (string, rest) = bytes.split_at_checked(length)?;
        strings.push(str::from_utf8(string).ok()?);
        *bytes = rest;
    }
    let mut known = HashMap::new();
    let mut address = 0_u64;
    for _ in 0..take(bytes)? {
        address = address.wrapping_add(take(bytes)?);
        let frames = (0..take(bytes)?).map(|_| frame(bytes, &strings));
        known.insert(address, frames.collect::<Option<_>>()?);
    }
    Some(known)
}

fn frame(bytes: &mut &[u8], strings: &[&str]) -> Option<Frame> {
    let mut string = || {
        let number = usize::try_from(take(bytes)?).ok()?;
        strings.get(number).map(|&string| string.to_owned())
    };
    let (function, file) = (string()?, string()?);
    let line = u32::try_from(take(bytes)?).ok()?;
    Some(Frame {
        function,
        file,
        line,
    })
}

/// Strings by the order in which they came up.
#[derive(Default)]
struct Strings<'a> {
    numbers: HashMap<&'a str, u64>,
    bytes: Vec<u8>,
}

impl<'a> Strings<'a> {
    fn number(&mut self, string: &'a str) -> u64 {
        let next = self.numbers.len() as u64;
        *self.numbers.entry(string).or_insert_with(|| {
            put(&mut self.bytes, string.len() as u64);
            self.bytes.extend(string.as_bytes());
            next
        })
    }

    fn encoded(self) -> Vec<u8> {
        let mut bytes = Vec::new();
        put(&mut bytes, self.numbers.len() as u64);
        bytes.extend(self.bytes);
        bytes
    }
}

fn put(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

fn checksum(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// Of the program version too: a later one may know better names.
fn fingerprint(located: &Located<'_>, options: &Options<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    env!("CARGO_PKG_VERSION").hash(&mut hasher);
    (options.level as u8).hash(&mut hasher);
    for file in [&located.own, &located.debug, &located.supplement] {
        file.as_ref().map(state).hash(&mut hasher);
    }
    hasher.finish()
}

fn state<'a>(file: &'a ElfFile<'_>) -> (&'a Path, usize, Option<u128>) {
    let modified = fs::metadata(&file.path).and_then(|metadata| metadata.modified());
    let since_epoch = modified
        .ok()
        .and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    (
        &file.path,
        file.bytes.len(),
        since_epoch.map(|time| time.as_nanos()),
    )
}

/// Writes beside the final name first, so that a reader sees the old file or the new one.
fn write_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new(""));
    fs::create_dir_all(folder)?;
    let temporary = folder.join(format!("frames.{}.tmp", std::process::id()));
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(&temporary);
    let written = file
        .and_then(|mut file| file.write_all(bytes))
        .and_then(|()| fs::rename(&temporary, path));
    written.inspect_err(|_| {
        // What is left over cannot be helped; the first error is the one to tell.
        let _ = fs::remove_file(&temporary);
    })
}
