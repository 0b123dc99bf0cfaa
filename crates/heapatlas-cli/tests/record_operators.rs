//! The operators of C++ come from the standard library, from an allocator, from a plugin, or from nowhere: they
//! do what they do bare, and each block is recorded once.

#![cfg(has_recorder)]

mod harness;

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use harness::programs::{Recorded, Workshop, has_peers, line_of, report_missing, source};
use harness::{answer, rows};
use serde_json::Value;

/// The figures of a function of operators.cpp, summed over its lines that `is_wanted`.
fn sum(recorded: &Recorded, function: &str, field: &str, is_wanted: fn(&str) -> bool) -> u64 {
    let text = std::fs::read_to_string(source("operators.cpp")).expect("the source is there");
    let lines: Vec<_> = text.lines().collect();
    let sites = rows(&recorded.profile["sites"]).iter();
    let of_function = sites.filter(|site| site["function"] == function);
    let wanted = of_function.filter(|site| {
        let line = site["line"].as_u64().map(|line| lines[line as usize - 1]);
        line.is_some_and(is_wanted)
    });
    wanted
        .map(|site| site[field].as_u64().expect("a figure"))
        .sum()
}

/// Counting counts what is recorded otherwise. (Asked for a block's size the first time, tcmalloc makes a block.)
fn assert_counted(workshop: &Workshop, recorder: Command, recorded: &Recorded, library: &str) {
    let mut counter = Command::new(recorder.get_program());
    counter.current_dir(workshop.path("."));
    for (name, value) in recorder.get_envs() {
        counter.env(name, value.unwrap_or_default());
    }
    let words: Vec<_> = recorder.get_args().collect();
    let program = words.last().expect("there is a program");
    counter
        .args(["record", "--mode", "counting", "--json", "--"])
        .arg(program);
    let counted = answer(&mut counter, None);
    assert_eq!(counted.code, Some(3), "{library}: {}", counted.stderr);
    let json = counted
        .stderr
        .find('{')
        .map_or("", |start| &counted.stderr[start..]);
    let mut objects = serde_json::Deserializer::from_str(json).into_iter::<Value>();
    let object = objects.next().expect("an object").expect("JSON");
    let [counted, exact] = [&object, &recorded.profile]
        .map(|object| object["totals"]["allocations"].as_u64().expect("a number"));
    assert!(
        (exact..=exact + 2).contains(&counted),
        "{library}: {counted}, not {exact}"
    );
}

/// By construction of operators.cpp, whoever has the operators: the standard library of this system's programs,
/// which calls `malloc`, or an allocator, which does not.
#[test]
fn every_form_by_every_allocator() {
    if !has_peers(&["g++"]) {
        return;
    }
    let workshop = Workshop::new();
    let program = workshop.compile("g++ -g -O1 -std=c++17 -fno-builtin", "operators.cpp");
    let libraries = [
        "",
        "libtcmalloc.so.4",
        "libtcmalloc_minimal.so.4",
        "libjemalloc.so.2",
    ];
    for library in libraries {
        let path = Path::new("/usr/lib/x86_64-linux-gnu").join(library);
        if !path.exists() {
            report_missing(library);
            continue;
        }
        let preload = if library.is_empty() {
            Path::new("")
        } else {
            &path
        };
        let mut bare = Command::new(&program);
        let bare = answer(bare.env("LD_PRELOAD", preload), None);
        let mut recorder = workshop.recorder(&[program.as_ref()]);
        let recorded = workshop.record_with(recorder.env("LD_PRELOAD", preload));
        assert_eq!(recorded.answer.code, Some(3), "{library}");
        assert_eq!(recorded.answer.stdout, bare.stdout, "{library}");
        let mut counter = workshop.recorder(&[program.as_ref()]);
        counter.env("LD_PRELOAD", preload);
        assert_counted(&workshop, counter, &recorded, library);
        recorded.assert_stacks();
        // Twelve forms of a hundred sizes, from 100 on.
        let of_forms = |field| sum(&recorded, "forms", field, |_| true);
        assert_eq!(of_forms("allocations"), 1200, "{library}");
        assert_eq!(of_forms("temporary"), 1200, "{library}");
        assert_eq!(of_forms("live_blocks"), 0, "{library}");
        let sizes: u64 = (100..200).sum();
        let by_standard_library = 6 * sizes + 6 * 256 * 100;
        // The standard library asks `aligned_alloc` for whole multiples of 256.
        let expected = if library.is_empty() {
            by_standard_library
        } else {
            12 * sizes
        };
        assert_eq!(of_forms("bytes"), expected, "{library}");
        let of_kept = |field| sum(&recorded, "main", field, |line| line.contains("new(1000)"));
        assert_eq!(of_kept("allocations"), 50, "{library}");
        assert_eq!(of_kept("live_blocks"), 40, "{library}");
        assert_eq!(of_kept("live_bytes"), 40_000, "{library}");
        // No free without its block, and none twice.
        let summary = harness::run([OsStr::new("summary"), workshop.trace().as_ref()]);
        assert!(
            !summary.stderr.contains("frees of blocks"),
            "{}",
            summary.stderr
        );
    }
}

/// A program in C has no operators until a plugin brings them along: its standard library's, or its own, and only
/// for itself.
#[test]
fn plugins_of_a_program_without_operators() {
    if !has_peers(&["gcc", "g++"]) {
        return;
    }
    let host_workshop = Workshop::new();
    let host = host_workshop.compile("gcc -g -O1 -fno-builtin", "dlopen.c");
    for options in ["", " -DOWN"] {
        for level in ["-O0", "-O2"] {
            let workshop = Workshop::new();
            let compiler = format!("g++ -g {level} -std=c++17 -shared -fPIC{options}");
            let plugin = workshop.compile(&compiler, "plugin_operators.cpp");
            let recorded = workshop.record(&[host.as_ref(), plugin.as_ref()]);
            let said = &recorded.answer.stderr;
            assert_eq!(recorded.answer.code, Some(0), "{compiler}: {said}");
            assert!(said.contains("with full walks: 0 differed"), "{said}");
            // Twenty rounds with 30 nodes and 30 texts each, and the blocks that the plugin gives away.
            let allocations = recorded.figure("/totals/allocations");
            assert!(allocations >= 20 * 61, "{compiler}: {allocations}");
            // A function that ends with `malloc` jumps there: then the line of its caller is to blame.
            let (plugin_source, host_source) = (source("plugin_operators.cpp"), source("dlopen.c"));
            let text = std::fs::read_to_string(&host_source).expect("the source is there");
            let call = line_of(&text, "make(1000 + i)");
            let is_of_plugin = |site: &Value| {
                let file = site["file"].as_str();
                file == plugin_source.to_str()
                    || file == host_source.to_str() && site["line"] == call
            };
            let sites = rows(&recorded.profile["sites"]).iter();
            let of_plugin = sites.filter(|site| is_of_plugin(site));
            let live: u64 = of_plugin
                .map(|site| site["live_blocks"].as_u64().expect("a figure"))
                .sum();
            assert_eq!(live, 5, "{compiler}");
        }
    }
}

#[test]
fn operators_that_are_not_there_bare_are_not_there() {
    if !has_peers(&["gcc"]) {
        return;
    }
    let workshop = Workshop::new();
    let program = workshop.compile("gcc -g -O1", "no_operators.c");
    let bare = answer(&mut Command::new(&program), None);
    let recorded = workshop.record(&[program.as_ref()]);
    assert_eq!(recorded.answer.stdout, bare.stdout);
    assert!(bare.stdout.contains("_Znwm: not there"), "{}", bare.stdout);
}
