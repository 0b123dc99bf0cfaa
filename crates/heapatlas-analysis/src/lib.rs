//! Answers about heap graphs: classes, distances, dominators and retained sizes, comparison,
//! retaining paths, leak suspects.

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
