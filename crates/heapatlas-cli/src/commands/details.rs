//! What `summary --details` adds: distances, native contexts, duplicate strings, and what a
//! timeline recorded.

use std::collections::BTreeMap;
use std::io::{self, Write};

use heapatlas_analysis::{
    AllocatingFunction, DuplicateStrings, Heap, NativeContexts, StringGroup, TimelineSample,
    allocating_functions, allocation_timeline, duplicate_strings, native_contexts,
};
use heapatlas_model::{Bytes, Count};

use super::row_choice::remark_on_rest;
use crate::render::text::{Paint, Table, percent, printable, short_name};

/// Everything, computed.
pub struct Details {
    /// How many nodes are so far away.
    pub distances: Vec<DistanceCount>,
    /// Whom the bytes belong to.
    pub native_contexts: NativeContexts,
    /// Strings that stand in the heap more than once.
    pub duplicate_strings: DuplicateStrings,
    /// What allocated; empty where nothing was tracked.
    pub allocation_sites: Vec<AllocatingFunction>,
    /// The timeline; empty where nothing was recorded.
    pub samples: Vec<TimelineSample>,
}

/// Nodes at one distance.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DistanceCount {
    /// Steps from the nearest user root.
    pub distance: Option<u32>,
    /// Steps from the root, of what no user root reaches. Neither: nothing reaches it.
    pub collector_distance: Option<u32>,
    /// So many nodes.
    pub nodes: u64,
}

/// DevTools counts from here what no user root reaches.
const COLLECTOR_BASE: i32 = 100_000_000;

impl Details {
    /// Asks the analysis for all of it.
    pub fn new(heap: &Heap) -> Self {
        Self {
            distances: distances(heap),
            native_contexts: native_contexts(heap),
            duplicate_strings: duplicate_strings(heap),
            allocation_sites: allocating_functions(heap),
            samples: allocation_timeline(heap),
        }
    }

    /// The largest of each, as tables.
    pub fn write(
        &self,
        out: &mut dyn Write,
        heap: &Heap,
        limit: usize,
        paint: Paint,
    ) -> io::Result<()> {
        self.write_contexts(out, heap, paint)?;
        let duplicates = &self.duplicate_strings;
        write_strings(out, "duplicate strings", &duplicates.groups, limit, paint)?;
        let perhaps = "perhaps equal strings, cut off by the writer";
        write_strings(out, perhaps, &duplicates.perhaps, limit, paint)?;
        self.write_sites(out, limit, paint)
    }

    fn write_contexts(&self, out: &mut dyn Write, heap: &Heap, paint: Paint) -> io::Result<()> {
        let contexts = &self.native_contexts;
        if contexts.contexts.is_empty() {
            return Ok(());
        }
        let mut table = Table::new(&["", "", ""]);
        let total = heap.total_bytes();
        let mut row = |bytes: u64, name: String| {
            table.row(vec![
                format!("  {}", Bytes(bytes)),
                percent(bytes, total),
                name,
            ]);
        };
        for context in &contexts.contexts {
            let id = heap.graph().object_id(context.node);
            let name = short_name(&heap.display_name(context.node));
            row(context.attributed_bytes, format!("@{id} {name}"));
        }
        row(contexts.shared_bytes, "shared".to_owned());
        row(contexts.unattributed_bytes, "none".to_owned());
        writeln!(out, "\n{}", paint.bold("bytes by native context"))?;
        table.write(out, paint)
    }

    fn write_sites(&self, out: &mut dyn Write, limit: usize, paint: Paint) -> io::Result<()> {
        let sites = &self.allocation_sites;
        if sites.is_empty() {
            return Ok(());
        }
        let mut table = Table::new(&["blocks", "bytes", "live blocks", "live bytes", "function"]);
        for site in sites.iter().take(limit) {
            let place = match line_and_column(site) {
                Some((line, column)) => format!(" {}:{line}:{column}", site.script_name),
                None => String::new(),
            };
            table.row(vec![
                Count(site.blocks).to_string(),
                Bytes(site.bytes).to_string(),
                Count(site.live_blocks).to_string(),
                Bytes(site.live_bytes).to_string(),
                printable(&format!("{}{place}", site.name)).into_owned(),
            ]);
        }
        if let Some(rest) = remark_on_rest(sites.len(), limit, "function", "functions") {
            table.remark(rest);
        }
        writeln!(out, "\n{}", paint.bold("functions that allocated"))?;
        table.write(out, paint)
    }
}

fn write_strings(
    out: &mut dyn Write,
    title: &str,
    groups: &[StringGroup],
    limit: usize,
    paint: Paint,
) -> io::Result<()> {
    if groups.is_empty() {
        return Ok(());
    }
    let mut table = Table::new(&["count", "bytes", "text"]);
    for group in groups.iter().take(limit) {
        table.row(vec![
            Count(group.nodes.len() as u64).to_string(),
            Bytes(group.shallow_bytes).to_string(),
            short_name(&group.text),
        ]);
    }
    if let Some(rest) = remark_on_rest(groups.len(), limit, "text", "texts") {
        table.remark(rest);
    }
    writeln!(out, "\n{}", paint.bold(title))?;
    table.write(out, paint)
}

/// As editors count, from 1; `None` where the file has zeros, which mean unknown.
pub fn line_and_column(site: &AllocatingFunction) -> Option<(u32, u32)> {
    let is_known = (site.line, site.column) != (0, 0);
    is_known.then(|| (site.line.saturating_add(1), site.column.saturating_add(1)))
}

fn distances(heap: &Heap) -> Vec<DistanceCount> {
    let mut counts: BTreeMap<i32, u64> = BTreeMap::new();
    for node in heap.graph().nodes() {
        *counts.entry(heap.raw_distance(node)).or_default() += 1;
    }
    let row = |(raw, nodes): (i32, u64)| DistanceCount {
        distance: u32::try_from(raw).ok().filter(|_| raw < COLLECTOR_BASE),
        collector_distance: u32::try_from(raw.saturating_sub(COLLECTOR_BASE)).ok(),
        nodes,
    };
    counts.into_iter().map(row).collect()
}
