//! Answers about heap graphs: classes, distances, dominators and retained sizes, comparison,
//! retaining paths, leak suspects; and about allocation profiles: see [`profile`]. For V8 heaps the figures are those of Chrome DevTools.
//!
//! **The caller provides** a `HeapGraph` and says by which rules ([`OpenOptions`]), or an
//! `AllocationProfile`.
//! **This crate provides** a [`Heap`], the graph with its figures, and functions that answer
//! questions about one heap or several with plain structs in the user's words, ready to print.
//! **Not for** reading files, printing, or deciding what to show.
//!
//! ```
//! use heapatlas_analysis::{Heap, OpenOptions, summarize};
//! use heapatlas_model::{EdgeKind, GraphBuilder, NodeKind, SnapshotFormat};
//!
//! let mut builder = GraphBuilder::new(SnapshotFormat::V8);
//! let root = builder.node(NodeKind::Synthetic, "", 1, 0);
//! let global = builder.node(NodeKind::Object, "global", 3, 8);
//! let session = builder.node(NodeKind::Object, "Session", 5, 56);
//! builder.named_edge(root, EdgeKind::Shortcut, "global", global);
//! builder.named_edge(global, EdgeKind::Property, "last", session);
//!
//! let heap = Heap::open(builder.finish()?, OpenOptions::default());
//! let summary = summarize(&heap, None);
//! assert_eq!(summary.classes[0].name, "global");
//! assert_eq!(summary.classes[0].retained_bytes, Some(64));
//! # Ok::<(), heapatlas_model::GraphError>(())
//! ```
//!
//! In reading order:
//! - *figures*: `heap` puts them together; `graph_facts` and `weak_maps` (looked up once), `detachedness`,
//!   `owned_sizes`, `classes` with `interfaces` and `display_name`, `distances`, `dominators`, `retained`;
//! - *one heap*: `summary`, `statistics`, `inspect`, `filters`, `duplicate_strings`, `native_contexts`,
//!   `allocations`;
//! - *several heaps*: `compare`;
//! - *who holds it*: `paths` (shortest paths, their shapes, their words);
//! - *what leaks*: `leaks`, one module a detector;
//! - *allocation profiles*: [`profile`] (sites, call trees, distributions, the timeline).
//!
//! **Invariant:** no I/O, no clock, no environment, no printing; nothing here knows where a graph came from.
//! **Invariant:** no detector and no rule knows a name of a program's class or property. (What is an
//! allocator's or a library's code in a profile, [`profile`] knows by lists of names.)

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod allocations;
mod classes;
mod compare;
mod detachedness;
mod display_name;
mod distances;
mod dominators;
mod duplicate_strings;
mod filters;
mod graph_facts;
mod heap;
mod inspect;
mod interfaces;
mod leaks;
mod name_test;
mod native_contexts;
mod node_set;
mod owned_sizes;
mod paths;
mod plain_edges;
pub mod profile;
mod retained;
mod statistics;
mod summary;
mod weak_maps;

pub use allocations::{
    AllocatingFunction, TimelineSample, allocating_functions, allocation_callers,
    allocation_timeline,
};
pub use compare::{
    Change, ClassChange, ClassSeries, CompareOptions, Comparison, PathShare, Series, compare,
    compare_series,
};
pub use duplicate_strings::{DuplicateStrings, StringGroup, duplicate_strings};
pub use filters::{NamedFilter, max_js_object_id, select};
pub use heap::{Class, ClassId, Figures, Heap, OpenOptions};
pub use inspect::{
    EdgeView, NodeView, dominated, dominators, fields, node_view, objects_of_class, path_from_root,
    retainers,
};
pub use interfaces::{Interface, Interfaces};
pub use leaks::{GrowthPoint, LeakOptions, Suspect, find_leaks};
pub use native_contexts::{ContextOwner, NativeContext, NativeContexts, native_contexts};
pub use node_set::NodeSet;
pub use paths::{PathStep, PathTree, path_in_words, path_steps};
pub use summary::{ClassRow, Statistics, Summary, summarize};
