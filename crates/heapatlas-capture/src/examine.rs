//! Looks at a program before it is started: one that does not load the recorder would yield an empty
//! result, and whoever waited for it deserves to be told at once.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// What keeps a program from being recorded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Obstacle {
    /// It is linked statically: there is no dynamic linker that would load the recorder.
    Static,
    /// It is for another C library (musl), whose `malloc` the recorder does not fit.
    OtherLibc(String),
    /// It changes its user or group when it starts, and the dynamic linker then ignores what is preloaded.
    ChangesUser,
    /// It is built with AddressSanitizer, which brings an allocator of its own and insists on being first.
    AddressSanitizer,
    /// It is for another processor or another word size.
    OtherMachine,
}

impl Obstacle {
    /// What to tell the user, in one sentence.
    pub fn reason(&self) -> String {
        match self {
            Self::Static => {
                "it is linked statically, so that the recorder cannot be loaded into it".to_owned()
            }
            Self::OtherLibc(linker) => {
                format!(
                    "it is linked with another C library (`{linker}`); the recorder is for glibc"
                )
            }
            Self::ChangesUser => {
                "it is setuid or setgid, and the system loads no recorder into such programs"
                    .to_owned()
            }
            Self::AddressSanitizer => {
                "it is built with AddressSanitizer, which has an allocator of its own".to_owned()
            }
            Self::OtherMachine => "it is not a program for 64-bit x86".to_owned(),
        }
    }

    /// What the user can do.
    pub fn way_out(&self) -> &'static str {
        match self {
            Self::Static => {
                "link it dynamically (for Go and musl programs: use their own heap profiler)"
            }
            Self::OtherLibc(_) => "build it for a `-gnu` target",
            Self::ChangesUser => {
                "record a copy of the program (a copy is not setuid), as the user that it runs for"
            }
            Self::AddressSanitizer => {
                "build it without `-fsanitize=address`; its leak report comes from `ASAN_OPTIONS=detect_leaks=1`"
            }
            Self::OtherMachine => "record on a machine of its kind",
        }
    }
}

/// Looks at the program that a command would start; scripts stand for their interpreters. `None` as well
/// for what cannot be looked at: starting it will tell.
pub fn examine(program: &OsStr) -> Option<Obstacle> {
    let path = find(program)?;
    examine_file(&path, 0)
}

/// Interpreters of interpreters end somewhere.
const DEEPEST: usize = 4;

fn examine_file(path: &Path, depth: usize) -> Option<Obstacle> {
    let bytes = fs::read(path).ok()?;
    if let Some(line) = bytes.strip_prefix(b"#!") {
        let line = line.split(|&byte| byte == b'\n').next()?.trim_ascii_start();
        let interpreter = line.split(|byte| byte.is_ascii_whitespace()).next()?;
        let interpreter = Path::new(OsStr::from_bytes(interpreter));
        return (depth < DEEPEST).then(|| examine_file(interpreter, depth + 1))?;
    }
    let metadata = fs::metadata(path).ok()?;
    if metadata.permissions().mode() & 0o6000 != 0 && changes_user(&metadata) {
        return Some(Obstacle::ChangesUser);
    }
    examine_elf(&bytes)
}

/// For the owner himself a setuid program is a program like any other.
fn changes_user(metadata: &fs::Metadata) -> bool {
    // SAFETY: neither can fail.
    let (user, group) = unsafe { (libc::getuid(), libc::getgid()) };
    let mode = metadata.permissions().mode();
    (mode & 0o4000 != 0 && metadata.uid() != user)
        || (mode & 0o2000 != 0 && metadata.gid() != group)
}

fn examine_elf(bytes: &[u8]) -> Option<Obstacle> {
    const CLASS_64_LITTLE_ENDIAN: [u8; 2] = [2, 1];
    const X86_64: u16 = 62;
    if !bytes.starts_with(b"\x7fELF") {
        return None;
    }
    if bytes.get(4..6)? != CLASS_64_LITTLE_ENDIAN || half(bytes, 18)? != X86_64 {
        return Some(Obstacle::OtherMachine);
    }
    let Some(linker) = linker(bytes) else {
        return Some(Obstacle::Static);
    };
    if linker.contains("musl") {
        return Some(Obstacle::OtherLibc(linker));
    }
    // Names of what it links with. (A compiler holds such names elsewhere, and is fine.)
    let names = dynamic_names(bytes).unwrap_or_default();
    let mut names = names.split(|&byte| byte == 0);
    names
        .any(|name| name == b"__asan_init")
        .then_some(Obstacle::AddressSanitizer)
}

/// The dynamic linker that a program asks for.
fn linker(bytes: &[u8]) -> Option<String> {
    const PT_INTERP: u32 = 3;
    let text = segment(bytes, PT_INTERP)?.split(|&byte| byte == 0).next()?;
    Some(String::from_utf8_lossy(text).into_owned())
}

/// The strings of the dynamic symbol table.
fn dynamic_names(bytes: &[u8]) -> Option<&[u8]> {
    const PT_DYNAMIC: u32 = 2;
    const DT_STRTAB: u64 = 5;
    const DT_STRSZ: u64 = 10;
    let entries = segment(bytes, PT_DYNAMIC)?.as_chunks::<16>().0;
    let value = |tag| {
        let entry = entries.iter().find(|entry| word(*entry, 0) == Some(tag))?;
        word(entry, 8)
    };
    let start = usize::try_from(file_offset(bytes, value(DT_STRTAB)?)?).ok()?;
    let length = usize::try_from(value(DT_STRSZ)?).ok()?;
    bytes.get(start..start.checked_add(length)?)
}

