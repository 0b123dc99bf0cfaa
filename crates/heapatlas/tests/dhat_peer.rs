//! The same program under heapatlas and under dhat: one allocator around the other, so that both see the same calls.
//! (Without the test harness, whose thread allocates, too.)

use std::collections::BTreeMap;
use std::hint::black_box;

use heapatlas::Alloc;
use serde_json::Value;

#[global_allocator]
static ALLOC: Alloc<dhat::Alloc> = Alloc::new(dhat::Alloc);

/// Total, current, highest: blocks and bytes.
type Figures = [u64; 6];

fn by_dhat() -> Figures {
    let stats = dhat::HeapStats::get();
    [
        stats.total_blocks,
        stats.total_bytes,
        stats.curr_blocks as u64,
        stats.curr_bytes as u64,
        stats.max_blocks as u64,
        stats.max_bytes as u64,
    ]
}

fn by_heapatlas() -> Figures {
    let stats = heapatlas::HeapStats::get();
    [
        stats.total_blocks,
        stats.total_bytes,
        stats.curr_blocks as u64,
        stats.curr_bytes as u64,
        stats.max_blocks as u64,
        stats.max_bytes as u64,
    ]
}

/// Numbers that look random.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        ((self.0 >> 33) % limit) as usize
    }
}

#[inline(never)]
fn make(bytes: usize) -> Vec<u8> {
    black_box(Vec::with_capacity(bytes))
}

#[inline(never)]
fn make_zeroed(bytes: usize) -> Vec<u8> {
    black_box(vec![0; bytes])
}

/// Allocates, resizes, frees; `check` looks after each step.
#[inline(never)]
fn work(blocks: &mut Vec<Vec<u8>>, steps: u32, seed: u64, mut check: impl FnMut()) {
    let mut numbers = Numbers(seed);
    for _ in 0..steps {
        match numbers.below(6) {
            0 | 1 => blocks.push(make(numbers.below(5000) + 1)),
            2 => blocks.push(make_zeroed(numbers.below(300) + 1)),
            3 if !blocks.is_empty() => {
                let chosen = numbers.below(blocks.len() as u64);
                blocks[chosen].reserve_exact(numbers.below(9000));
            }
            4 if !blocks.is_empty() => {
                let chosen = numbers.below(blocks.len() as u64);
                blocks[chosen].shrink_to(numbers.below(3000) + 1);
            }
            _ if blocks.len() > numbers.below(60) => {
                let chosen = numbers.below(blocks.len() as u64);
                drop(blocks.swap_remove(chosen));
            }
            _ => {}
        }
        check();
    }
}

fn main() {
    // A block from before: resized inside it is a new one, freed inside it is none.
    let mut outside = make(100);
    let unknown = make(50);
    let mut blocks = Vec::with_capacity(10_000);

    // Only a failing test drops them as they are, which writes files. (Paths are blocks: they are made before.)
    let files = [
        concat!(env!("CARGO_TARGET_TMPDIR"), "/dhat-peer-theirs.json"),
        concat!(env!("CARGO_TARGET_TMPDIR"), "/dhat-peer-ours.json"),
    ];
    let builder = dhat::Profiler::builder().trim_backtraces(None);
    let dhat = builder.file_name(files[0]);
    let builder = heapatlas::Profiler::builder().trim_backtraces(None);
    let builder = builder.file_name(files[1]);
    let mut dhat = dhat.build();
    let mut heapatlas = builder.build();
    // What ours took to begin, dhat has seen; it stays as it is until the end.
    let base = by_dhat();
    let check = || {
        let (ours, theirs) = (by_heapatlas(), by_dhat());
        let expected: Vec<u64> = theirs
            .iter()
            .zip(base)
            .map(|(now, base)| now - base)
            .collect();
        assert_eq!(ours[..4], expected[..4]);
        if theirs[5] > base[5] {
            // dhat's highest includes what was there at the base.
            assert_eq!(ours[4..], [theirs[4] - base[2], theirs[5] - base[3]]);
        }
    };
    drop(unknown);
    outside.reserve_exact(1000);
    check();
    work(&mut blocks, 20_000, 7, check);
    for seed in 0..20 {
        let thread = std::thread::spawn(move || {
            let mut blocks = Vec::with_capacity(1000);
            work(&mut blocks, 500, seed, || {});
            blocks
        });
        blocks.extend(thread.join().unwrap());
        check();
    }
    assert!(by_heapatlas()[0] > 10_000);
    // So high that what naming frames takes, which dhat sees, is no new peak. (Nobody writes to it.)
    drop(make(1 << 30));
    check();

    let at_end = by_heapatlas();
    let ours = heapatlas.take_profile().unwrap();
    let theirs = dhat.drop_and_get_memory_output();
    // Its destructor does not expect that.
    std::mem::forget(dhat);
    // Nothing is written then. (Only now: dhat sees what this takes.)
    heapatlas.drop_and_get_memory_output();
    compare_files(&ours, &theirs, at_end);
}

