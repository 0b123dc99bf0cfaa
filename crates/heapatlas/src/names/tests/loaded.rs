//! Names of what is loaded in this process.

use std::collections::BTreeMap;
use std::ffi::{CStr, c_void};
use std::path::Path;

use super::super::mapping::Mapping;
use super::super::module_names::ModuleNames;
use super::super::modules::{self, LoadedModule};
use super::super::{Frame, Resolver, demangled};
use super::peer::Peer;

#[test]
fn libraries_without_debug_information() {
    let mut resolver = Resolver::new();
    resolver.frames(1);
    let paths: Vec<String> = resolver
        .modules
        .iter()
        .map(|module| module.loaded.path.clone())
        .collect();
    let mut checked = 0;
    for path in paths
        .iter()
        .filter(|path| path.contains("libc.so") || path.contains("libgcc_s"))
    {
        let bytes = std::fs::read(path).unwrap();
        let peer = Peer::new(&bytes);
        let names = ModuleNames::of_file(Mapping::open(Path::new(path)).unwrap(), Path::new(path));
        let mut at: BTreeMap<u64, Vec<String>> = BTreeMap::new();
        for (start, size, name) in peer.functions() {
            let (start, size) = (*start, *size);
            for address in [start, start + size - 1] {
                at.entry(address).or_default().push(name.clone());
            }
        }
        for (address, expected) in at {
            let places = names.look_up(address);
            let name = places.last().and_then(|place| place.function.clone());
            let is_known = name.as_ref().is_some_and(|name| expected.contains(name));
            // Debug information, where it is installed, knows names that the table does not.
            assert!(
                is_known || places.iter().any(|place| place.file.is_some()),
                "{address:#x} of {path}: {name:?}, not {expected:?}"
            );
            checked += 1;
        }
    }
    assert!(checked > 100);
}

#[inline(never)]
fn named_function() -> u64 {
    std::hint::black_box(8)
}

#[test]
fn addresses_of_this_process() {
    let mut resolver = Resolver::new();
    let start = named_function as fn() -> u64 as usize as u64;
    let frames = resolver.frames(start + 1).to_vec();
    let last = frames.last().unwrap();
    assert!(
        last.function.as_deref().unwrap().contains("named_function"),
        "{last:?}"
    );
    assert!(
        last.file
            .as_deref()
            .unwrap()
            .ends_with("src/names/tests/loaded.rs"),
        "{last:?}"
    );
    assert_eq!(last.address, start + 1);
    let program = std::env::current_exe().unwrap();
    assert_eq!(last.module.as_deref(), program.to_str());

    let unknown = Frame::at(5, None, 5);
    assert_eq!(resolver.frames(5), [unknown]);
    let _ = (resolver.frames(0).len(), resolver.frames(u64::MAX).len());
}

#[test]
fn a_file_that_was_exchanged_gives_no_names() {
    let modules = modules::loaded();
    let library = modules
        .iter()
        .find(|module| module.path.contains("libc.so"))
        .unwrap();
    let address = named_function as fn() -> u64 as usize as u64;
    let is_named = |path: &str| {
        let module = LoadedModule {
            path: path.to_string(),
            ..modules[0].clone()
        };
        let names = ModuleNames::of_loaded(&module);
        !names.look_up(address - module.base).is_empty()
    };
    assert!(is_named(&modules[0].path));
    assert!(!is_named(&library.path) && !is_named("/no/such/file") && !is_named("/"));
}

/// Loads a library; a handle, and the address of one of its functions.
fn load(library: &CStr, function: &CStr) -> Option<(*mut c_void, u64)> {
    // SAFETY: a library that starts nothing when it is loaded.
    let handle = unsafe { libc::dlopen(library.as_ptr(), libc::RTLD_LAZY | libc::RTLD_GLOBAL) };
    if handle.is_null() {
        return None;
    }
    // SAFETY: the handle is open.
    let address = unsafe { libc::dlsym(handle, function.as_ptr()) };
    assert!(!address.is_null());
    Some((handle, address as u64))
}

#[test]
fn a_library_that_is_loaded_later() {
    let mut resolver = Resolver::new();
    resolver.frames(1);
    let before = resolver.modules.len();
    let (handle, address) = load(c"libthread_db.so.1", c"td_init").unwrap();
    let frames = resolver.frames(address + 1).to_vec();
    assert!(resolver.modules.len() > before);
    assert_eq!(frames.last().unwrap().function.as_deref(), Some("td_init"));
    assert!(
        frames[0]
            .module
            .as_deref()
            .unwrap()
            .contains("libthread_db")
    );
    // SAFETY: opened above, and not used any more.
    unsafe { libc::dlclose(handle) };
    assert_eq!(resolver.frames(address + 1), frames);
    // Another address of it, which nobody asked for while it was loaded.
    assert_eq!(resolver.frames(address + 2)[0].function, frames[0].function);
}

#[test]
fn cpp_names_are_read_where_there_is_a_runtime_of_cpp() {
    // It stays loaded.
    if load(c"libstdc++.so.6", c"__cxa_throw").is_some() {
        let name = demangled("_ZNSt6vectorIiSaIiEE9push_backERKi");
        assert_eq!(
            name,
            "std::vector<int, std::allocator<int> >::push_back(int const&)"
        );
    }
    assert_eq!(demangled("_Zwrong"), "_Zwrong");
    assert_eq!(demangled("main"), "main");
}
