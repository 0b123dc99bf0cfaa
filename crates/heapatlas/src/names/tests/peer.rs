//! The judges: the crates `addr2line` and `object`.

use addr2line::gimli::{self, LittleEndian};
use object::{Object, ObjectSection, ObjectSymbol, SymbolKind};

use super::super::module_names::ModuleNames;
use super::super::{Place, demangled};

type Slice<'a> = gimli::EndianSlice<'a, LittleEndian>;

/// A file as the judges see it.
pub(super) struct Peer<'a> {
    /// Start, size, name.
    functions: Vec<(u64, u64, String)>,
    context: addr2line::Context<Slice<'a>>,
}

/// What was compared.
#[derive(Debug, Default)]
pub(super) struct Compared {
    pub(super) addresses: usize,
    pub(super) with_lines: usize,
    pub(super) inlined: usize,
    pub(super) differences: Vec<String>,
}

impl<'a> Peer<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        let object = object::File::parse(bytes).unwrap();
        let load = |id: gimli::SectionId| {
            let section = object.section_by_name(id.name());
            let data = section.map_or(&[][..], |section| section.data().unwrap());
            Ok::<_, gimli::Error>(Slice::new(data, LittleEndian))
        };
        let context = addr2line::Context::from_dwarf(gimli::Dwarf::load(load).unwrap()).unwrap();
        Self {
            functions: functions(&object),
            context,
        }
    }

    /// First, last, and some addresses between of each function.
    pub(super) fn addresses(&self, step: usize) -> Vec<u64> {
        let ranges = self
            .functions
            .iter()
            .map(|(start, size, _)| (*start, start + size));
        ranges
            .flat_map(|(start, end)| (start..end).step_by(step).chain([end - 1]))
            .collect()
    }

    pub(super) fn functions(&self) -> &[(u64, u64, String)] {
        &self.functions
    }

    pub(super) fn compare(&self, names: &ModuleNames, addresses: &[u64]) -> Compared {
        let mut compared = Compared::default();
        for address in addresses {
            let ours = names.look_up(*address);
            let theirs = self.frames(*address);
            compared.addresses += 1;
            compared.with_lines += usize::from(theirs.iter().any(|place| place.line.is_some()));
            compared.inlined += usize::from(theirs.len() > 1);
            if !self.is_same_stack(*address, &ours, &theirs) && compared.differences.len() < 5 {
                let text = format!("{address:#x}:\n  ours   {ours:?}\n  theirs {theirs:?}");
                compared.differences.push(text);
            }
        }
        compared
    }

    fn is_same_stack(&self, address: u64, ours: &[Place], theirs: &[Place]) -> bool {
        // They do not look into the table of symbols.
        if theirs.is_empty() {
            return ours.iter().all(|place| place.file.is_none()) && ours.len() <= 1;
        }
        let last = theirs.len() - 1;
        let is_same = |(index, (ours, theirs)): (usize, (&Place, &Place))| {
            let (our, their) = (ours.function.as_deref(), theirs.function.as_deref());
            is_same_place(ours, theirs)
                && (is_same_name(our, their) || index == last && self.is_symbol(address, our))
        };
        ours.len() == theirs.len() && ours.iter().zip(theirs).enumerate().all(is_same)
    }

    /// Whether the table of symbols gives the code at an address this name, and a mangled one.
    fn is_symbol(&self, address: u64, name: Option<&str>) -> bool {
        let mut functions = self.functions.iter();
        functions.any(|(start, size, symbol)| {
            (*start..start + size).contains(&address)
                && (symbol.starts_with("_Z") || symbol.starts_with("_R"))
                && (Some(demangled(symbol).as_str()) == name || Some(symbol.as_str()) == name)
        })
    }

    fn frames(&self, address: u64) -> Vec<Place> {
        let mut places = Vec::new();
        let Ok(mut frames) = self.context.find_frames(address).skip_all_loads() else {
            return places;
        };
        while let Ok(Some(frame)) = frames.next() {
            let location = frame.location.as_ref();
            let name = frame
                .function
                .map(|name| name.raw_name().unwrap().into_owned());
            places.push(Place {
                function: name,
                file: location.and_then(|location| location.file.map(str::to_string)),
                line: location.and_then(|location| location.line),
                column: location
                    .and_then(|location| location.column)
                    .filter(|column| *column != 0),
            });
        }
        places
    }
}

fn is_same_place(ours: &Place, theirs: &Place) -> bool {
    (&ours.file, ours.line, ours.column) == (&theirs.file, theirs.line, theirs.column)
}

/// Mangled names are ours to read, and so is the path of names that are not mangled.
fn is_same_name(ours: Option<&str>, theirs: Option<&str>) -> bool {
    match (ours, theirs) {
        (Some(ours), Some(theirs)) => {
            // Another test may have loaded the C++ runtime, which demangles, between ours and theirs.
            ours == demangled(theirs) || ours == theirs || ours.ends_with(&format!("::{theirs}"))
        }
        (_, None) => true,
        (None, Some(_)) => false,
    }
}

fn functions(object: &object::File) -> Vec<(u64, u64, String)> {
    let table = match object.symbol_table() {
        Some(_) => object.symbols(),
        None => object.dynamic_symbols(),
    };
    let is_code =
        |symbol: &object::Symbol| symbol.is_definition() && symbol.kind() == SymbolKind::Text;
    let code = table.filter(|symbol| is_code(symbol) && symbol.size() > 0 && symbol.address() > 0);
    let function = |symbol: object::Symbol| {
        let name = symbol.name().unwrap();
        // The version that a library gives its symbol is no part of the name.
        let name = name.split('@').next().unwrap().to_string();
        (symbol.address(), symbol.size(), name)
    };
    code.map(function).collect()
}
