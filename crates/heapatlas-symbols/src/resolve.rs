//! All locations of a profile, module after module.

use std::collections::HashMap;

use heapatlas_model::{AllocationProfile, Frame, Module};

use crate::cache::Cache;
use crate::locate::locate;
use crate::lookup::{Lookup, spread};
use crate::{DebugFiles, ModuleSymbols, Options, Warning, jit};

/// Looks up every location of the profile and fills [`AllocationProfile::frames`]. A location of
/// which nothing is known gets no frame.
///
/// Costs some milliseconds for each module, then 60 microseconds for each of a few thousand locations
/// and 10 to 30 for each of many, since a unit of debug information is read when the first address in
/// it comes up. Memory is that of one module's debug information at a time.
pub fn resolve(profile: &mut AllocationProfile, options: &Options<'_>) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let mut frames = vec![Vec::new(); profile.locations.len()];
    let mut lookups = lookups(profile);
    lookups.sort_unstable_by_key(|lookup| (lookup.module, lookup.address));
    for lookups in lookups.chunk_by(|a, b| a.module == b.module) {
        match lookups[0]
            .module
            .and_then(|module| profile.modules.get(module))
        {
            Some(module) => resolve_module(module, lookups, options, &mut frames, &mut warnings),
            None => jit::resolve(lookups, options, &mut frames, &mut warnings),
        }
    }
    profile.frames = frames;
    warnings
}

/// A file that was loaded twice is opened once.
fn lookups(profile: &AllocationProfile) -> Vec<Lookup> {
    let firsts = first_of_each_file(&profile.modules);
    let lookup = |(location, place): (usize, &heapatlas_model::CodeLocation)| {
        let row = place.module.map(|module| module.index());
        let module = row.and_then(|row| profile.modules.get(row));
        let bias = module.map_or(0, |module| module.bias);
        Lookup {
            module: row.and_then(|row| firsts.get(row).copied()),
            address: place.address.wrapping_sub(bias),
            location,
        }
    };
    profile.locations.iter().enumerate().map(lookup).collect()
}

fn first_of_each_file(modules: &[Module]) -> Vec<usize> {
    let mut firsts = HashMap::new();
    let files = modules.iter().enumerate();
    files
        .map(|(row, module)| {
            *firsts
                .entry((&module.path, &module.build_id))
                .or_insert(row)
        })
        .collect()
}

fn resolve_module(
    module: &Module,
    lookups: &[Lookup],
    options: &Options<'_>,
    frames: &mut [Vec<Frame>],
    warnings: &mut Vec<Warning>,
) {
    if let Some(name) = without_file(&module.path) {
        let frame = Frame {
            function: name.to_owned(),
            ..Frame::default()
        };
        for lookup in lookups {
            frames[lookup.location] = vec![frame.clone()];
        }
        return;
    }
    let files = DebugFiles::new();
    let located = locate(&files, module, options);
    let cache = Cache::open(&located, module, options);
    let unknown = cache.fill(lookups, frames);
    if !unknown.is_empty() {
        let mut symbols = ModuleSymbols::from_located(&files, located, options);
        for same in unknown.chunk_by(|a, b| a.address == b.address) {
            spread(symbols.frames(same[0].address), same, frames);
        }
        let found = symbols.into_warnings();
        if found.is_empty() {
            warnings.extend(cache.save(lookups, frames));
        }
        warnings.extend(found);
    }
}

/// The name of a module that is no file: the kernel's, by its names in `/proc/PID/maps` and in
/// the dynamic linker's list.
fn without_file(path: &str) -> Option<&str> {
    match path {
        "linux-vdso.so.1" | "linux-gate.so.1" => Some("[vdso]"),
        _ => path.starts_with('[').then_some(path),
    }
}
