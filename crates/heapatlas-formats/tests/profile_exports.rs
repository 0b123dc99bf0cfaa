//! Exports of allocation profiles: what the tools that read them ask for.

use std::collections::HashSet;

use heapatlas_formats::flamegraph::{self, FlameFrame};
use heapatlas_formats::{dhat, folded};
use heapatlas_model::{
    AllocationProfile, Amount, CodeLocation, Frame, LocationId, Module, ModuleId, ProfileFormat,
    StackFigures, StackId, StackTable,
};
use serde_json::Value;

fn amount(bytes: u64, blocks: u64) -> Amount {
    Amount { bytes, blocks }
}

fn figures(total: (u64, u64), peak: (u64, u64), live: (u64, u64)) -> StackFigures {
    StackFigures {
        total: amount(total.0, total.1),
        peak: amount(peak.0, peak.1),
        live_at_end: amount(live.0, live.1),
        lifetime_ns: 1000,
        ..StackFigures::default()
    }
}

fn push(
    profile: &mut AllocationProfile,
    parent: StackId,
    location: u32,
    row: StackFigures,
) -> StackId {
    profile.figures.push(row);
    profile.stacks.push(parent, LocationId(location))
}

/// Stacks that are prefixes of one another, that read the same, that are empty, with hostile names.
fn profile() -> AllocationProfile {
    let mut profile = AllocationProfile::new(ProfileFormat::Heaptrace);
    profile.command = vec!["./app".to_owned(), "\"quoted\"\n".to_owned()];
    profile.pid = 77;
    profile.duration_ns = 5_000_000;
    profile.peak_time_ns = 3_000_000;
    profile.modules = vec![Module {
        path: "/bin/app".to_owned(),
        ..Module::default()
    }];
    let frame = |function: &str, line| Frame {
        function: function.to_owned(),
        file: if line > 0 {
            "app.c".to_owned()
        } else {
            String::new()
        },
        line,
    };
    for (address, frames) in [
        (0x10, vec![frame("main", 1)]),
        (0x20, vec![frame("inner", 9), frame("outer", 2)]),
        // The same address once more: another module may have been there before.
        (0x20, vec![frame("inner", 9), frame("outer", 2)]),
        (0x30, vec![frame("a;b<\"&\u{1}\n>", 0)]),
        (0x40, Vec::new()),
    ] {
        profile.locations.push(CodeLocation {
            address,
            module: Some(ModuleId(0)),
        });
        profile.frames.push(frames);
    }
    let nothing = StackFigures::default();
    profile.figures[StackTable::EMPTY.index()] = figures((7, 1), (0, 0), (7, 1));
    let main = push(
        &mut profile,
        StackTable::EMPTY,
        0,
        figures((100, 2), (100, 2), (0, 0)),
    );
    push(&mut profile, main, 1, figures((50, 5), (10, 1), (20, 2)));
    push(&mut profile, main, 2, figures((30, 3), (30, 3), (0, 0)));
    let hostile = push(&mut profile, main, 3, nothing);
    push(&mut profile, hostile, 4, figures((8, 1), (8, 1), (8, 1)));
    let lost = push(&mut profile, StackTable::CUT_OFF, 0, nothing);
    push(&mut profile, lost, 1, figures((1, 1), (1, 1), (1, 1)));
    profile
}

fn dhat_json(profile: &AllocationProfile) -> Value {
    let mut out = Vec::new();
    dhat::write(profile, &mut out).expect("memory takes everything");
    serde_json::from_slice(&out).expect("JSON")
}

/// The rules of the viewer for files with lifetimes and without accesses.
fn broken_rules(file: &Value) -> Vec<String> {
    let mut broken = Vec::new();
    let required = [
        "dhatFileVersion",
        "mode",
        "verb",
        "bklt",
        "bkacc",
        "tu",
        "Mtu",
        "tuth",
        "cmd",
        "pid",
        "te",
        "tg",
        "pps",
        "ftbl",
    ];
    let missing = required.iter().filter(|key| file.get(key).is_none());
    broken.extend(missing.map(|key| format!("no {key}")));
    if file["dhatFileVersion"] != 2 || file["bklt"] != true || file["bkacc"] != false {
        broken.push("version or kind".to_owned());
    }
    let frames = file["ftbl"].as_array().expect("a list");
    if frames[0] != "[root]" {
        broken.push("the first frame is the root".to_owned());
    }
    let mut seen = HashSet::new();
    for point in file["pps"].as_array().expect("a list") {
        let numbers = ["tb", "tbk", "tl", "mb", "mbk", "gb", "gbk", "eb", "ebk"];
        let missing = numbers.iter().filter(|key| point[**key].as_u64().is_none());
        broken.extend(missing.map(|key| format!("no {key} in {point}")));
        if point["mb"].as_u64() < point["gb"].as_u64().max(point["eb"].as_u64()) {
            broken.push(format!("less than the most in {point}"));
        }
        let fs = point["fs"].as_array().expect("a list");
        if fs.is_empty()
            || !fs
                .iter()
                .all(|row| (1..frames.len() as u64).contains(&row.as_u64().unwrap_or(0)))
        {
            broken.push(format!("frames that are none in {point}"));
        }
        if !seen.insert(fs.clone()) {
            broken.push(format!("repeated location {fs:?}"));
        }
    }
    broken
}

