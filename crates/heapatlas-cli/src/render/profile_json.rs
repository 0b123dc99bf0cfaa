//! JSON of allocation profiles: a part of the contract, see [`json`](super::json).

use std::io::{self, Write};

use heapatlas_analysis::profile::{
    CallLabel, CallNode, CallTree, Metric, PowerRow, ProfileView, Site, distribution, threads_by,
};
use heapatlas_model::{AllocationProfile, Amount, Mark, StackFigures, ThreadFigures};
use serde::Serialize;

use super::json::{Rows, VERSION, write};

/// What `summary` shows of a profile.
pub struct ProfileSummary<'a> {
    /// The profile.
    pub view: &'a ProfileView<'a>,
    /// The sites to show.
    pub sites: &'a [&'a Site],
    /// The call tree, if it was asked for.
    pub tree: Option<&'a CallTree>,
    /// Whether to show threads.
    pub has_threads: bool,
    /// Whether to show sizes and lifetimes.
    pub has_histograms: bool,
}

/// `summary --json` of a profile.
pub fn summary(out: &mut dyn Write, summary: &ProfileSummary<'_>) -> io::Result<()> {
    #[derive(Serialize)]
    struct Object<'a, S, M, T, H, C> {
        version: u32,
        format: &'static str,
        command: &'a [String],
        pid: u64,
        duration_ns: u64,
        totals: TotalsObject,
        peak: PeakObject,
        live_at_end: AmountObject,
        temporary: TemporaryObject,
        truncated_stacks: u64,
        mode: &'static str,
        sample_interval_bytes: u64,
        sites: S,
        marks: M,
        #[serde(skip_serializing_if = "Option::is_none")]
        threads: Option<T>,
        #[serde(flatten)]
        histograms: Option<H>,
        #[serde(skip_serializing_if = "Option::is_none")]
        tree: Option<C>,
    }
    let profile = summary.view.profile();
    let threads = || {
        threads_by(profile, Metric::Bytes)
            .into_iter()
            .map(ThreadObject::new)
    };
    let object = Object {
        version: VERSION,
        format: profile.format.name(),
        command: &profile.command,
        pid: profile.pid,
        duration_ns: profile.duration_ns,
        totals: TotalsObject {
            allocations: profile.total.blocks,
            frees: profile.frees,
            bytes: profile.total.bytes,
        },
        peak: PeakObject {
            bytes: profile.peak.bytes,
            blocks: profile.peak.blocks,
            time_ns: profile.peak_time_ns,
        },
        live_at_end: AmountObject::new(profile.live_at_end),
        temporary: TemporaryObject {
            allocations: profile.temporary.blocks,
        },
        truncated_stacks: profile.truncated_stacks,
        mode: profile.mode.name(),
        sample_interval_bytes: profile.sample_interval_bytes,
        sites: Rows(summary.sites.iter().map(|site| SiteObject::new(site))),
        marks: Rows(profile.marks.iter().map(MarkObject::new)),
        threads: summary.has_threads.then(|| threads().collect::<Vec<_>>()),
        histograms: summary.has_histograms.then(|| histograms_object(profile)),
        tree: summary.tree.map(|tree| {
            Rows(
                tree.nodes
                    .iter()
                    .map(|node| NodeObject::new(summary.view, node)),
            )
        }),
    };
    write(out, &object)
}

#[derive(Serialize)]
struct TotalsObject {
    allocations: u64,
    frees: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct PeakObject {
    bytes: u64,
    blocks: u64,
    time_ns: u64,
}

#[derive(Serialize)]
struct TemporaryObject {
    allocations: u64,
}

#[derive(Serialize)]
struct MarkObject<'a> {
    time_ns: u64,
    text: &'a str,
}

impl<'a> MarkObject<'a> {
    fn new(mark: &'a Mark) -> Self {
        Self {
            time_ns: mark.time_ns,
            text: &mark.text,
        }
    }
}

#[derive(Serialize)]
struct AmountObject {
    bytes: u64,
    blocks: u64,
}

