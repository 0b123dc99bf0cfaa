//! Our rules for whole libraries, row by row, against what `readelf` says of their unwind tables.

use std::collections::BTreeMap;
use std::process::Command;
use std::string::{String, ToString};
use std::vec::Vec;
use std::{format, fs};

use super::cfi::{self, Workspace};
use super::modules;
use super::rule::{Cfa, Rule, SavedRbp};

/// Where the file `path` is loaded: the address of its first byte.
fn base_of(path: &str) -> u64 {
    let maps = fs::read_to_string("/proc/self/maps").expect("there is /proc");
    let line = maps.lines().find(|line| line.ends_with(path));
    let line = line.unwrap_or_else(|| panic!("{path} is not loaded"));
    let (start, _) = line.split_once('-').expect("start-end");
    u64::from_str_radix(start, 16).expect("hexadecimal")
}

/// `rsp+16`, `rbp+16`, `exp`, in readelf's words.
fn describe_cfa(rule: Rule) -> String {
    match rule.cfa {
        Cfa::Rsp => format!("rsp{:+}", rule.offset),
        Cfa::Rbp => format!("rbp{:+}", rule.offset),
        other => format!("{other:?}"),
    }
}

fn describe_rbp(rule: Rule) -> String {
    match rule.rbp {
        SavedRbp::Unchanged => "u".to_string(),
        SavedRbp::AtCfa(words) => format!("c{:+}", i32::from(words) * 8),
        SavedRbp::AtRbp(_) => "exp".to_string(),
    }
}

/// One row of readelf's table.
struct Row {
    address: u64,
    cfa: String,
    rbp: String,
    return_address: String,
}

fn rows_of(path: &str) -> Vec<Row> {
    let output = Command::new("readelf")
        .args(["-W", "--debug-dump=frames-interp", path])
        .output()
        .expect("readelf is installed");
    let text = String::from_utf8(output.stdout).expect("plain text");
    let mut rows = Vec::new();
    let mut columns: Vec<&str> = Vec::new();
    for line in text.lines() {
        let cells: Vec<&str> = line.split_whitespace().collect();
        match cells.first() {
            Some(&"LOC") => columns = cells,
            Some(first) if first.len() == 16 && cells.len() == columns.len() => {
                let cell = |name| {
                    let column = columns.iter().position(|column| *column == name);
                    column.map_or("u", |column| cells[column]).to_string()
                };
                if let Ok(address) = u64::from_str_radix(first, 16) {
                    rows.push(Row {
                        address,
                        cfa: cell("CFA"),
                        rbp: cell("rbp"),
                        return_address: cell("ra"),
                    });
                }
            }
            _ => columns.clear(),
        }
    }
    rows
}

/// Whether the rule says what the row says. What we do not support must be said so, not guessed.
fn agrees(rule: Rule, row: &Row) -> bool {
    match rule.cfa {
        Cfa::End => row.return_address == "u",
        Cfa::Signal => row.cfa == "exp",
        Cfa::AtRbp | Cfa::AtRsp => row.cfa == "exp",
        Cfa::AllRegisters => !row.cfa.starts_with("rsp") && !row.cfa.starts_with("rbp"),
        Cfa::Rsp if row.cfa == "exp" => true,
        Cfa::Rsp | Cfa::Rbp => {
            let is_rbp_right = describe_rbp(rule) == row.rbp || row.rbp == "s";
            describe_cfa(rule) == row.cfa && is_rbp_right && row.return_address == "c-8"
        }
        Cfa::FramePointer | Cfa::Silent | Cfa::LaidOut => false,
    }
}

/// Checks every row of a loaded library; the kinds of rules that it has, and how many of each.
fn check(path: &str) -> BTreeMap<String, u32> {
    modules::prepare();
    let base = base_of(path);
    let mut workspace = Workspace::new_in();
    let mut kinds = BTreeMap::new();
    for row in rows_of(path) {
        let address = base + row.address;
        let module = modules::find(address).expect("the library is loaded");
        // A function of no bytes has a row that applies nowhere.
        let Some(entry) = cfi::entry_at(address, module) else {
            continue;
        };
        let rule = entry
            .rule(&mut workspace)
            .expect("a row that readelf reads");
        assert!(
            agrees(rule, &row),
            "{path} {:x}: {rule:?}, readelf: {} {} {}",
            row.address,
            row.cfa,
            row.rbp,
            row.return_address
        );
        assert_eq!(Rule::from_bits(rule.to_bits()), rule);
        *kinds.entry(format!("{:?}", rule.cfa)).or_default() += 1;
    }
    kinds
}

fn load(path: &std::ffi::CStr) {
    // SAFETY: a library of the system.
    let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW) };
    assert!(!handle.is_null());
}

#[test]
fn c_library() {
    let kinds = check("/usr/lib/x86_64-linux-gnu/libc.so.6");
    assert!(kinds["Rsp"] > 10_000);
    assert!(kinds["Signal"] > 0);
}

#[test]
fn dynamic_linker() {
    check("/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2");
}

#[test]
fn cxx_library() {
    load(c"libstdc++.so.6");
    let path = fs::canonicalize("/usr/lib/x86_64-linux-gnu/libstdc++.so.6").expect("installed");
    check(path.to_str().expect("plain path"));
}

#[test]
fn this_program() {
    let path = fs::read_link("/proc/self/exe").expect("there is /proc");
    check(path.to_str().expect("plain path"));
}

/// An older C library has only the second way.
#[test]
fn both_ways_to_a_module() {
    modules::prepare();
    let code = [libc::malloc as *const () as u64, check as *const () as u64];
    for address in code {
        let quick = modules::find(address).expect("code of a module");
        let slow = modules::find_by_headers(address).expect("code of a module");
        assert_eq!(quick.eh_frame_hdr, slow.eh_frame_hdr);
        assert!(slow.end <= quick.end && slow.end > quick.eh_frame_hdr);
    }
    let on_stack = &raw const code as u64;
    assert!(modules::find(on_stack).is_none());
    assert!(modules::find_by_headers(on_stack).is_none());
}
