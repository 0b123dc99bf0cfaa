//! What a process mapped itself, apart from its blocks.

use std::io::{self, Write};

use heapatlas_analysis::profile::{ProfileView, Site, mapping_sites};
use heapatlas_model::{Amount, Bytes, Count};
use serde::Serialize;

use super::profile_text::{ProfileText, site_place};
use super::text::{Table, percent, plural};
use crate::commands::row_choice::remark_on_rest;
use crate::duration::duration;

impl ProfileText<'_> {
    /// The sums and the first sites; nothing where no mappings were recorded.
    pub fn mappings(&self, out: &mut dyn Write, limit: usize) -> io::Result<()> {
        let Some(mappings) = &self.view.profile().mappings else {
            return Ok(());
        };
        let heading = "mapped pages (by mmap; apart from blocks)";
        writeln!(out, "\n{}", self.paint.bold(heading))?;
        let mut totals = Table::new(&["", "", ""]);
        let peak_time = format!(", at {}", duration(mappings.peak_time_ns));
        for (name, amount, remark) in [
            ("in all", mappings.total, String::new()),
            ("peak", mappings.peak, peak_time),
            ("live at end", mappings.live_at_end, String::new()),
        ] {
            let name = format!("  {name:<12}");
            let remark = format!("in {}{remark}", count(amount));
            totals.row(vec![name, Bytes(amount.bytes).to_string(), remark]);
        }
        totals.write(out, self.paint)?;
        let sites = mapping_sites(self.view);
        let mut table = Table::new(&["live", "at peak", "%", "site"]);
        for site in sites.iter().take(limit) {
            let figures = &site.figures;
            table.row(vec![
                Bytes(figures.live_at_end.bytes).to_string(),
                Bytes(figures.peak.bytes).to_string(),
                percent(figures.peak.bytes, mappings.peak.bytes),
                site_place(site),
            ]);
        }
        if let Some(rest) = remark_on_rest(sites.len(), sites.len().min(limit), "site", "sites") {
            table.remark(rest);
        }
        table.write(out, self.paint)
    }
}

fn count(amount: Amount) -> String {
    let word = plural(amount.blocks as usize, "mapping", "mappings");
    format!("{} {word}", Count(amount.blocks))
}

/// `mappings` in `summary --json`.
#[derive(Serialize)]
pub struct MappingsObject {
    total_mappings: u64,
    total_bytes: u64,
    peak_bytes: u64,
    peak_time_ns: u64,
    live_mappings: u64,
    live_bytes: u64,
    sites: Vec<SiteObject>,
}

#[derive(Serialize)]
struct SiteObject {
    function: String,
    file: Option<String>,
    line: Option<u32>,
    module: Option<String>,
    mappings: u64,
    bytes: u64,
    peak_bytes: u64,
    live_bytes: u64,
}

impl MappingsObject {
    /// Of a profile with mappings, with at most so many sites.
    pub fn new(view: &ProfileView<'_>, limit: usize) -> Option<Self> {
        let mappings = view.profile().mappings.as_ref()?;
        let sites = mapping_sites(view);
        Some(Self {
            total_mappings: mappings.total.blocks,
            total_bytes: mappings.total.bytes,
            peak_bytes: mappings.peak.bytes,
            peak_time_ns: mappings.peak_time_ns,
            live_mappings: mappings.live_at_end.blocks,
            live_bytes: mappings.live_at_end.bytes,
            sites: sites.iter().take(limit).map(SiteObject::new).collect(),
        })
    }
}

impl SiteObject {
    fn new(site: &Site) -> Self {
        let frame = site.frame.as_ref();
        let figures = &site.figures;
        Self {
            function: site.function().to_owned(),
            file: frame.and_then(|frame| frame.file.clone()),
            line: frame.and_then(|frame| frame.line),
            module: frame.and_then(|frame| frame.module.clone()),
            mappings: figures.total.blocks,
            bytes: figures.total.bytes,
            peak_bytes: figures.peak.bytes,
            live_bytes: figures.live_at_end.bytes,
        }
    }
}
