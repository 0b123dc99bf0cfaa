//! Where allocations came from: the stacks of all threads in one table, with the modules that were loaded
//! at the time.

use std::collections::VecDeque;
use std::ops::Range;

use heapatlas_model::{CodeLocation, LocationId, Module, ModuleId, StackId, StackTable};
use heapatlas_trace::payload::ModuleInfo;
use rustc_hash::FxHashMap;

/// Locations and stacks, each only once.
pub(super) struct Code {
    pub modules: Vec<Module>,
    pub locations: Vec<CodeLocation>,
    pub stacks: StackTable,
    module_ids: FxHashMap<ModuleKey, ModuleId>,
    location_ids: FxHashMap<CodeLocation, LocationId>,
    stack_ids: FxHashMap<(StackId, LocationId), StackId>,
    loaded: ModuleList,
    /// Lists that replace `loaded` from a tick on.
    upcoming: VecDeque<(u64, ModuleList)>,
}

/// The loaded modules, by the first address.
type ModuleList = Vec<(Range<u64>, ModuleId)>;

/// Path, build-id, bias and addresses: all that a module is.
type ModuleKey = (Vec<u8>, Vec<u8>, u64, Range<u64>);

/// Stacks at most; above are the numbers that mean something else.
const MAX_STACKS: usize = u32::MAX as usize - 1;

impl Code {
    pub fn new() -> Self {
        Self {
            modules: Vec::new(),
            locations: Vec::new(),
            stacks: StackTable::new(),
            module_ids: FxHashMap::default(),
            location_ids: FxHashMap::default(),
            stack_ids: FxHashMap::default(),
            loaded: Vec::new(),
            upcoming: VecDeque::new(),
        }
    }

    /// The modules that are loaded from a tick on. The first list holds from the start.
    pub fn load<'a>(&mut self, tick: u64, modules: impl Iterator<Item = ModuleInfo<'a>>) {
        let mut list: Vec<_> = modules
            .map(|module| (module.start..module.end, self.module_id(&module)))
            .collect();
        list.sort_by_key(|(range, _)| range.start);
        let is_first = self.loaded.is_empty() && self.upcoming.is_empty();
        self.upcoming
            .push_back((if is_first { 0 } else { tick }, list));
    }

    /// The stack of a return address, called from another stack, at a tick. `None` when there are
    /// more stacks than ids.
    pub fn stack_id(&mut self, parent: StackId, return_address: u64, tick: u64) -> Option<StackId> {
        self.load_until(tick);
        let location = self.location_id(return_address.wrapping_sub(1));
        if let Some(&known) = self.stack_ids.get(&(parent, location)) {
            return Some(known);
        }
        if self.stacks.len() >= MAX_STACKS {
            return None;
        }
        let stack = self.stacks.push(parent, location);
        self.stack_ids.insert((parent, location), stack);
        Some(stack)
    }

    fn load_until(&mut self, tick: u64) {
        while self.upcoming.front().is_some_and(|(from, _)| *from <= tick) {
            self.loaded = self.upcoming.pop_front().expect("it was looked at").1;
        }
    }

    fn module_id(&mut self, module: &ModuleInfo<'_>) -> ModuleId {
        let range = module.start..module.end;
        let key = (
            module.path.to_vec(),
            module.build_id.to_vec(),
            module.bias,
            range.clone(),
        );
        *self.module_ids.entry(key).or_insert_with(|| {
            self.modules.push(Module {
                path: String::from_utf8_lossy(module.path).into_owned(),
                build_id: module.build_id.to_vec(),
                bias: module.bias,
                range,
            });
            ModuleId::from_index(self.modules.len() - 1)
        })
    }

    fn location_id(&mut self, address: u64) -> LocationId {
        let location = CodeLocation {
            address,
            module: self.module_at(address),
        };
        *self.location_ids.entry(location).or_insert_with(|| {
            self.locations.push(location);
            LocationId::from_index(self.locations.len() - 1)
        })
    }

    fn module_at(&self, address: u64) -> Option<ModuleId> {
        let behind = self
            .loaded
            .partition_point(|(range, _)| range.start <= address);
        let (range, module) = &self.loaded[..behind].last()?;
        range.contains(&address).then_some(*module)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(path: &[u8], start: u64, end: u64) -> ModuleInfo<'_> {
        ModuleInfo {
            path,
            start,
            end,
            ..ModuleInfo::default()
        }
    }

    #[test]
    fn addresses_belong_to_what_was_loaded_then() {
        let mut code = Code::new();
        let (a, b) = (module(b"a", 100, 200), module(b"b", 200, 300));
        code.load(50, [b, a].into_iter());
        code.load(60, [module(b"c", 150, 250), a].into_iter());
        let mut check = |return_address, tick, expected: Option<&str>| {
            let stack = code
                .stack_id(StackTable::EMPTY, return_address, tick)
                .unwrap();
            let location = code.locations[code.stacks.location(stack).unwrap().index()];
            assert_eq!(location.address, return_address - 1);
            let module = location
                .module
                .map(|module| code.modules[module.index()].path.as_str());
            assert_eq!(module, expected, "{return_address} at {tick}");
        };
        check(100, 10, None);
        check(101, 10, Some("a"));
        check(200, 59, Some("a"));
        check(201, 59, Some("b"));
        check(300, 59, Some("b"));
        check(301, 59, None);
        check(201, 60, Some("c"));
        check(260, 60, None);
        assert_eq!(code.modules.len(), 3);
        assert_eq!(code.stacks.len(), 2 + 8);
        assert_eq!(code.stack_id(StackTable::EMPTY, 201, 60), Some(StackId(8)));
    }
}
