//! While nothing is recorded, an allocation costs less than ten instructions more, and a free, too. Valgrind counts
//! them; it is a peer: where it is missing the test says so loudly, and fails where peers are required.

use std::alloc::{GlobalAlloc, Layout, System};
use std::env;
use std::hint::black_box;
use std::io::{self, Write};
use std::process::Command;

use heapatlas::Alloc;

static ALLOC: Alloc = Alloc::system();

/// The system's allocator, called as a program calls its global one: not inlined.
struct Plain;

// SAFETY: hands on what the system's allocator gives.
unsafe impl GlobalAlloc for Plain {
    #[inline(never)]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    #[inline(never)]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(block, layout) }
    }
}

fn main() {
    match env::args().nth(1).as_deref() {
        Some("plain") => pairs(&Plain),
        // The first call says which mode there is.
        Some("heapatlas") => pairs(&ALLOC),
        _ => look(),
    }
}

const PAIRS: u64 = 100_000;

fn pairs(allocator: &impl GlobalAlloc) {
    let layout = black_box(Layout::new::<[u64; 4]>());
    for _ in 0..PAIRS {
        // SAFETY: the layout has a size, and each block is freed with the one it was made with.
        unsafe { allocator.dealloc(black_box(allocator.alloc(layout)), layout) };
    }
}

fn look() {
    let (Some(plain), Some(ours)) = (instructions("plain"), instructions("heapatlas")) else {
        let is_required = env::var_os("HEAPATLAS_REQUIRE_PEERS").is_some_and(|value| value == "1");
        assert!(!is_required, "valgrind is required and does not run");
        say("SKIPPED: valgrind does not run, so instructions are not counted");
        return;
    };
    let added = ours.saturating_sub(plain) as f64 / PAIRS as f64;
    say(&format!(
        "added for each allocation and free together: {added:.2} instructions"
    ));
    assert!(added < 20.0, "{added}");
}

fn say(text: &str) {
    writeln!(io::stderr(), "{text}").expect("stderr takes a line");
}

fn instructions(case: &str) -> Option<u64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(env::current_exe().ok()?)
        .arg(case)
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stderr);
    let line = text
        .lines()
        .find_map(|line| line.split_once("Collected :"))?;
    line.1.trim().parse().ok()
}
