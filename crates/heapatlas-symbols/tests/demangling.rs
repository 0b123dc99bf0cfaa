mod peers;
use heapatlas_symbols::demangle;
use std::fs;
#[test]
fn show() {
    let folder = tempfile::tempdir().unwrap();
    let program = peers::compile(folder.path(), "shapes.cpp", &["-g"]).unwrap();
    for f in [
        program.to_str().unwrap(),
        "/usr/lib/x86_64-linux-gnu/libstdc++.so.6",
    ] {
        let d = if f.contains("libstdc") { "-D" } else { "-a" };
        let names = peers::run(
            folder.path(),
            "nm",
            &[d, "--defined-only", "--without-symbol-versions", f],
        )
        .unwrap();
        let names: Vec<_> = names
            .lines()
            .map(|l| l.split_whitespace().last().unwrap())
            .filter(|n| n.starts_with("_Z"))
            .collect();
        fs::write(folder.path().join("n"), names.join("\n")).unwrap();
        let filt = peers::run(folder.path(), "sh", &["-c", "c++filt <n"]).unwrap();
        let mut bad = 0;
        for (n, e) in names.iter().zip(filt.lines()) {
            if demangle(n) != e {
                bad += 1;
                println!("{n}\n   {}\n   {e}", demangle(n));
            }
        }
        println!("BAD {bad} of {}", names.len());
    }
}