fn compare_files(ours: &str, theirs: &str, at_end: Figures) {
    let ours: Value = serde_json::from_str(ours).unwrap();
    let theirs: Value = serde_json::from_str(theirs).unwrap();
    for key in [
        "dhatFileVersion",
        "mode",
        "bklt",
        "bkacc",
        "tu",
        "Mtu",
        "tuth",
        "pid",
        "cmd",
    ] {
        assert_eq!(ours[key], theirs[key], "{key}");
    }
    let points = ours["pps"].as_array().unwrap();
    let sum = |key: &str| {
        points
            .iter()
            .map(|point| point[key].as_u64().unwrap())
            .sum::<u64>()
    };
    assert_eq!(["tbk", "tb", "ebk", "eb", "gbk", "gb"].map(sum), at_end);
    // Theirs may have more: what ours took to begin, and to name frames.
    let (ours, theirs) = (by_stack(&ours), by_stack(&theirs));
    assert!(ours.len() >= 8, "{ours:?}");
    assert_eq!(ours.len(), points.len(), "one point each");
    for (stack, figures) in &ours {
        assert_eq!(Some(figures), theirs.get(stack), "{stack:x?}");
    }
}

/// The figures of each stack, whose key is its addresses outside of our allocator's methods.
fn by_stack(file: &Value) -> BTreeMap<Vec<u64>, Vec<u64>> {
    let is_method = |(_, name): &(u64, String)| name.contains("heapatlas::alloc::Alloc");
    let mut stacks = BTreeMap::new();
    for point in file["pps"].as_array().unwrap() {
        let frames: Vec<(u64, String)> = (point["fs"].as_array().unwrap().iter())
            .map(|number| {
                let text = file["ftbl"][number.as_u64().unwrap() as usize].as_str();
                let (address, name) = text.unwrap().split_once(": ").unwrap();
                let address = address.strip_prefix("0x").unwrap();
                (u64::from_str_radix(address, 16).unwrap(), name.to_owned())
            })
            .collect();
        let Some(method) = frames.iter().rposition(is_method) else {
            continue;
        };
        let method = frames[method].0;
        let mut addresses: Vec<u64> = frames.iter().map(|frame| frame.0).collect();
        // Inlined frames share an address.
        addresses.dedup();
        let last = addresses
            .iter()
            .rposition(|&address| address == method)
            .unwrap();
        let key = addresses.split_off(last + 1);
        let figures = ["tb", "tbk", "mb", "mbk", "gb", "gbk", "eb", "ebk"];
        let figures = figures.map(|key| point[key].as_u64().unwrap()).to_vec();
        // What naming the frames took, dhat has seen, from places that differ in its own frames only.
        stacks.entry(key).or_insert(figures);
    }
    stacks
}
