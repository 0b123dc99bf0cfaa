//! Whose code a frame is: the program's, a dependency's, the language runtime's, or the allocator's.
//!
//! The lists here are all there is to it; docs/reference/sites.md shows them to users. They are asked
//! in this order: allocating functions by name; modules; source files, which decide where they are known;
//! and names of functions.

use super::origin_names::qualified_name;

/// Whose code a frame is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// Does nothing but allocate: `malloc`, `operator new`, wrappers that check for null.
    Allocator,
    /// Language runtimes and standard libraries.
    Runtime,
    /// Other libraries whose source the program was built with.
    Dependency,
    /// All else.
    Program,
}

/// Functions that do nothing but allocate, under the names that C knows.
const ALLOCATING: &[&str] = &[
    "malloc",
    "calloc",
    "realloc",
    "reallocarray",
    "memalign",
    "aligned_alloc",
    "posix_memalign",
    "valloc",
    "pvalloc",
    "mallocx",
    "rallocx",
    "mmap",
    "mmap64",
    "mremap",
    "sbrk",
    "strdup",
    "strndup",
];

/// What allocators put before such a name: glibc, jemalloc, mimalloc, tcmalloc, and wrappers.
const ALLOCATOR_PREFIXES: &[&str] = &[
    "__libc_",
    "__",
    "je_",
    "_rjem_",
    "_rjem_je_",
    "mi_",
    "tc_",
    "x",
    "g_",
    "z",
    "e",
    "s",
    "checked_",
    "safe_",
    "g_try_",
];

/// Allocating functions that follow no rule.
const ALLOCATORS: &[&str] = &[
    "_int_malloc",
    "_int_realloc",
    "_int_memalign",
    "tcache_init",
    "sysmalloc",
    "malloc_hook_ini",
    "xzalloc",
    "xcharalloc",
    "xnmalloc",
    "xnrealloc",
    "x2realloc",
    "x2nrealloc",
    "xmemdup",
    "xasprintf",
    "g_malloc0",
    "g_malloc_n",
    "g_malloc0_n",
    "g_realloc_n",
    "g_memdup",
    "g_memdup2",
    "g_slice_alloc",
    "g_slice_alloc0",
    "g_strconcat",
    "g_strdup_printf",
    "_Znwm",
    "_Znam",
    "_ZnwmSt11align_val_t",
    "_ZnamSt11align_val_t",
];

/// How names of functions begin that do nothing but allocate.
const ALLOCATOR_STARTS: &[&str] = &[
    "operator new",
    "__rust_alloc",
    "__rust_realloc",
    "__rdl_alloc",
    "__rdl_realloc",
    "__rg_alloc",
    "__rg_realloc",
    "__rustc::__rust_",
    "__rustc::__rdl_",
    "__rustc::__rg_",
    "alloc::alloc::",
    "std::alloc::",
    "heapatlas_preload::",
    "heapatlas::alloc::",
    "<heapatlas::alloc::",
    "heapatlas_record::",
    "__gnu_cxx::new_allocator<",
    "std::__new_allocator<",
    "std::allocator_traits<",
    "std::allocator<",
];

/// Of the names of methods that make blocks for a whole Rust program, whatever the allocator is called.
const ALLOCATOR_TRAIT: &str = " as core::alloc::global::GlobalAlloc>::";

/// How file names of modules begin that hold a language runtime only.
const RUNTIME_MODULES: &[&str] = &[
    "libc.so",
    "libc-2.",
    "libc.musl",
    "ld-linux",
    "ld-musl",
    "ld-2.",
    "ld.so",
    "libpthread",
    "libdl.so",
    "libdl-2.",
    "libstdc++",
    "libc++.so",
    "libc++abi",
    "libgcc_s",
    "libm.so",
    "libheapatlas",
    "libjemalloc",
    "libmimalloc",
    "libtcmalloc",
    "linux-vdso",
    "[vdso]",
];

/// Parts of the paths of sources that do nothing but allocate. (Functions that were inlined may
/// have names as short as `alloc`.)
const ALLOCATOR_FILES: &[&str] = &[
    "library/alloc/src/alloc.rs",
    "library/std/src/alloc.rs",
    "library/std/src/sys/alloc/",
    "heapatlas-record/src/",
    "heapatlas/src/alloc/",
    "/bits/new_allocator.h",
    "/bits/allocator.h",
    "/bits/alloc_traits.h",
    "/ext/new_allocator.h",
    "/ext/alloc_traits.h",
];

/// Parts of the paths of a language runtime's sources.
const RUNTIME_FILES: &[&str] = &[
    "/rustc/",
    "/rustlib/src/",
    "/rust/deps/",
    "library/alloc/src/",
    "library/core/src/",
    "library/std/src/",
    "/include/c++/",
    "/usr/lib/gcc/",
];

