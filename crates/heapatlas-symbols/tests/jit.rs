//! Code made at run time, by what Node.js writes down about it.

mod peers;

use std::fs;
use std::path::Path;

use heapatlas_symbols::{Options, resolve};
use peers::profiles::profile;
use peers::run;

const SCRIPT: &str = "
function hot(n) { let s = 0; for (let i = 0; i < n; i++) s += i % 7; return s; }
let t = 0;
for (let i = 0; i < 2000; i++) t += hot(10000);
console.log(process.pid);
";

/// Runs the script in a folder; `None`, loudly, without Node.js.
fn run_script(folder: &Path, flags: &[&str]) -> Option<String> {
    fs::write(folder.join("hot.js"), SCRIPT).unwrap();
    let mut arguments = flags.to_vec();
    arguments.push("hot.js");
    run(folder, "node", &arguments)
}

#[test]
fn functions_of_a_perf_map() {
    let folder = tempfile::tempdir().unwrap();
    let Some(pid) = run_script(folder.path(), &["--perf-basic-prof"]) else {
        return;
    };
    let path = format!("/tmp/perf-{}.map", pid.trim());
    let map = fs::read_to_string(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let line = map
        .lines()
        .rev()
        .find(|line| line.contains("hot.js"))
        .unwrap();
    let (start, rest) = line.split_once(' ').unwrap();
    let (_, name) = rest.split_once(' ').unwrap();
    let start = u64::from_str_radix(start, 16).unwrap();
    let mut profile = profile(Vec::new(), &[(start + 1, None)]);
    let options = Options {
        perf_maps: &[(path, map.clone())],
        ..Options::default()
    };
    assert_eq!(resolve(&mut profile, &options), []);
    assert_eq!(profile.frames[0][0].function, name);
}

#[test]
fn functions_of_a_jitdump() {
    let folder = tempfile::tempdir().unwrap();
    if run_script(folder.path(), &["--perf-prof"]).is_none() {
        return;
    }
    let files = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let path = files
        .into_iter()
        .find(|path| path.extension().is_some_and(|end| end == "dump"))
        .unwrap();
    let contents = fs::read(&path).unwrap();
    let mut profile = profile(Vec::new(), &[(start_of_last(&contents, b"hot.js"), None)]);
    let options = Options {
        jit_dumps: &[("x.dump".to_owned(), contents)],
        ..Options::default()
    };
    assert_eq!(resolve(&mut profile, &options), []);
    assert!(
        profile.frames[0][0].function.contains("hot"),
        "{:?}",
        profile.frames
    );
}

/// The address in the record of the last function whose name has some text in it: `code_addr` is
/// 24 bytes before the name, which begins with `JS:`.
fn start_of_last(dump: &[u8], text: &[u8]) -> u64 {
    let mut names = dump
        .windows(3)
        .enumerate()
        .filter(|(_, bytes)| bytes == b"JS:");
    let has_text = |at: usize| {
        dump[at..]
            .split(|&byte| byte == 0)
            .next()
            .unwrap()
            .windows(text.len())
            .any(|part| part == text)
    };
    let (at, _) = names.rfind(|&(at, _)| has_text(at)).unwrap();
    u64::from_le_bytes(dump[at - 24..at - 16].try_into().unwrap())
}
