//! Profiles by hand.

use heapatlas_model::{
    AllocationProfile, Amount, CodeLocation, Module, ModuleId, ProfileFormat, StackTable,
};

/// A profile of modules and of locations as (address in memory, row of the module).
pub fn profile(modules: Vec<Module>, locations: &[(u64, Option<u32>)]) -> AllocationProfile {
    let location = |&(address, module): &(u64, Option<u32>)| CodeLocation {
        address,
        module: module.map(ModuleId),
    };
    AllocationProfile {
        format: ProfileFormat::Heaptrace,
        command: Vec::new(),
        pid: 0,
        start_unix_ns: 0,
        duration_ns: 0,
        exit_status: None,
        total: Amount::default(),
        frees: 0,
        peak: Amount::default(),
        peak_time_ns: 0,
        live_at_end: Amount::default(),
        temporary: Amount::default(),
        truncated_stacks: 0,
        dropped_events: 0,
        modules,
        locations: locations.iter().map(location).collect(),
        stacks: StackTable::new(),
        figures: Vec::new(),
        mappings: None,
        threads: Vec::new(),
        timeline: Vec::new(),
        sizes: Vec::new(),
        lifetimes: Vec::new(),
        frames: Vec::new(),
    }
}
