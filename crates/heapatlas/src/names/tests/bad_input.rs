//! Damaged files: no panic, no endless reading.

use std::path::Path;

use super::super::mapping::Mapping;
use super::super::module_names::ModuleNames;
use super::compile;
use super::peer::Peer;

fn look_up_all(folder: &Path, bytes: &[u8], addresses: &[u64]) {
    let path = folder.join("damaged");
    std::fs::write(&path, bytes).unwrap();
    let names = ModuleNames::of_file(Mapping::open(&path).unwrap(), &path);
    for address in addresses {
        names.look_up(*address);
    }
}

/// Small, so that it can be damaged in many ways: no standard library.
fn small_program() -> Option<(std::path::PathBuf, Vec<u8>, Vec<u64>)> {
    let program = compile("small", "small.cpp", &["-g", "-O2", "-c"])?;
    let linked = program.with_file_name("linked");
    let flags = ["-shared", "-nostdlib", "-o"];
    let link = std::process::Command::new("g++")
        .args(flags)
        .arg(&linked)
        .arg(&program)
        .output();
    assert!(link.unwrap().status.success());
    let bytes = std::fs::read(&linked).unwrap();
    let addresses = Peer::new(&bytes).addresses(2);
    assert!(addresses.len() > 10);
    Some((program.parent().unwrap().to_path_buf(), bytes, addresses))
}

#[test]
fn cut_anywhere() {
    let Some((folder, bytes, addresses)) = small_program() else {
        return;
    };
    for length in (1..bytes.len()).step_by(64) {
        look_up_all(&folder, &bytes[..length], &addresses);
    }
}

#[test]
fn any_byte_another() {
    let Some((folder, mut bytes, addresses)) = small_program() else {
        return;
    };
    for place in 0..bytes.len() {
        for damage in [0xff, 0x80, 0x01] {
            bytes[place] ^= damage;
            if place % 3 == damage as usize % 3 || place < 64 {
                look_up_all(&folder, &bytes, &addresses);
            }
            bytes[place] ^= damage;
        }
    }
}
