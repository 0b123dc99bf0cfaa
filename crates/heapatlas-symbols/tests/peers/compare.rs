//! Our frames against the peer's.

use std::fs;
use std::path::Path;

use heapatlas_model::{Frame, Module};
use heapatlas_symbols::{DebugFiles, ModuleSymbols, Options, Warning};

use super::{Function, functions, module, peer_frames};

/// Steps through code by this many bytes.
const STEP: usize = 7;

/// Checks that a program's frames are the peer's, without a warning.
pub fn check_program(program: &Path, options: &Options<'_>) {
    let warnings = check_module(&module(program), options, program);
    assert_eq!(warnings, []);
}

/// Checks that a module's frames are those that the peer finds in `reference`, a file with the same
/// code, its symbols and its debug information.
pub fn check_module(module: &Module, options: &Options<'_>, reference: &Path) -> Vec<Warning> {
    let functions = functions(reference);
    let addresses = addresses(&functions);
    assert!(addresses.len() > 50, "{} addresses", addresses.len());
    let Some(expected) = peer_frames(reference, &addresses) else {
        return Vec::new();
    };
    let files = DebugFiles::new();
    let mut symbols = ModuleSymbols::open(&files, module, options);
    for (&address, expected) in addresses.iter().zip(&expected) {
        let found = symbols.frames(address);
        let is_same = is_same(&found, expected) || is_alias(&functions, address, &found, expected);
        assert!(
            is_same,
            "{address:#x}\n ours {found:#?}\n peer {expected:#?}"
        );
    }
    symbols.into_warnings()
}

/// Addresses all over the functions. (Not in the gaps between them, which the peer counts to the
/// function before.)
fn addresses(functions: &[Function]) -> Vec<u64> {
    // Rust programs hold a whole standard library.
    let step = STEP.max(functions.len() / 100);
    let ranges = functions.iter().map(|function| function.range.clone());
    let mut addresses: Vec<u64> = ranges.flat_map(|range| range.step_by(step)).collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

/// Whether both say the same, but for what the peer gets wrong.
fn is_same(found: &[Frame], expected: &[Frame]) -> bool {
    found.len() == expected.len()
        && found
            .iter()
            .zip(expected)
            .all(|(found, expected)| is_same_place(found, expected))
        && (0..found.len()).all(|at| {
            let (name, peer) = (&found[at].function, &expected[at].function);
            match expected.len() - 1 - at {
                0 if at == 0 => *name == without_suffix(peer),
                // The outermost function that is local to its file has its bare name here, and its
                // symbol's as long as nothing is inlined: we have the symbol's always.
                0 => name.contains(bare(peer)),
                // The peer takes the outermost function's symbol for the innermost name when
                // that is bare.
                _ if at == 0 => name == peer || !name.contains("::") || name.contains('('),
                _ => name == peer,
            }
        })
}

fn is_same_place(found: &Frame, expected: &Frame) -> bool {
    // Without a line the peer takes the file from the symbol table.
    let is_file = expected.line == 0
        || found.file == expected.file
        || lines_of(&expected.file) < expected.line as usize;
    found.line == expected.line && is_file
}

/// How long a file is. Sometimes the peer has a header's line with the name of the source file.
fn lines_of(file: &str) -> usize {
    fs::read_to_string(file).map_or(usize::MAX, |text| text.lines().count())
}

/// Parts of a function have the function's name in debug information.
fn without_suffix(function: &str) -> &str {
    match function.split_once('.') {
        Some((name, "cold")) => name,
        _ => function,
    }
}

fn bare(function: &str) -> &str {
    function.split(['<', '(']).next().unwrap_or_default()
}

/// Whether two names without lines are two symbols of the same bytes (equal functions are merged).
fn is_alias(functions: &[Function], address: u64, found: &[Frame], expected: &[Frame]) -> bool {
    let names = functions
        .iter()
        .filter(|function| function.range.contains(&address));
    let names: Vec<_> = names.map(|function| &function.name).collect();
    let is_known = |frames: &[Frame]| frames.len() == 1 && names.contains(&&frames[0].function);
    found.iter().chain(expected).all(|frame| frame.line == 0)
        && is_known(found)
        && is_known(expected)
}
