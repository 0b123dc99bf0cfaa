//! Code made at run time, which no file holds: what its compilers wrote down.

mod jit_dump;
mod perf_map;

use std::collections::BTreeMap;
use std::ops::Range;

use heapatlas_model::Frame;

use crate::lookup::Lookup;
use crate::{Options, Warning};

/// Looks up addresses that are in no module.
pub(crate) fn resolve(
    lookups: &[Lookup],
    options: &Options<'_>,
    frames: &mut [Vec<Frame>],
    warnings: &mut Vec<Warning>,
) {
    let mut unnamed = Unnamed::new(lookups, frames);
    for (path, contents) in options.jit_dumps.iter().rev() {
        warnings.extend(jit_dump::resolve(path, contents, &mut unnamed));
    }
    for (path, contents) in options.perf_maps.iter().rev() {
        warnings.extend(perf_map::resolve(path, contents, &mut unnamed));
    }
}

/// Addresses without a name yet. Who tells names begins with the last one written: memory of code
/// that is gone is used again, and the later function is the right one.
struct Unnamed<'a> {
    locations: BTreeMap<u64, Vec<usize>>,
    frames: &'a mut [Vec<Frame>],
}

impl<'a> Unnamed<'a> {
    fn new(lookups: &[Lookup], frames: &'a mut [Vec<Frame>]) -> Self {
        let mut locations = BTreeMap::<u64, Vec<usize>>::new();
        for lookup in lookups {
            let same = locations.entry(lookup.address).or_default();
            same.push(lookup.location);
        }
        Self { locations, frames }
    }

    /// Names the addresses of a function that have no name yet.
    fn name(&mut self, code: Range<u64>, frame: impl Fn(u64) -> Frame) {
        if code.is_empty() {
            return;
        }
        // Each address leaves the map once, however many functions cover it.
        while let Some((&address, _)) = self.locations.range(code.clone()).next() {
            for location in self.locations.remove(&address).into_iter().flatten() {
                self.frames[location] = vec![frame(address)];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found at addresses, as `function file line`; empty where nothing is.
    pub(super) fn names<T>(
        addresses: &[(u64, &str)],
        resolve: impl FnOnce(&mut Unnamed<'_>) -> T,
    ) -> (T, Vec<String>) {
        let lookups = addresses.iter().enumerate();
        let lookups: Vec<_> = lookups
            .map(|(location, &(address, _))| Lookup::in_memory(address, location))
            .collect();
        let mut frames = vec![Vec::new(); lookups.len()];
        let result = resolve(&mut Unnamed::new(&lookups, &mut frames));
        let text = |frame: &Frame| format!("{} {} {}", frame.function, frame.file, frame.line);
        let found = frames
            .iter()
            .map(|frames| frames.first().map_or(String::new(), text));
        (result, found.collect())
    }
}