/// Parts of the paths of other libraries' sources.
const DEPENDENCY_FILES: &[&str] = &["/registry/src/", "/git/checkouts/", "/usr/include/"];

/// Outermost names of language runtimes, and their functions without any.
const RUNTIME_ROOTS: &[&str] = &[
    // Rust.
    "alloc",
    "core",
    "std",
    "hashbrown",
    "compiler_builtins",
    "__rustc",
    "rust_begin_unwind",
    "rust_panic",
    // C++; `std` is the name of both.
    "__gnu_cxx",
    "__cxxabiv1",
    // Where processes and threads begin.
    "_start",
    "__libc_start_main",
    "__libc_start_main_impl",
    "__libc_start_call_main",
    "start_thread",
    "clone",
    "clone3",
    "__clone",
    "__clone3",
    "_dl_start",
    "_dl_start_user",
    "_dl_init",
    "call_init",
    "__libc_csu_init",
];

/// Whose code a frame is, by what is known about it.
pub fn origin(function: &str, file: Option<&str>, module: Option<&str>) -> Origin {
    if is_allocator(function) {
        Origin::Allocator
    } else if module.is_some_and(is_runtime_module) {
        Origin::Runtime
    } else {
        match file {
            Some(file) => origin_of_file(file),
            None if is_runtime_function(function) => Origin::Runtime,
            None => Origin::Program,
        }
    }
}

fn origin_of_file(file: &str) -> Origin {
    let is_of = |parts: &[&str]| parts.iter().any(|part| file.contains(part));
    match () {
        () if is_of(ALLOCATOR_FILES) => Origin::Allocator,
        () if is_of(RUNTIME_FILES) => Origin::Runtime,
        () if is_of(DEPENDENCY_FILES) => Origin::Dependency,
        () => Origin::Program,
    }
}

fn is_allocator(function: &str) -> bool {
    // Rust has `<alloc::alloc::Global as core::alloc::Allocator>::allocate`.
    let start = function.trim_start_matches('<');
    let name = function.split('(').next().unwrap_or(function);
    let is_prefixed = |prefix: &&str| {
        name.strip_prefix(*prefix)
            .is_some_and(|rest| ALLOCATING.contains(&rest))
    };
    ALLOCATING.contains(&name)
        || ALLOCATORS.contains(&name)
        || ALLOCATOR_PREFIXES.iter().any(is_prefixed)
        || ALLOCATOR_STARTS
            .iter()
            .any(|known| start.starts_with(known))
        || function.contains(ALLOCATOR_TRAIT)
}

fn is_runtime_module(path: &str) -> bool {
    let file_name = path.rsplit('/').next().unwrap_or(path);
    RUNTIME_MODULES
        .iter()
        .any(|known| file_name.starts_with(known))
}

