//! The files that are loaded, as the dynamic loader tells.

use std::ffi::{CStr, c_int, c_void};
use std::ops::Range;

use super::elf::{self, Identity};

/// Counts of loaded and of unloaded files: another pair, another list.
pub(super) type Generation = (u64, u64);

const PROGRAM: &str = "/proc/self/exe";

/// A loaded file.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct LoadedModule {
    /// What is added to the addresses of the file.
    pub(super) base: u64,
    /// Where the file can be opened.
    pub(super) path: String,
    /// What of the file is in memory tells which file it is: the one at the path may be another one by now.
    pub(super) identity: Identity,
    pub(super) code: Vec<Range<u64>>,
}

impl LoadedModule {
    /// Whether an address lies in its code.
    pub(super) fn holds(&self, address: u64) -> bool {
        self.code.iter().any(|segment| segment.contains(&address))
    }

    /// The path for people.
    pub(super) fn shown_path(&self) -> String {
        let target = (self.path == PROGRAM)
            .then(|| std::fs::read_link(PROGRAM).ok())
            .flatten();
        target.map_or_else(
            || self.path.clone(),
            |path| path.to_string_lossy().into_owned(),
        )
    }
}

/// `None` if the loader does not count.
pub(super) fn generation() -> Option<Generation> {
    let mut counts = None;
    for_each(&mut |module| {
        counts = Some((module.dlpi_adds, module.dlpi_subs));
        false
    });
    counts
}

/// All of them.
pub(super) fn loaded() -> Vec<LoadedModule> {
    // The loader's lock is held while it calls: what allocates then could wait for a thread that waits for the lock. So
    // room is made before, and if more was loaded meanwhile, once more.
    let mut raw = RawList::default();
    while !raw.try_fill() {
        raw.grow();
    }
    raw.modules
        .iter()
        .enumerate()
        .map(|(index, module)| module.read(&raw.bytes, index))
        .collect()
}

/// What is copied under the lock.
#[derive(Default)]
struct RawList {
    modules: Vec<RawModule>,
    bytes: Vec<u8>,
}

struct RawModule {
    base: u64,
    path: Range<usize>,
    program_headers: Range<usize>,
    build_id: Range<usize>,
}

impl RawList {
    fn try_fill(&mut self) -> bool {
        self.modules.clear();
        self.bytes.clear();
        let mut fits = true;
        for_each(&mut |module| {
            fits = self.add(module).is_some();
            fits
        });
        fits
    }

    fn grow(&mut self) {
        self.modules.reserve(self.modules.capacity() * 2 + 64);
        self.bytes.reserve(self.bytes.capacity() * 2 + 64 * 1024);
    }

    /// `None` if there is no room. Does not allocate.
    fn add(&mut self, module: &libc::dl_phdr_info) -> Option<()> {
        let headers = program_headers(module);
        // SAFETY: plain numbers, without gaps between them, that live as long as the module is loaded.
        let header_bytes = unsafe {
            std::slice::from_raw_parts(headers.as_ptr().cast::<u8>(), size_of_val(headers))
        };
        let path = match module.dlpi_name.is_null() {
            true => c"",
            // SAFETY: the loader's name, which ends with a zero and stands while it calls us.
            false => unsafe { CStr::from_ptr(module.dlpi_name) },
        };
        if self.modules.len() == self.modules.capacity() {
            return None;
        }
        let raw = RawModule {
            base: module.dlpi_addr,
            path: self.copy(path.to_bytes())?,
            program_headers: self.copy(header_bytes)?,
            build_id: self.copy(build_id(module.dlpi_addr, headers))?,
        };
        self.modules.push(raw);
        Some(())
    }

    fn copy(&mut self, bytes: &[u8]) -> Option<Range<usize>> {
        let start = self.bytes.len();
        if self.bytes.capacity() - start < bytes.len() {
            return None;
        }
        self.bytes.extend_from_slice(bytes);
        Some(start..self.bytes.len())
    }
}

impl RawModule {
    fn read(&self, bytes: &[u8], index: usize) -> LoadedModule {
        let path = String::from_utf8_lossy(&bytes[self.path.clone()]).into_owned();
        let program_headers = bytes[self.program_headers.clone()].to_vec();
        let build_id = bytes[self.build_id.clone()].to_vec();
        LoadedModule {
            base: self.base,
            // The program comes first, and has no name.
            path: if index == 0 {
                PROGRAM.to_string()
            } else {
                path
            },
            code: elf::code(&program_headers)
                .map(|(start, length)| {
                    let start = self.base.wrapping_add(start);
                    start..start.saturating_add(length)
                })
                .collect(),
            identity: Identity {
                program_headers,
                build_id,
            },
        }
    }
}

/// The build id, as the loaded notes tell it.
fn build_id(base: u64, headers: &[libc::Elf64_Phdr]) -> &[u8] {
    // Only notes inside a loaded segment are in memory.
    let is_loaded = |note: &&libc::Elf64_Phdr| {
        let end = note.p_vaddr.saturating_add(note.p_memsz);
        headers.iter().any(|segment| {
            segment.p_type == libc::PT_LOAD
                && segment.p_flags & libc::PF_R != 0
                && segment.p_vaddr <= note.p_vaddr
                && end <= segment.p_vaddr.saturating_add(segment.p_filesz)
        })
    };
    let notes = headers
        .iter()
        .filter(|header| header.p_type == libc::PT_NOTE)
        .filter(is_loaded);
    notes
        .filter_map(|note| {
            let start = base.wrapping_add(note.p_vaddr) as *const u8;
            // SAFETY: a part of a segment that is mapped and may be read, as long as the module is loaded.
            elf::build_id(unsafe { std::slice::from_raw_parts(start, note.p_memsz as usize) })
        })
        .next()
        .unwrap_or(&[])
}

fn program_headers(module: &libc::dl_phdr_info) -> &[libc::Elf64_Phdr] {
    if module.dlpi_phdr.is_null() {
        return &[];
    }
    // SAFETY: the loader gives so many headers, which stand while it calls us.
    unsafe { std::slice::from_raw_parts(module.dlpi_phdr, module.dlpi_phnum as usize) }
}

/// Until `each` says no. The loader's lock is held while it runs.
fn for_each(each: &mut dyn FnMut(&libc::dl_phdr_info) -> bool) {
    unsafe extern "C" fn call(
        module: *mut libc::dl_phdr_info,
        _size: usize,
        each: *mut c_void,
    ) -> c_int {
        // SAFETY: what was handed to the loader below, and the module that it tells.
        let (each, module) = unsafe {
            (
                &mut *each.cast::<&mut dyn FnMut(&libc::dl_phdr_info) -> bool>(),
                &*module,
            )
        };
        c_int::from(!each(module))
    }
    let mut each = each;
    let data: *mut &mut dyn FnMut(&libc::dl_phdr_info) -> bool = &mut each;
    // SAFETY: `call` takes what is handed here, and does not unwind: `each` does not panic.
    unsafe { libc::dl_iterate_phdr(Some(call), data.cast()) };
}
