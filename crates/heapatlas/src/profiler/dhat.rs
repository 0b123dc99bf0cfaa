//! The file that DHAT's viewer reads, version 2.
//!
//! Its rules: every key that a mode calls for is there, and no two points have the same frames. Stacks that
//! differ only in frames that are left out become one point. (Its own maximum, `mb`, is then the sum of theirs, which were
//! perhaps not reached at one moment: an upper bound.)

use std::collections::HashMap;

use super::frames::FrameTable;
use crate::alloc::sums::{Amounts, Report, SiteSums};
use crate::json::Writer;

/// How a profile is written.
#[derive(Clone, Copy)]
pub(super) struct Form {
    pub(super) is_ad_hoc: bool,
    /// The allocator's own frames are left out. (The outer ones that are the same everywhere were not recorded.)
    pub(super) is_trimmed: bool,
}

/// One place of the program, with the sums of the stacks that lead there.
#[derive(Default)]
struct Point {
    frames: Vec<usize>,
    total: Amounts,
    current: Amounts,
    max: Amounts,
    at_peak: Amounts,
    lifetime_microseconds: u128,
}

/// The file's text.
pub(super) fn write(report: &Report, form: Form) -> String {
    let mut table = FrameTable::new(form.is_trimmed && !form.is_ad_hoc);
    let points = points_of(report, &mut table);
    let mut json = Writer::new();
    json.open('{');
    write_head(&mut json, report, form);
    json.line().key("pps").open('[');
    for point in &points {
        point.write(&mut json, form);
    }
    json.close(']').line().key("ftbl").open('[');
    for text in table.texts() {
        json.line().string(text);
    }
    json.close(']').close('}');
    let mut text = json.finish();
    text.push('\n');
    text
}

fn points_of(report: &Report, table: &mut FrameTable) -> Vec<Point> {
    let mut numbers: HashMap<Vec<usize>, usize> = HashMap::new();
    let mut points: Vec<Point> = Vec::new();
    for site in &report.sites {
        let frames = table.frames(site.stack);
        let number = *numbers.entry(frames.clone()).or_insert(points.len());
        if number == points.len() {
            points.push(Point {
                frames,
                ..Point::default()
            });
        }
        points[number].add(site);
    }
    points
}

fn write_head(json: &mut Writer, report: &Report, form: Form) {
    let is_heap = !form.is_ad_hoc;
    json.key("dhatFileVersion").number(2_u8).line();
    let mode = if is_heap { "rust-heap" } else { "rust-ad-hoc" };
    json.key("mode").string(mode);
    let verb = if is_heap { "Allocated" } else { "Occurred" };
    json.key("verb").string(verb).line();
    json.key("bklt").bool(is_heap).key("bkacc").bool(false);
    json.line();
    if form.is_ad_hoc {
        json.key("bu").string("unit").key("bsu").string("units");
        json.key("bksu").string("events").line();
    }
    json.key("tu").string("µs").key("Mtu").string("s").line();
    if is_heap {
        json.key("tuth").number(10_u8).line();
    }
    json.key("cmd").string(&command_line()).line();
    json.key("pid").number(std::process::id()).line();
    if is_heap {
        json.key("tg").number(report.peak_microseconds);
    }
    json.key("te").number(report.end_microseconds);
}

fn command_line() -> String {
    let arguments: Vec<String> = std::env::args_os()
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    arguments.join(" ")
}

impl Point {
    fn add(&mut self, site: &SiteSums) {
        self.total.add_all(site.total);
        self.current.add_all(site.current);
        self.max.add_all(site.max);
        self.at_peak.add_all(site.at_peak);
        self.lifetime_microseconds += site.lifetime_microseconds;
    }

    fn write(&self, json: &mut Writer, form: Form) {
        json.line().open('{');
        write_amounts(json, ["tb", "tbk"], self.total);
        if !form.is_ad_hoc {
            json.key("tl").number(self.lifetime_microseconds);
            write_amounts(json, ["mb", "mbk"], self.max);
            write_amounts(json, ["gb", "gbk"], self.at_peak);
            write_amounts(json, ["eb", "ebk"], self.current);
        }
        json.key("fs").open('[');
        for &frame in &self.frames {
            json.number(frame as u64);
        }
        json.close(']').close('}');
    }
}

fn write_amounts(json: &mut Writer, [bytes, blocks]: [&str; 2], amounts: Amounts) {
    json.key(bytes).number(amounts.bytes);
    json.key(blocks).number(amounts.blocks);
}
