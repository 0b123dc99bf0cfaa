//! Profiles by hand.

use heapatlas_model::{AllocationProfile, CodeLocation, Module, ModuleId, ProfileFormat};

/// A profile of modules and of locations as (address in memory, row of the module).
pub fn profile(modules: Vec<Module>, locations: &[(u64, Option<u32>)]) -> AllocationProfile {
    let location = |&(address, module): &(u64, Option<u32>)| CodeLocation {
        address,
        module: module.map(ModuleId),
    };
    AllocationProfile {
        modules,
        locations: locations.iter().map(location).collect(),
        figures: Vec::new(),
        ..AllocationProfile::new(ProfileFormat::Heaptrace)
    }
}
