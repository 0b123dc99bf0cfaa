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
fn small_program(name: &str) -> Option<(std::path::PathBuf, Vec<u8>, Vec<u64>)> {
    let program = compile(name, "small.cpp", &["-g", "-O2", "-c"])?;
    let linked = program.with_file_name("linked");
    let flags = ["-shared", "-nostdlib", "-o"];
    let link = std::process::Command::new("g++")
        .args(flags)
        .arg(&linked)
        .arg(&program)
        .output();
    assert!(link.unwrap().status.success());
    let bytes = std::fs::read(&linked).unwrap();
    let addresses = Peer::new(&bytes).addresses(3);
    assert!(addresses.len() > 5);
    Some((program.parent().unwrap().to_path_buf(), bytes, addresses))
}

#[test]
fn cut_anywhere() {
    let Some((folder, bytes, addresses)) = small_program("cut") else {
        return;
    };
    for length in (1..bytes.len()).step_by(64) {
        look_up_all(&folder, &bytes[..length], &addresses);
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn any_byte_another() {
    let Some((folder, mut bytes, addresses)) = small_program("flipped") else {
        return;
    };
    let damages = [0xff, 0x80, 0x01];
    for place in (0..bytes.len()).filter(|place| *place < 64 || place % 5 == 0) {
        let damage = damages[place / 5 % damages.len()];
        bytes[place] ^= damage;
        look_up_all(&folder, &bytes, &addresses);
        bytes[place] ^= damage;
    }
    std::fs::remove_dir_all(folder).unwrap();
}