#[test]
fn dhat_obeys_the_viewer() {
    assert_eq!(broken_rules(&dhat_json(&profile())), [""; 0]);
    let nothing = AllocationProfile::new(ProfileFormat::Heaptrace);
    assert_eq!(broken_rules(&dhat_json(&nothing)), [""; 0]);
}

#[test]
fn dhat_says_what_the_profile_says() {
    let file = dhat_json(&profile());
    let text = |row: &Value| {
        file["ftbl"][row.as_u64().unwrap() as usize]
            .as_str()
            .unwrap()
    };
    let points: Vec<(Vec<&str>, [u64; 8])> = file["pps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|point| {
            let keys = ["tb", "tbk", "mb", "mbk", "gb", "gbk", "eb", "ebk"];
            let fs = point["fs"].as_array().unwrap().iter().map(text).collect();
            (fs, keys.map(|key| point[key].as_u64().unwrap()))
        })
        .collect();
    let main = "0x10: main (app.c:1)";
    let hostile = "0x30: a;b<\"&\u{1}\n> (in /bin/app)";
    let expected = [
        (vec!["0x0: ??? (no stack)"], [7, 1, 7, 1, 0, 0, 7, 1]),
        (vec![main], [100, 2, 100, 2, 100, 2, 0, 0]),
        // Two stacks that read the same, and one of which the outer frames are missing.
        (
            vec!["0x20: inner (app.c:9)", "0x20: outer (app.c:2)", main],
            [81, 9, 41, 5, 41, 5, 21, 3],
        ),
        (
            vec!["0x40: app+0x40 (in /bin/app)", hostile, main],
            [8, 1, 8, 1, 8, 1, 8, 1],
        ),
    ];
    assert_eq!(points, expected);
    assert_eq!(file["cmd"], "./app \"quoted\"\n");
    assert_eq!(
        (&file["te"], &file["tg"]),
        (&5_000_000.into(), &3_000_000.into())
    );
}

fn flame_frames() -> Vec<FlameFrame<'static>> {
    let frame = |depth, name, inclusive, own, is_library| FlameFrame {
        depth,
        name,
        inclusive,
        own,
        bytes: inclusive,
        blocks: 1,
        is_library,
    };
    vec![
        frame(1, "main", 9_000, 0, false),
        frame(2, "load<T>", 6_000, 0, false),
        frame(3, "malloc", 6_000, 6_000, true),
        frame(2, "a;b<\"&\u{1}\n>", 3_000, 3_000, false),
        frame(1, "thread", 995, 995, false),
        frame(1, "tiny", 5, 5, false),
    ]
}

#[test]
fn folded_stacks() {
    let mut out = Vec::new();
    folded::write(&flame_frames(), &mut out).expect("memory takes everything");
    let expected = "main;load<T>;malloc 6000\nmain;a:b<\"&  > 3000\nthread 995\ntiny 5\n";
    assert_eq!(String::from_utf8_lossy(&out), expected);
}

/// The picture by its own words: title of each box, left edge, width.
fn boxes(svg: &str) -> Vec<(String, f64, f64)> {
    let value = |line: &str, key: &str| -> f64 {
        let start = line.find(&format!(" {key}=\"")).expect("a key") + key.len() + 3;
        line[start..]
            .split('"')
            .next()
            .and_then(|text| text.parse().ok())
            .expect("a number")
    };
    let lines = svg
        .lines()
        .filter(|line| line.starts_with("<g class=\"frame\">"));
    lines
        .map(|line| {
            let title = line
                .split("<title>")
                .nth(1)
                .and_then(|rest| rest.split("</title>").next());
            (
                title.expect("a title").to_owned(),
                value(line, "x"),
                value(line, "width"),
            )
        })
        .collect()
}

#[test]
fn flame_graph() {
    let mut out = Vec::new();
    flamegraph::write("live & well", &flame_frames(), &mut out).expect("memory takes everything");
    let svg = String::from_utf8(out).expect("text");
    let expected = [
        ("all: 9.8 KiB, 3 blocks, 100.00 %", 10.0, 1180.0),
        ("main: 8.8 KiB, 1 block, 90.00 %", 10.0, 1062.0),
        ("load&lt;T&gt;: 5.9 KiB, 1 block, 60.00 %", 10.0, 708.0),
        ("malloc: 5.9 KiB, 1 block, 60.00 %", 10.0, 708.0),
        (
            "a;b&lt;&quot;&amp;\u{fffd} &gt;: 2.9 KiB, 1 block, 30.00 %",
            718.0,
            354.0,
        ),
        ("thread: 995 B, 1 block, 9.95 %", 1072.0, 117.41),
    ];
    let found = boxes(&svg);
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for ((title, x, width), expected) in found.iter().zip(expected) {
        assert_eq!((title.as_str(), *x, *width), expected);
    }
    assert!(svg.contains("<title>live &amp; well</title>"));
    // Nothing is fetched: the only address is the name of SVG itself.
    assert_eq!(svg.matches("http").count(), 1);
}
