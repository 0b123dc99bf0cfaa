//! The two models heapatlas reasons about: [`HeapGraph`], objects and references at one instant,
//! for V8, Dart and native heaps alike; and [`AllocationProfile`], allocations by stack over time.
//!
//! **The caller provides** columns ([`GraphColumns`], filled by a reader) or single nodes and
//! edges ([`GraphBuilder`]), and the bytes that the strings lie in ([`ByteSource`]).
//! **This crate provides** a graph that was checked once and is cheap to walk: about 18 bytes a
//! node and 9 an edge, names as byte ranges of the source.
//! **Not for** reading files, printing, or any conclusion about the graph: see
//! `heapatlas-formats` and `heapatlas-analysis`.
//!
//! ```
//! use heapatlas_model::{EdgeKind, GraphBuilder, NodeKind, SnapshotFormat};
//! let mut builder = GraphBuilder::new(SnapshotFormat::V8);
//! let root = builder.node(NodeKind::Synthetic, "", 1, 0);
//! let list = builder.node(NodeKind::Object, "Array", 3, 16);
//! builder.named_edge(root, EdgeKind::Shortcut, "audit", list);
//! let graph = builder.finish()?;
//! assert_eq!(graph.name_text(graph.targets(root)[0]), "Array");
//! # Ok::<(), heapatlas_model::GraphError>(())
//! ```
//!
//! In reading order: [`ids`](NodeId) (newtypes), [`UintColumn`], [`StringTable`], kinds
//! ([`NodeKind`], [`EdgeKind`]), the graph, its builder, and the side tables
//! ([`AllocationTraces`], [`V8Facts`]); the allocation profile, what its places are called
//! ([`NamedFrame`]). [`Bytes`] and [`Count`] show figures to people.
//!
//! **Invariant:** nothing V8-specific in the graph's core; a format's own facts stand in a side
//! table with the format's name. **Invariant:** no I/O, no clock, no environment.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod amounts;
mod column;
mod graph;
mod graph_builder;
mod ids;
mod kinds;
mod named_frames;
mod profile;
mod strings;
mod traces;
mod units;
mod v8_facts;

pub use column::UintColumn;
pub use graph::{EdgeLabel, GraphColumns, GraphError, HeapGraph, Retainers, SnapshotFormat};
pub use graph_builder::{GraphBuilder, edge_type_name, node_type_name};
pub use ids::{EdgeId, LocationId, ModuleId, NodeId, StackId, StringId, TraceId};
pub use kinds::{EdgeKind, EdgeType, NodeKind, NodeType};
pub use named_frames::NamedFrame;
pub use profile::{
    AllocationProfile, Amount, CodeLocation, Frame, Mark, Module, ProfileFormat, RecordingMode,
    StackFigures, StackTable, ThreadFigures, TimelinePoint,
};
pub use strings::{ByteSource, StringEncoding, StringTable, decode_json};
pub use traces::{AllocationTraces, Location, Sample, TraceFunction, TraceNode};
pub use units::{Bytes, Count};
pub use v8_facts::{Detachedness, ScopeTables, V8Facts};
