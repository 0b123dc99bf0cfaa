//! Any bytes, strict and salvaging: no panic, no endless loop, no memory out of proportion. What
//! is accepted is walked as a user would, and is the same after it was written and read again.

#![no_main]

use std::sync::Arc;

use heapatlas_formats::v8::{self, ReadOptions, Snapshot};
use heapatlas_model::HeapGraph;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(strict) = read(bytes, false) {
        assert!(
            strict.warnings.iter().all(|warning| !warning.is_loss),
            "a whole file lost something: {:?}",
            strict.warnings
        );
        let salvaged = read(bytes, true).expect("salvaging takes what strict reading takes");
        assert!(salvaged.graph == strict.graph, "salvaging changed a whole file");
    }
    if let Ok(salvaged) = read(bytes, true) {
        walk(&salvaged.graph);
        check_written(&salvaged.graph);
    }
});

fn read(bytes: &[u8], salvage: bool) -> Result<Snapshot, v8::ReadError> {
    let options = ReadOptions {
        salvage,
        progress: None,
    };
    v8::read(Arc::new(bytes.to_vec()), options)
}

/// Looks at everything that depends on the file being right.
fn walk(graph: &HeapGraph) {
    let retainers = graph.build_retainers();
    let mut edges = 0;
    for node in graph.nodes() {
        let _ = (graph.name_text(node), graph.kind(node));
        edges += retainers.of(node).len();
        for edge in graph.edges(node) {
            let _ = (graph.label_text(edge), graph.target(edge));
            assert_eq!(graph.source(edge), node);
        }
    }
    assert_eq!(edges, graph.edge_count());
}

fn check_written(graph: &HeapGraph) {
    let mut written = Vec::new();
    v8::write(graph, &mut written).expect("a vector takes everything");
    let again = read(&written, false).expect("our own file is whole");
    assert!(again.graph == *graph, "another graph after writing");
}
