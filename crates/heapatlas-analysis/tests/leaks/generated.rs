//! One generated leak for each way to leak: found with the right counts, held by the right thing,
//! and nothing else is suspected.

use heapatlas_analysis::{Heap, LeakOptions, Suspect, find_leaks, path_in_words};
use heapatlas_model::NodeKind;

use super::process::{Object, Process};

/// Work that a process does again and again.
pub type Work = fn(&mut Process, usize);

/// Snapshots after 50, 150 and 250 times of work.
pub fn series(rename: fn(&str) -> String, work: Work) -> Vec<Heap> {
    let mut process = Process::new(rename);
    let mut done = 0;
    [50, 150, 250]
        .into_iter()
        .map(|until| {
            while done < until {
                work(&mut process, done);
                done += 1;
            }
            process.snapshot()
        })
        .collect()
}

pub fn same_name(name: &str) -> String {
    name.to_owned()
}

pub fn leaks(heaps: &[Heap]) -> Vec<Suspect> {
    find_leaks(heaps, LeakOptions::default())
}

/// Checks that there is one suspect and what is said of it.
#[track_caller]
fn check(work: Work, detector: &str, counts: [u64; 3], path: &str) {
    let suspects = leaks(&series(same_name, work));
    let found: Vec<(&str, Vec<u64>, String)> = suspects
        .iter()
        .map(|suspect| {
            let counts = suspect.growth.iter().map(|point| point.count).collect();
            (suspect.detector, counts, path_in_words(&suspect.path))
        })
        .collect();
    assert_eq!(found, [(detector, counts.to_vec(), path.to_owned())]);
}

/// The global's property, made by the first who asks.
pub fn global(process: &mut Process, name: &str, make: fn(&mut Process) -> Object) -> Object {
    let global = process.global;
    process.get(global, name).unwrap_or_else(|| {
        let value = make(process);
        process.set(global, name, value);
        value
    })
}

/// Every way to leak, for checks that hold for all.
pub const ALL: [Work; 15] = [
    map_of_sessions,
    array_of_records,
    object_as_a_map,
    listeners,
    many_small_arrays,
    replaced_array,
    map_made_later,
    closures_in_a_chain,
    list_that_grows_at_its_head,
    list_that_grows_at_its_end,
    list_in_both_directions,
    binary_tree,
    nested_groups,
    reactions_on_a_promise,
    few_large_frames,
];

fn map_of_sessions(process: &mut Process, turn: usize) {
    let map = global(process, "sessions", Process::new_map);
    let key = process.new_text(&format!("key {turn}"));
    let session = process.new_object("Session");
    process.insert(map, key, session);
}

#[test]
fn map() {
    check(
        map_of_sessions,
        "growing-containers",
        [50, 150, 250],
        "global.sessions (Map) -> table -> [*] Session",
    );
}

#[test]
fn map_of_texts() {
    check(
        |process, turn| {
            let map = global(process, "cache", Process::new_map);
            let key = process.new_text(&format!("key {turn}"));
            let value = process.new_text(&format!("a value for {turn}"));
            process.insert(map, key, value);
        },
        "growing-containers",
        [50, 150, 250],
        "global.cache (Map) -> table -> [*] (string)",
    );
}

fn array_of_records(process: &mut Process, _: usize) {
    let holder = global(process, "audit", |process| process.new_object("Audit"));
    if process.get(holder, "records").is_none() {
        let array = process.new_array();
        process.set(holder, "records", array);
    }
    let array = process.get(holder, "records").unwrap();
    let record = process.new_object("AuditRecord");
    let when = process.new_plain(NodeKind::Object, "Date");
    process.set(record, "when", when);
    process.push(array, record);
}

#[test]
fn array() {
    check(
        array_of_records,
        "growing-containers",
        [50, 150, 250],
        "global.audit (Audit).records (Array) -> [*] AuditRecord",
    );
}

fn object_as_a_map(process: &mut Process, turn: usize) {
    let jobs = global(process, "jobs", |process| {
        process.new_plain(NodeKind::Object, "Object")
    });
    let job = process.new_object("Job");
    process.set(jobs, &format!("job{turn}"), job);
}

#[test]
fn properties() {
    check(
        object_as_a_map,
        "growing-containers",
        [50, 150, 250],
        "global.jobs (Object) -> [*] Job",
    );
}

fn listeners(process: &mut Process, _: usize) {
    let bus = global(process, "bus", |process| process.new_object("EventEmitter"));
    if process.get(bus, "tick").is_none() {
        let array = process.new_array();
        process.set(bus, "tick", array);
    }
    let array = process.get(bus, "tick").unwrap();
    let request = process.new_object("Request");
    let listener = process.new_function("onTick", &[("request", request)]);
    process.push(array, listener);
}

#[test]
fn functions_in_an_array() {
    check(
        listeners,
        "growing-containers",
        [50, 150, 250],
        "global.bus (EventEmitter).tick (Array) -> [*] onTick()",
    );
}