/// Where in the file an address of the loaded program is.
fn file_offset(bytes: &[u8], address: u64) -> Option<u64> {
    const PT_LOAD: u32 = 1;
    program_headers(bytes).find_map(|header| {
        let (offset, start, length) = (word(header, 8)?, word(header, 16)?, word(header, 32)?);
        let distance = address.checked_sub(start)?;
        (kind_of(header)? == PT_LOAD && distance < length).then(|| offset.checked_add(distance))?
    })
}

/// The bytes of the first segment of a kind.
fn segment(bytes: &[u8], kind: u32) -> Option<&[u8]> {
    let header = program_headers(bytes).find(|header| kind_of(header) == Some(kind))?;
    let start = usize::try_from(word(header, 8)?).ok()?;
    let length = usize::try_from(word(header, 32)?).ok()?;
    bytes.get(start..start.checked_add(length)?)
}

fn kind_of(header: &[u8]) -> Option<u32> {
    Some(u32::from_le_bytes(*header.first_chunk()?))
}

fn program_headers(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let table = word(bytes, 32).and_then(|offset| bytes.get(usize::try_from(offset).ok()?..));
    let entry_bytes = usize::from(half(bytes, 54).unwrap_or(0)).max(1);
    let entries = usize::from(half(bytes, 56).unwrap_or(0));
    table
        .unwrap_or_default()
        .chunks_exact(entry_bytes)
        .take(entries)
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_le_bytes(bytes.try_into().ok()?))
}

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(8)?)?;
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

/// Where a program is, as `execvp` finds it.
fn find(program: &OsStr) -> Option<PathBuf> {
    if program.as_bytes().contains(&b'/') {
        return Some(PathBuf::from(program));
    }
    let folders = env::var_os("PATH")?;
    let mut paths = env::split_paths(&folders).map(|folder| folder.join(program));
    paths.find(|path| {
        let metadata = fs::metadata(path);
        metadata
            .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A 64-bit ELF header and segments of these kinds with these contents, loaded at their offsets.
    fn elf(machine: u16, segments: &[(u32, &[u8])]) -> Vec<u8> {
        const HEADER: usize = 64;
        const ENTRY: usize = 56;
        let mut bytes = vec![0; HEADER + ENTRY * segments.len()];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        bytes[18..20].copy_from_slice(&machine.to_le_bytes());
        bytes[32..40].copy_from_slice(&(HEADER as u64).to_le_bytes());
        bytes[54..58].copy_from_slice(&[ENTRY as u8, 0, segments.len() as u8, 0]);
        for (index, (kind, contents)) in segments.iter().enumerate() {
            let at = HEADER + ENTRY * index;
            let (offset, length) = (bytes.len() as u64, contents.len() as u64);
            bytes[at..at + 4].copy_from_slice(&kind.to_le_bytes());
            for (field, value) in [(8, offset), (16, offset), (32, length)] {
                bytes[at + field..at + field + 8].copy_from_slice(&value.to_le_bytes());
            }
            bytes.extend(*contents);
        }
        bytes
    }

    const GLIBC: &[u8] = b"/lib64/ld-linux-x86-64.so.2\0";

    /// A program with one name in its dynamic strings, and one elsewhere.
    fn with_names(dynamic: &[u8], elsewhere: &[u8]) -> Vec<u8> {
        let offset = (64 + 4 * 56 + GLIBC.len() + elsewhere.len()) as u64;
        let table: Vec<u8> = [5, offset, 10, dynamic.len() as u64]
            .iter()
            .flat_map(|word: &u64| word.to_le_bytes())
            .collect();
        elf(62, &[(3, GLIBC), (9, elsewhere), (1, dynamic), (2, &table)])
    }

    #[test]
    fn tells_programs_that_cannot_be_recorded() {
        let musl = "/lib/ld-musl-x86_64.so.1";
        let cases = [
            (elf(62, &[(3, GLIBC)]), None),
            (elf(62, &[(1, GLIBC)]), Some(Obstacle::Static)),
            (
                elf(62, &[(3, musl.as_bytes())]),
                Some(Obstacle::OtherLibc(musl.to_owned())),
            ),
            (elf(183, &[(3, GLIBC)]), Some(Obstacle::OtherMachine)),
            (
                with_names(b"\0__asan_init\0", b""),
                Some(Obstacle::AddressSanitizer),
            ),
            (with_names(b"\0malloc\0", b"\0__asan_init\0"), None),
            (b"\x7fELF".to_vec(), None),
            (b"text".to_vec(), None),
        ];
        for (bytes, expected) in cases {
            assert_eq!(examine_elf(&bytes), expected);
        }
    }

    #[test]
    fn no_header_makes_it_fail() {
        let whole = with_names(b"\0__asan_init\0", b"");
        for length in 0..whole.len() {
            examine_elf(&whole[..length]);
        }
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] = 0xff;
            examine_elf(&bytes);
        }
    }

    #[test]
    fn the_programs_of_this_system_can_be_recorded() {
        assert_eq!(examine(OsStr::new("sh")), None);
        assert_eq!(examine(OsStr::new("/no/such/program")), None);
    }
}