impl AmountObject {
    fn new(amount: Amount) -> Self {
        Self {
            bytes: amount.bytes,
            blocks: amount.blocks,
        }
    }
}

/// Figures of whatever allocates.
#[derive(Serialize)]
pub(super) struct FiguresObject {
    allocations: u64,
    bytes: u64,
    peak_bytes: u64,
    live_bytes: u64,
    live_blocks: u64,
    temporary: u64,
}

impl FiguresObject {
    pub(super) fn new(figures: &StackFigures) -> Self {
        Self {
            allocations: figures.total.blocks,
            bytes: figures.total.bytes,
            peak_bytes: figures.peak.bytes,
            live_bytes: figures.live_at_end.bytes,
            live_blocks: figures.live_at_end.blocks,
            temporary: figures.temporary.blocks,
        }
    }
}

#[derive(Serialize)]
struct SiteObject<'a> {
    function: &'a str,
    file: Option<&'a str>,
    line: Option<u32>,
    module: Option<&'a str>,
    #[serde(flatten)]
    figures: FiguresObject,
}

impl<'a> SiteObject<'a> {
    fn new(site: &'a Site) -> Self {
        let frame = site.frame.as_ref();
        Self {
            function: site.function(),
            file: frame.and_then(|frame| frame.file.as_deref()),
            line: frame.and_then(|frame| frame.line),
            module: frame.and_then(|frame| frame.module.as_deref()),
            figures: FiguresObject::new(&site.figures),
        }
    }
}

#[derive(Serialize)]
struct ThreadObject<'a> {
    id: u64,
    name: &'a str,
    allocations: u64,
    frees: u64,
    bytes: u64,
    peak_bytes: u64,
    live_bytes: u64,
    live_blocks: u64,
    temporary: u64,
}

impl<'a> ThreadObject<'a> {
    fn new(thread: &'a ThreadFigures) -> Self {
        Self {
            id: thread.os_thread_id,
            name: &thread.name,
            allocations: thread.total.blocks,
            frees: thread.frees,
            bytes: thread.total.bytes,
            peak_bytes: thread.peak.bytes,
            live_bytes: thread.live_at_end.bytes,
            live_blocks: thread.live_at_end.blocks,
            temporary: thread.temporary.blocks,
        }
    }
}

fn histograms_object(profile: &AllocationProfile) -> impl Serialize {
    #[derive(Serialize)]
    struct Object {
        sizes: Vec<SizeObject>,
        lifetimes: Vec<LifetimeObject>,
        deepest_stack: u32,
    }
    #[derive(Serialize)]
    struct SizeObject {
        from_bytes: u64,
        to_bytes: u64,
        blocks: u64,
        bytes: u64,
    }
    #[derive(Serialize)]
    struct LifetimeObject {
        from_ns: u64,
        to_ns: u64,
        blocks: u64,
        bytes: u64,
    }
    let size = |row: PowerRow| SizeObject {
        from_bytes: row.from,
        to_bytes: row.to,
        blocks: row.amount.blocks,
        bytes: row.amount.bytes,
    };
    let lifetime = |row: PowerRow| LifetimeObject {
        from_ns: row.from,
        to_ns: row.to,
        blocks: row.amount.blocks,
        bytes: row.amount.bytes,
    };
    Object {
        sizes: distribution(&profile.sizes).into_iter().map(size).collect(),
        lifetimes: distribution(&profile.lifetimes)
            .into_iter()
            .map(lifetime)
            .collect(),
        deepest_stack: profile.deepest_stack(),
    }
}

#[derive(Serialize)]
struct NodeObject<'a> {
    depth: usize,
    kind: &'static str,
    function: &'a str,
    file: Option<&'a str>,
    line: Option<u32>,
    module: Option<&'a str>,
    #[serde(flatten)]
    figures: FiguresObject,
    omitted: usize,
}