fn many_small_arrays(process: &mut Process, turn: usize) {
    let map = global(process, "visits", |process| {
        let map = process.new_map();
        for user in 0..25 {
            let key = process.new_text(&format!("user {user}"));
            let visits = process.new_array();
            process.insert(map, key, visits);
        }
        map
    });
    let visits = process.entries(map)[2 * (turn % 25) + 1];
    let visit = process.new_object("Visit");
    process.push(visits, visit);
}

#[test]
fn many_containers_with_a_few_each() {
    check(
        many_small_arrays,
        "growing-containers",
        [50, 150, 250],
        "global.visits (Map) -> table -> [*] Array -> [*] Visit",
    );
}

fn replaced_array(process: &mut Process, _: usize) {
    let store = global(process, "store", |process| process.new_object("Store"));
    let old = process.get(store, "state");
    let mut items = old.map_or_else(Vec::new, |old| process.elements(old));
    items.push(process.new_object("Item"));
    let state = process.new_array();
    process.set_elements(state, &items);
    process.set(store, "state", state);
}

#[test]
fn array_that_is_replaced_by_a_longer_one() {
    check(
        replaced_array,
        "growing-containers",
        [50, 150, 250],
        "global.store (Store).state (Array) -> [*] Item",
    );
}

#[test]
fn array_that_is_replaced_with_two_snapshots() {
    let heaps = series(same_name, replaced_array);
    let suspects = leaks(&heaps[1..]);
    assert_eq!(suspects.len(), 1, "{suspects:#?}");
    assert_eq!(suspects[0].name, "Item");
    assert_eq!(suspects[0].growth[0].count, 150);
}

fn map_made_later(process: &mut Process, turn: usize) {
    global(process, "config", |process| process.new_object("Config"));
    if turn >= 60 {
        map_of_sessions(process, turn);
    }
}

#[test]
fn container_made_after_the_first_snapshot() {
    check(
        map_made_later,
        "growing-containers",
        [0, 90, 190],
        "global.sessions (Map) -> table -> [*] Session",
    );
}

fn closures_in_a_chain(process: &mut Process, _: usize) {
    let main = global(process, "main", |process| process.new_function("main", &[]));
    let previous = process.get(main, "newest");
    let link = process.new_function("link", &[]);
    if let Some(previous) = previous {
        process.set_variable(link, "before", previous);
    }
    process.set(main, "newest", link);
}

#[test]
fn list_of_functions() {
    check(
        closures_in_a_chain,
        "growing-lists",
        [50, 150, 250],
        "global.main().newest (link()) variable before (link() …)",
    );
}

fn list_that_grows_at_its_head(process: &mut Process, _: usize) {
    let stack = global(process, "stack", |process| process.new_object("Stack"));
    let entry = process.new_object("Entry");
    if let Some(next) = process.get(stack, "top") {
        process.set(entry, "next", next);
    }
    process.set(stack, "top", entry);
}

#[test]
fn list_at_its_head() {
    check(
        list_that_grows_at_its_head,
        "growing-lists",
        [50, 150, 250],
        "global.stack (Stack).top (Entry).next (Entry …)",
    );
}

fn append(process: &mut Process, is_double: bool) {
    let list = global(process, "list", |process| process.new_object("List"));
    let entry = process.new_object("Entry");
    match process.get(list, "last") {
        Some(last) => {
            process.set(last, "next", entry);
            if is_double {
                process.set(entry, "previous", last);
            }
        }
        None => process.set(list, "first", entry),
    }
    process.set(list, "last", entry);
}

fn list_that_grows_at_its_end(process: &mut Process, _: usize) {
    append(process, false);
}

#[test]
fn list_at_its_end() {
    check(
        list_that_grows_at_its_end,
        "growing-lists",
        [50, 150, 250],
        "global.list (List).first (Entry).next (Entry …)",
    );
}

fn list_in_both_directions(process: &mut Process, _: usize) {
    append(process, true);
}

#[test]
fn double_list() {
    let suspects = leaks(&series(same_name, list_in_both_directions));
    assert_eq!(
        suspects.len(),
        1,
        "either direction, but one: {suspects:#?}"
    );
    let counts = suspects[0].growth.iter().map(|point| point.count);
    assert!(counts.eq([50, 150, 250]), "{suspects:#?}");
}

fn binary_tree(process: &mut Process, turn: usize) {
    let index = global(process, "index", |process| process.new_object("Index"));
    let leaf = process.new_object("Branch");
    let Some(mut at) = process.get(index, "root") else {
        process.set(index, "root", leaf);
        return;
    };
    // The bits of the turn say where to go, which spreads the leaves.
    let mut way = turn.wrapping_mul(0x9E37_79B9);
    loop {
        let side = if way & 1 == 0 { "left" } else { "right" };
        way >>= 1;
        match process.get(at, side) {
            Some(below) => at = below,
            None => return process.set(at, side, leaf),
        }
    }
}

#[test]
fn tree() {
    check(
        binary_tree,
        "growing-structures",
        [50, 150, 250],
        "global.index (Index).root (Branch) -> … Branch",
    );
}

