//! `cargo xtask generate-snapshot`: V8 heap snapshots as large as wanted.
//!
//! The graph is kept in memory in a compact form (about 70 bytes a node); the text is streamed.
//! The same options give the same file, byte for byte, on every machine.

mod heap;
mod names;
mod population;
mod random;
mod write;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, ValueEnum};

use heap::Heap;
use population::Population;
use write::Layout;

/// Enough to make one string of the section too long for JavaScript, which allows 2^29 - 24.
const LONG_STRINGS_BYTES: usize = 560_000_000;

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shape {
    /// Seven fields to a node, every row on its own line
    Node20,
    /// Six fields to a node, no line breaks
    Node24,
    /// As node24, with a strings section of 560 MB
    Strings,
}

#[derive(Args)]
pub struct Options {
    /// About how many nodes to make, before growth
    #[arg(long, default_value_t = 1_000_000)]
    nodes: usize,
    /// Another seed gives another heap
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[arg(long, value_enum, default_value = "node24")]
    shape: Shape,
    /// The same heap later: PCT percent more objects have leaked, all else has kept its id but for
    /// one percent of short-lived objects
    #[arg(long, value_name = "PCT", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=100))]
    grow: u32,
    /// The file to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

pub fn generate_snapshot(options: &Options) -> anyhow::Result<()> {
    let heap = make_heap(options);
    write_file(&heap, layout_of(options.shape), &options.output)
        .with_context(|| format!("while writing `{}`", options.output.display()))
}

fn layout_of(shape: Shape) -> Layout {
    match shape {
        Shape::Node20 => Layout::Node20,
        Shape::Node24 | Shape::Strings => Layout::Node24,
    }
}

fn make_heap(options: &Options) -> Heap {
    let mut heap = Heap::new();
    let mut population = Population::new(&mut heap, options.seed, options.nodes);
    population.grow_to(options.nodes);
    if options.shape == Shape::Strings {
        population.add_long_strings(LONG_STRINGS_BYTES);
    }
    // Each snapshot of a series has room for ids of its own before the leaked objects' ids begin.
    let temporaries = options.nodes / 100;
    let room = 2 * temporaries + 100;
    let grow = options.grow as usize;
    population.add_temporaries(temporaries, room * grow);
    let leaked = options.nodes / 100 * grow;
    let used = room * grow + temporaries;
    population.leak(options.seed ^ 0x6c65_616b, leaked, room * 102 - used);
    heap
}

fn write_file(heap: &Heap, layout: Layout, path: &Path) -> anyhow::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    write::write_snapshot(heap, layout, &mut out)?;
    out.flush()?;
    Ok(())
}
