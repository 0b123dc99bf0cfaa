//! Readers and writers of heap snapshot and allocation profile files, one module per format.
//! Read and written: [`v8`], and [`trace`], our own recordings. Written: [`dhat`], [`folded`],
//! [`flamegraph`].
//!
//! **The caller provides** the bytes, as a `ByteSource` that may take memory back while it is read.
//! **This crate provides** what a file is by its content ([`detect`]), the graph it holds with
//! warnings about what was odd, or one error that names section and byte offset; and writers
//! over `io::Write`. A reader trusts no byte: it never panics, and reserves no memory on a header's word.
//! **Not for** opening or unpacking files, processes, sockets, or any conclusion about what was read.
//!
//! ```
//! use std::sync::Arc;
//! use heapatlas_formats::v8;
//!
//! let text = br#"{"snapshot":{"meta":{
//!     "node_fields":["type","name","id","self_size","edge_count"],
//!     "node_types":[["synthetic"],"string","number","number","number"],
//!     "edge_fields":["type","name_or_index","to_node"],
//!     "edge_types":[["element"],"string_or_number","node"]}},
//!     "nodes":[0,0,1,0,0],"edges":[],"strings":[""]}"#;
//! let snapshot = v8::read(Arc::new(text.to_vec()), v8::ReadOptions::default())?;
//! assert_eq!(snapshot.graph.node_count(), 1);
//!
//! let error = v8::read(Arc::new(text[..text.len() - 3].to_vec()), v8::ReadOptions::default()).unwrap_err();
//! assert_eq!(error.section, "strings");
//! # Ok::<(), v8::ReadError>(())
//! ```
//!
//! Adding a format is one module, one line in [`detect`], one fixture folder, one fuzz target.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod detect;
pub mod dhat;
pub mod flamegraph;
pub mod folded;
pub mod trace;
pub mod v8;