/// A method of a runtime's trait for a type of the program is the program's, and so is one of the
/// program's trait for a runtime's type: somebody wrote it here.
fn is_runtime_function(function: &str) -> bool {
    let name = qualified_name(function);
    let roots = [name.root, name.trait_root];
    let mut known = roots.into_iter().flatten().peekable();
    known.peek().is_some() && known.all(|root| RUNTIME_ROOTS.contains(&root))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(function: &str, expected: Origin) {
        assert_eq!(
            origin(function, None, Some("/bin/app")),
            expected,
            "{function}"
        );
    }

    #[test]
    fn allocators() {
        for function in [
            "malloc",
            "__libc_malloc",
            "realloc",
            "je_calloc",
            "_rjem_malloc",
            "_rjem_je_mallocx",
            "mi_malloc",
            "tc_realloc",
            "xmalloc",
            "xstrdup",
            "g_malloc",
            "g_malloc0",
            "g_try_malloc",
            "zmalloc",
            "operator new(unsigned long)",
            "operator new[](unsigned long)",
            "_Znwm",
            "__rust_alloc",
            "__rust_alloc_zeroed",
            "__rustc::__rust_alloc",
            "__rdl_alloc",
            "alloc::alloc::exchange_malloc",
            "alloc::alloc::Global::alloc_impl",
            "<alloc::alloc::Global as core::alloc::Allocator>::allocate",
            "__gnu_cxx::new_allocator<int>::allocate(unsigned long, void const*)",
            "std::allocator_traits<std::allocator<int> >::allocate(std::allocator<int>&, unsigned long)",
            "heapatlas_preload::interpose::malloc",
            "<app::Counting as core::alloc::global::GlobalAlloc>::alloc_zeroed",
            "mmap",
        ] {
            check(function, Origin::Allocator);
        }
    }

    #[test]
    fn language_runtimes() {
        for function in [
            "alloc::vec::Vec<T,A>::push",
            "alloc::slice::<impl [T]>::to_vec",
            "<alloc::vec::Vec<u8>>::reserve",
            "<alloc::vec::Vec<T> as core::iter::traits::collect::Extend<T>>::extend",
            "<alloc::vec::Vec<app::Row> as core::clone::Clone>::clone",
            "<T as alloc::string::ToString>::to_string",
            "<&str as core::convert::Into<alloc::string::String>>::into",
            "<[T] as alloc::slice::hack::ConvertVec>::to_vec",
            "core::ops::function::FnOnce::call_once{{vtable.shim}}",
            "core::ops::function::impls::<impl core::ops::function::FnOnce<A> for &mut F>::call_once",
            "std::rt::lang_start::{{closure}}",
            "<std::io::Stdin as std::io::Read>::read",
            "hashbrown::raw::RawTable<T,A>::reserve_rehash",
            "void std::vector<int, std::allocator<int> >::_M_realloc_insert<int const&>(int const*)",
            "std::vector<app::Row>::push_back(app::Row const&)",
            "std::function<void (int)>::operator()(int) const",
            "std::__cxx11::basic_string<char>::_M_create(unsigned long&, unsigned long)",
            "__gnu_cxx::__mt_alloc<int>::f()",
            "_start",
            "__libc_start_main",
            "start_thread",
        ] {
            check(function, Origin::Runtime);
        }
    }

    #[test]
    fn programs() {
        for function in [
            "main",
            "app::main",
            "load(char const*)",
            "mallocate",
            "allocate_row",
            "standard::f",
            "<app::Row as core::clone::Clone>::clone",
            "<alloc::vec::Vec<T> as app::Table>::rows",
            "<T as app::Table>::rows",
            "app::<impl core::convert::From<u8> for app::Row>::from",
            "app::load::{{closure}}",
            "std::vector<int> app::numbers<int>(std::vector<int> const&)",
            "(anonymous namespace)::load(int)",
            "main::{lambda(int)#1}::operator()(int) const",
            "app+0x1f20",
            "0x7f0012345678",
            "",
            "<",
            "<<>>",
        ] {
            check(function, Origin::Program);
        }
    }

    #[track_caller]
    fn check_place(file: Option<&str>, module: &str, expected: Origin) {
        assert_eq!(
            origin("core::f", file, Some(module)),
            expected,
            "{file:?} {module}"
        );
    }

    #[test]
    fn the_lists_are_documented() {
        let page = include_str!("../../../../docs/reference/sites.md");
        let lists = [
            ALLOCATING,
            ALLOCATOR_PREFIXES,
            ALLOCATORS,
            ALLOCATOR_STARTS,
            RUNTIME_MODULES,
            ALLOCATOR_FILES,
            RUNTIME_FILES,
            DEPENDENCY_FILES,
            RUNTIME_ROOTS,
        ];
        for word in lists.concat() {
            assert!(page.contains(&format!("`{word}`")), "{word}");
        }
    }

    #[test]
    fn files_and_modules() {
        // Inlined functions have short names where there are line tables only.
        check_place(
            Some("/src/heapatlas/crates/heapatlas-record/src/hooks.rs"),
            "/bin/app",
            Origin::Allocator,
        );
        check_place(
            Some("/rustc/90b35a6239c3d8bdabc530a6a0816f7ff89a0aaf/library/core/src/f.rs"),
            "/bin/app",
            Origin::Runtime,
        );
        check_place(
            Some("/usr/include/c++/12/bits/stl_vector.h"),
            "/bin/app",
            Origin::Runtime,
        );
        check_place(
            Some(
                "/home/u/.cargo/registry/src/index.crates.io-6f17d22bba15001f/serde-1.0.1/src/f.rs",
            ),
            "/bin/app",
            Origin::Dependency,
        );
        check_place(
            Some("/rustc/90b3/library/alloc/src/alloc.rs"),
            "/bin/app",
            Origin::Allocator,
        );
        // A program may call a module of its own `core`.
        check_place(Some("/home/u/app/src/core.rs"), "/bin/app", Origin::Program);
        check_place(None, "/bin/app", Origin::Runtime);
        check_place(
            Some("./malloc/hooks.c"),
            "/usr/lib/x86_64-linux-gnu/libc.so.6",
            Origin::Runtime,
        );
        check_place(
            Some("/home/u/app/src/core.rs"),
            "/usr/lib/x86_64-linux-gnu/libcore.so",
            Origin::Program,
        );
        for module in [
            "/lib/ld-linux-x86-64.so.2",
            "/usr/lib/libstdc++.so.6.0.30",
            "/tmp/libheapatlas_preload.so",
        ] {
            check_place(Some("x.c"), module, Origin::Runtime);
        }
    }
}
