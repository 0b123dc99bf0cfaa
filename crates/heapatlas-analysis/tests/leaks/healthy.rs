//! Heaps that do work and do not leak: no suspect in three snapshots.

use heapatlas_model::NodeKind;

use super::generated::{Work, global, leaks, same_name, series};
use super::process::Process;

#[track_caller]
fn check(work: Work) {
    let suspects = leaks(&series(same_name, work));
    assert!(suspects.is_empty(), "{suspects:#?}");
}

#[test]
fn nothing_happens() {
    check(|process, _| {
        global(process, "config", |process| process.new_object("Config"));
    });
}

#[test]
fn cache_of_bounded_size() {
    check(|process, turn| {
        let map = global(process, "cache", Process::new_map);
        let key = process.new_text(&format!("key {turn}"));
        let page = process.new_object("Page");
        process.insert(map, key, page);
        let entries = process.entries(map);
        if entries.len() > 80 {
            process.set_entries(map, &entries[2..]);
        }
    });
}

#[test]
fn pool_that_has_become_large_enough() {
    check(|process, _| {
        let pool = global(process, "pool", Process::new_array);
        if process.len(pool) < 120 {
            let buffer = process.new_object("Buffer");
            process.push(pool, buffer);
        }
    });
}

#[test]
fn work_that_is_done_in_the_end() {
    check(|process, turn| {
        let queue = global(process, "queue", Process::new_array);
        let job = process.new_object("Job");
        process.push(queue, job);
        if turn == 249 {
            process.set_elements(queue, &[]);
        }
    });
}

#[test]
fn tree_that_is_built_anew() {
    check(|process, turn| {
        let index = global(process, "index", |process| process.new_object("Index"));
        let branch = process.new_object("Branch");
        if let Some(root) = process.get(index, "root")
            && !turn.is_multiple_of(40)
        {
            let side = if turn.is_multiple_of(2) {
                "left"
            } else {
                "right"
            };
            process.set(branch, side, root);
        }
        process.set(index, "root", branch);
    });
}

#[test]
fn weak_references() {
    check(|process, _| {
        let registry = global(process, "registry", |process| {
            process.new_object("Registry")
        });
        let observed = process.new_object("Observed");
        process.weak(registry, observed);
    });
}

#[test]
fn elements_of_the_page() {
    check(|process, turn| {
        let body = global(process, "body", |process| process.new_element("<body>", 1));
        let row = process.new_element("<p>", 1);
        process.internal(body, &turn.to_string(), row);
    });
}

#[test]
fn code_that_gets_compiled() {
    check(|process, _| {
        let function = global(process, "run", |process| process.new_function("run", &[]));
        let code = process.new_plain(NodeKind::Code, "system / FeedbackVector");
        let literal = process.new_object("Literal");
        process.internal(code, "1", literal);
        process.internal(function, "feedback_cell", code);
    });
}

#[test]
fn elements_that_were_detached_all_the_time() {
    check(|process, turn| {
        let removed = global(process, "removed", Process::new_array);
        if turn < 20 {
            let element = process.new_element("<div>", 2);
            process.push(removed, element);
        }
    });
}
