//! The embedded recorder's symbols, as a golden list: it is loaded into every program, so each is a
//! decision.

use std::collections::BTreeSet;

use crate::recorder_file::BYTES;

/// What programs call in place of the C library's own.
const EXPORTS: [&str; 12] = [
    "aligned_alloc",
    "calloc",
    "cfree",
    "dlclose",
    "free",
    "malloc",
    "memalign",
    "posix_memalign",
    "pvalloc",
    "realloc",
    "reallocarray",
    "valloc",
];

/// What it takes from the C library: none of these allocates, and none is a cancellation point but
/// those of the start, before `main`.
const IMPORTS: [&str; 22] = [
    "__errno_location",
    "abort",
    "close",
    "dl_iterate_phdr",
    "dlsym",
    "environ",
    "getpid",
    "gettid",
    "madvise",
    "memcmp",
    "memcpy",
    "memmove",
    "memset",
    "mmap",
    "munmap",
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

fn number(at: usize, bytes: usize) -> usize {
    let word = BYTES[at..at + bytes].iter().rev();
    word.fold(0, |number, &byte| number << 8 | usize::from(byte))
}

/// Reads the ELF file by hand: section headers, the table among them, and its names.
fn symbols() -> Symbols {
    const SHT_DYNSYM: usize = 11;
    let (sections, section_bytes, count) = (number(40, 8), number(58, 2), number(60, 2));
    let section = |index: usize| sections + index * section_bytes;
    let table = (0..count)
        .map(section)
        .find(|&header| number(header + 4, 4) == SHT_DYNSYM)
        .expect("a shared object has dynamic symbols");
    let names = number(section(number(table + 40, 4)) + 24, 8);
    let (start, bytes) = (number(table + 24, 8), number(table + 32, 8));
    let mut symbols = Symbols {
        defined: BTreeSet::new(),
        undefined: BTreeSet::new(),
    };
    // The first one is nobody's.
    for symbol in (start..start + bytes).step_by(24).skip(1) {
        let name = &BYTES[names + number(symbol, 4)..];
        let name = name.split(|&byte| byte == 0).next().expect("text");
        let is_undefined = number(symbol + 6, 2) == 0;
        let list = if is_undefined {
            &mut symbols.undefined
        } else {
            &mut symbols.defined
        };
        list.insert(String::from_utf8_lossy(name).into_owned());
    }
    symbols
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
    let holds = |text: &[u8]| BYTES.windows(text.len()).any(|window| window == text);
    assert!(holds(b"libc.so.6\0"));
    for library in [
        &b"libstd"[..],
        b"libgcc_s",
        b"libm.so",
        b"libunwind",
        b"rust_begin_unwind\0",
    ] {
        assert!(!holds(library), "{}", String::from_utf8_lossy(library));
    }
}