fn nested_groups(process: &mut Process, turn: usize) {
    let groups = global(process, "groups", |process| {
        let groups = process.new_object("Groups");
        for name in ["red", "green", "blue", "gray", "pink", "gold"] {
            let group = process.new_object("Group");
            for part in ["north", "south", "east", "west", "up", "down"] {
                let array = process.new_array();
                process.set(group, part, array);
            }
            process.set(groups, name, group);
        }
        groups
    });
    let name = ["red", "green", "blue", "gray", "pink", "gold"][turn % 6];
    let part = ["north", "south", "east", "west", "up", "down"][turn / 6 % 6];
    let group = process.get(groups, name).unwrap();
    let array = process.get(group, part).unwrap();
    let member = process.new_object("Member");
    process.push(array, member);
}

#[test]
fn records_scattered_over_small_containers() {
    check(
        nested_groups,
        "growing-structures",
        [50, 150, 250],
        "global.groups (Groups) -> … Member",
    );
}

fn reactions_on_a_promise(process: &mut Process, _: usize) {
    let never = global(process, "never", |process| {
        process.new_plain(NodeKind::Object, "Promise")
    });
    let reaction = process.new_plain(NodeKind::Hidden, "system / PromiseReaction");
    if let Some(next) = process.get(never, "reactions") {
        process.internal(reaction, "next", next);
    }
    process.delete(never, "reactions");
    process.set(never, "reactions", reaction);
    let waiting = process.new_object("Waiting");
    process.internal(reaction, "fulfill_handler", waiting);
}

#[test]
fn promise_that_never_settles() {
    check(
        reactions_on_a_promise,
        "growing-structures",
        [50, 150, 250],
        "global.never (Promise) -> … Waiting",
    );
}

fn few_large_frames(process: &mut Process, turn: usize) {
    let frames = global(process, "frames", Process::new_array);
    if turn.is_multiple_of(50) {
        let frame = process.new_large("Frame", 1 << 20);
        process.push(frames, frame);
    }
}

#[test]
fn few_but_large() {
    check(
        few_large_frames,
        "growing-containers",
        [1, 3, 5],
        "global.frames (Array) -> [*] Frame",
    );
}

#[test]
fn bytes_are_what_would_go() {
    let suspects = leaks(&series(same_name, array_of_records));
    // A record of 32 bytes with a date of 24.
    let bytes = suspects[0].growth.iter().map(|point| point.bytes);
    assert!(bytes.eq([50 * 56, 150 * 56, 250 * 56]), "{suspects:#?}");
    assert_eq!(suspects[0].retained_bytes, 250 * 56);
}

#[test]
fn two_containers_of_the_same_objects_are_two_suspects() {
    let heaps = series(same_name, |process, turn| {
        let user = process.new_object("User");
        let key = process.new_text(&format!("key {turn}"));
        let map = global(process, "by_name", Process::new_map);
        process.insert(map, key, user);
        let array = global(process, "in_order", Process::new_array);
        process.push(array, user);
    });
    let names: Vec<String> = leaks(&heaps)
        .iter()
        .map(|suspect| path_in_words(&suspect.path))
        .collect();
    assert_eq!(names.len(), 2, "{names:?}");
}

#[test]
fn detached_elements() {
    let heaps = series(same_name, |process, turn| {
        let removed = global(process, "removed", Process::new_array);
        let element = process.new_element(&format!("<div id=\"{turn}\">"), 2);
        let child = process.new_element("<b>", 2);
        process.internal(element, "1", child);
        process.push(removed, element);
    });
    let suspects = leaks(&heaps);
    assert_eq!(suspects.len(), 1, "{suspects:#?}");
    assert_eq!(suspects[0].detector, "detached-dom");
    assert_eq!(suspects[0].name, "Detached <div>");
    let counts = suspects[0].growth.iter().map(|point| point.count);
    assert!(counts.eq([50, 150, 250]), "{suspects:#?}");
}

#[test]
fn map_of_detached_elements() {
    let heaps = series(same_name, |process, turn| {
        let map = global(process, "rows", Process::new_map);
        let key = process.new_text(&format!("key {turn}"));
        let row = process.new_element("<li>", 2);
        let data = process.new_object("RowData");
        process.internal(row, "1", data);
        process.insert(map, key, row);
    });
    let suspects = leaks(&heaps);
    assert_eq!(suspects.len(), 1, "neither keys nor data: {suspects:#?}");
    assert_eq!(suspects[0].name, "Detached <li>");
}

#[test]
fn large_container_of_one_snapshot() {
    let mut process = Process::new(same_name);
    for turn in 0..600 {
        array_of_records(&mut process, turn);
    }
    let suspects = leaks(&[process.snapshot()]);
    assert_eq!(suspects.len(), 1, "{suspects:#?}");
    assert_eq!(suspects[0].detector, "large-containers");
    assert_eq!(suspects[0].growth[0].count, 600);
    assert_eq!(
        path_in_words(&suspects[0].path),
        "global.audit (Audit).records (Array) -> [*] AuditRecord"
    );
}