impl<'a> NodeObject<'a> {
    fn new(view: &'a ProfileView<'a>, node: &CallNode) -> Self {
        let (kind, frame) = match node.label {
            CallLabel::Root => ("root", None),
            CallLabel::CutOff => ("cut_off", None),
            CallLabel::Frame(id) => ("frame", Some(view.frame(id))),
        };
        Self {
            depth: node.depth,
            kind,
            function: frame.map_or("", |frame| &frame.function),
            file: frame.and_then(|frame| frame.file.as_deref()),
            line: frame.and_then(|frame| frame.line),
            module: frame.and_then(|frame| frame.module.as_deref()),
            figures: FiguresObject::new(&node.inclusive),
            omitted: node.omitted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::sample_profile::sample_profile;
    use heapatlas_analysis::profile::{sites, top_down};

    fn json(has_everything: bool) -> String {
        let profile = sample_profile();
        let view = ProfileView::new(&profile);
        let all = sites(&view, Metric::Live);
        let tree = top_down(&view, Metric::Peak, 0.7);
        let mut out = Vec::new();
        let shown = ProfileSummary {
            view: &view,
            sites: &all.iter().collect::<Vec<_>>(),
            tree: has_everything.then_some(&tree),
            has_threads: has_everything,
            has_histograms: has_everything,
        };
        summary(&mut out, &shown).expect("memory takes everything");
        String::from_utf8(out).expect("JSON is text")
    }

    /// The contract, field by field and in order.
    #[test]
    fn the_contract() {
        let expected = concat!(
            r#"{"version":1,"format":"heaptrace","command":["./app","two words"],"pid":1234,"#,
            r#""duration_ns":2000000000,"totals":{"allocations":16,"frees":12,"bytes":12928},"#,
            r#""peak":{"bytes":12288,"blocks":6,"time_ns":1000000000},"#,
            r#""live_at_end":{"bytes":4096,"blocks":4},"temporary":{"allocations":10},"#,
            r#""truncated_stacks":1,"mode":"exact","sample_interval_bytes":0,"sites":["#,
            r#"{"function":"load","file":"app.c","line":20,"module":"/opt/app/app","allocations":4,"#,
            r#""bytes":4096,"peak_bytes":4096,"live_bytes":4096,"live_blocks":4,"temporary":0},"#,
            r#"{"function":"libz.so.1+0x50","file":null,"line":null,"module":"/usr/lib/libz.so.1","#,
            r#""allocations":2,"bytes":8192,"peak_bytes":8192,"live_bytes":0,"live_blocks":0,"temporary":0},"#,
            r#"{"function":"log","file":"app.c","line":30,"module":"/opt/app/app","allocations":10,"#,
            r#""bytes":640,"peak_bytes":0,"live_bytes":0,"live_blocks":0,"temporary":10}],"#,
            r#""marks":[{"time_ns":1500000000,"text":"loaded"}]}"#,
            "\n"
        );
        assert_eq!(json(false), expected);
    }

    #[test]
    fn what_is_asked_for_comes_after_it() {
        let all = json(true);
        assert!(
            all.starts_with(json(false).trim_end().trim_end_matches('}')),
            "{all}"
        );
        let rest = concat!(
            r#","threads":[{"id":1235,"name":"zip","allocations":2,"frees":2,"bytes":8192,"#,
            r#""peak_bytes":8192,"live_bytes":0,"live_blocks":0,"temporary":0},"#,
            r#"{"id":1234,"name":"app","allocations":14,"frees":10,"bytes":4736,"#,
            r#""peak_bytes":4096,"live_bytes":4096,"live_blocks":4,"temporary":10}],"sizes":["#,
            r#"{"from_bytes":64,"to_bytes":127,"blocks":10,"bytes":640}"#,
        );
        assert!(all.contains(rest), "{all}");
        let end = concat!(
            r#""lifetimes":[{"from_ns":256,"to_ns":511,"blocks":10,"bytes":0}],"deepest_stack":3,"tree":["#,
            r#"{"depth":0,"kind":"root","function":"","file":null,"line":null,"module":null,"#,
            r#""allocations":16,"bytes":12928,"peak_bytes":12288,"live_bytes":4096,"live_blocks":4,"#,
            r#""temporary":10,"omitted":3}]}"#,
            "\n"
        );
        assert!(all.ends_with(end), "{all}");
    }
}
