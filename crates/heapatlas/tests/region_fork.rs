//! A forked child goes on with regions, whatever the threads of its parent were doing.
#![cfg(unix)]

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use heapatlas::{Alloc, measure, regions};

#[global_allocator]
static ALLOC: Alloc = Alloc::system().counting();

#[test]
fn children_measure_while_the_threads_of_the_parent_do() {
    let is_done = AtomicBool::new(false);
    let work = |thread: usize| {
        let mut number = 0;
        while !is_done.load(Ordering::Relaxed) {
            number += 1;
            let name = format!("{thread}: {}", number % 200);
            measure!(&name, measure!("inner", drop(black_box(vec![0_u8; 10]))));
        }
    };
    thread::scope(|scope| {
        for thread in 0..2 {
            scope.spawn(move || work(thread));
        }
        for _ in 0..100 {
            assert_eq!(exit_code_of_child(), 0);
        }
        is_done.store(true, Ordering::Relaxed);
    });
}

/// What the child finds out it says by its exit code; a child that hangs is ended by its alarm.
fn exit_code_of_child() -> i32 {
    measure!("parent", {
        // SAFETY: the child uses the allocator (the C library's, which is whole after a fork) and regions, no more.
        let child = unsafe { libc::fork() };
        assert_ne!(child, -1);
        if child == 0 {
            // SAFETY: no handler, the default ends the process.
            unsafe { libc::alarm(30) };
            let is_right = works_in_child();
            // SAFETY: ends the process at once.
            unsafe { libc::_exit(i32::from(!is_right)) };
        }
        let mut status = 0;
        // SAFETY: `child` is ours, and `status` is written.
        assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
        assert!(libc::WIFEXITED(status), "ended by a signal: {status}");
        libc::WEXITSTATUS(status)
    })
}

fn works_in_child() -> bool {
    for number in 0..300 {
        measure!(&format!("child: {number}"), drop(vec![0_u8; 7]));
    }
    let table = regions();
    let row = table.row(&["parent", "child: 7"]);
    row.is_some_and(|row| row.count == 1 && row.total.memory.unwrap().allocated_bytes == 7)
}
