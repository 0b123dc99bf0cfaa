//! The embedded recorder's symbols, as a golden list: it is loaded into every program, so each is a
//! decision.

use std::collections::BTreeSet;

use crate::recorder_file::BYTES;

/// What programs call in place of the C library's own.
const EXPORTS: [&str; 36] = [
    "_ZdaPv",
    "_ZdaPvRKSt9nothrow_t",
    "_ZdaPvSt11align_val_t",
    "_ZdaPvSt11align_val_tRKSt9nothrow_t",
    "_ZdaPvm",
    "_ZdaPvmSt11align_val_t",
    "_ZdlPv",
    "_ZdlPvRKSt9nothrow_t",
    "_ZdlPvSt11align_val_t",
    "_ZdlPvSt11align_val_tRKSt9nothrow_t",
    "_ZdlPvm",
    "_ZdlPvmSt11align_val_t",
    "_Znam",
    "_ZnamRKSt9nothrow_t",
    "_ZnamSt11align_val_t",
    "_ZnamSt11align_val_tRKSt9nothrow_t",
    "_Znwm",
    "_ZnwmRKSt9nothrow_t",
    "_ZnwmSt11align_val_t",
    "_ZnwmSt11align_val_tRKSt9nothrow_t",
    "aligned_alloc",
    "calloc",
    "cfree",
    "dlclose",
    "free",
    "malloc",
    "memalign",
    "mmap",
    "mmap64",
    "mremap",
    "munmap",
    "posix_memalign",
    "pvalloc",
    "realloc",
    "reallocarray",
    "valloc",
];

/// What it takes from the C library: none of these allocates, and none is a cancellation point but
/// those of the start, before `main`.
const IMPORTS: [&str; 23] = [
    "__errno_location",
    "__register_atfork",
    "abort",
    "close",
    "dl_iterate_phdr",
    "dladdr1",
    "dlsym",
    "environ",
    "getpid",
    "getppid",
    "gettid",
    "madvise",
    "memcmp",
    "memcpy",
    "memmove",
    "memset",
    "open",
    "prctl",
    "pthread_key_create",
    "pthread_setspecific",
    "readlink",
    "strlen",
    "syscall",
];

/// What linkers put into every shared object; each may be missing.
const BY_THE_LINKER: [&str; 4] = [
    "_ITM_deregisterTMCloneTable",
    "_ITM_registerTMCloneTable",
    "__cxa_finalize",
    "__gmon_start__",
];

/// Names in the dynamic symbol table: those that are defined, and those that are not.
struct Symbols {
    defined: BTreeSet<String>,
    undefined: BTreeSet<String>,
}

fn symbols() -> Symbols {
    const SHT_DYNSYM: usize = 11;
    let table = table(SHT_DYNSYM, 24);
    let mut symbols = Symbols {
        defined: BTreeSet::new(),
        undefined: BTreeSet::new(),
    };
    // The first one is nobody's.
    for symbol in table.entries.skip(1) {
        let is_undefined = number(symbol + 6, 2) == 0;
        let list = if is_undefined {
            &mut symbols.undefined
        } else {
            &mut symbols.defined
        };
        list.insert(text(table.names + number(symbol, 4)));
    }
    symbols
}

/// The libraries that it needs.
fn needed() -> Vec<String> {
    const SHT_DYNAMIC: usize = 6;
    const DT_NEEDED: usize = 1;
    let Table { entries, names } = table(SHT_DYNAMIC, 16);
    entries
        .filter(|&entry| number(entry, 8) == DT_NEEDED)
        .map(|entry| text(names + number(entry + 8, 8)))
        .collect()
}

/// A section of the ELF file: where its entries are, and where their names are.
struct Table {
    entries: std::iter::StepBy<std::ops::Range<usize>>,
    names: usize,
}

/// The section of a type.
fn table(kind: usize, entry_bytes: usize) -> Table {
    let (sections, section_bytes, count) = (number(40, 8), number(58, 2), number(60, 2));
    let section = |index: usize| sections + index * section_bytes;
    let mut headers = (0..count).map(section);
    let header = headers.find(|&header| number(header + 4, 4) == kind);
    let header = header.expect("a shared object has this section");
    let start = number(header + 24, 8);
    Table {
        entries: (start..start + number(header + 32, 8)).step_by(entry_bytes),
        names: number(section(number(header + 40, 4)) + 24, 8),
    }
}

fn number(at: usize, bytes: usize) -> usize {
    let word = BYTES[at..at + bytes].iter().rev();
    word.fold(0, |number, &byte| number << 8 | usize::from(byte))
}

fn text(at: usize) -> String {
    let name = BYTES[at..].split(|&byte| byte == 0).next();
    String::from_utf8_lossy(name.expect("there is always a first piece")).into_owned()
}

#[test]
fn exports_the_malloc_family_and_nothing_else() {
    let defined: Vec<_> = symbols().defined.into_iter().collect();
    assert_eq!(defined, EXPORTS);
}

#[test]
fn imports_no_allocator_and_nothing_unexpected() {
    let known = BTreeSet::from_iter(IMPORTS.iter().chain(&BY_THE_LINKER).copied());
    let undefined = symbols().undefined;
    let unexpected: Vec<_> = undefined
        .iter()
        .filter(|name| !known.contains(name.as_str()))
        .collect();
    assert!(unexpected.is_empty(), "{unexpected:?}");
    assert!(undefined.contains("dlsym"), "the table was read");
}

/// The standard library would bring its allocator and its own idea of threads.
#[test]
fn needs_the_c_library_only() {
    assert_eq!(needed(), ["libc.so.6"]);
}
