//! `summary` of an allocation profile: what, where, how bad.

use std::io::{self, Write};
use std::ops::Range;
use std::path::Path;

use clap::ValueEnum;
use heapatlas_analysis::profile::{
    CallTree, Metric, ProfileView, Site, bottom_up, sites, top_down,
};
use heapatlas_model::AllocationProfile;

use super::metric_name::MetricName;
use super::profile_thresholds::ProfileThreshold;
use super::row_choice::{RowArgs, limit_or};
use crate::console::Console;
use crate::exit::Outcome;
use crate::input::{self, OpenedFile};
use crate::options::given;
use crate::profile_input::PartArgs;
use crate::render::profile_json::{self, ProfileSummary};
use crate::render::profile_text::ProfileText;
use crate::render::text::Paint;
use crate::time_point::TimePoint;

/// Sites by each metric in text when nobody said how many: what fits a screen with the rest.
const DEFAULT_TEXT_SITES: usize = 5;

/// Calls with a smaller share of the whole are left out of trees.
const LEAST_SHARE_IN_TREES: f64 = 0.01;

/// What makes sense for allocation profiles alone.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Options for allocation profiles")]
pub struct ProfileArgs {
    /// Show the calls that led to allocations: from the program's start down, or from the
    /// allocating lines up to their callers. Calls below 1 % are left out
    #[arg(long, value_name = "DIRECTION")]
    tree: Option<Direction>,
    /// What trees are about [default: peak]
    #[arg(long, value_name = "METRIC", requires = "tree")]
    by: Option<MetricName>,
    /// Show each thread
    #[arg(long)]
    threads: bool,
    /// Show how sizes and lifetimes of blocks are distributed
    #[arg(long)]
    histogram: bool,
    #[command(flatten)]
    part: PartArgs,
    /// Only what happened before this time or mark; what was freed later is live at the end
    #[arg(long, value_name = "TIME", value_parser = TimePoint::parse)]
    to: Option<TimePoint>,
    /// Exit with 1 when there is more: live=SIZE, peak=SIZE, allocations=N, temporary=N. Repeatable
    #[arg(long, value_name = "WHAT=MOST", value_parser = ProfileThreshold::parse)]
    fail_on: Vec<ProfileThreshold>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Direction {
    TopDown,
    BottomUp,
}

impl ProfileArgs {
    /// The options that were given.
    pub fn given(&self) -> Vec<&'static str> {
        given(&[
            (self.tree.is_some(), "--tree"),
            (self.threads, "--threads"),
            (self.histogram, "--histogram"),
            (self.to.is_some(), "--to"),
            (!self.fail_on.is_empty(), "--fail-on"),
        ])
        .into_iter()
        .chain(self.part.given())
        .collect()
    }

    fn metric_name(&self) -> MetricName {
        self.by.unwrap_or_default()
    }
}

/// Shows what a recording says that was made just now.
pub fn of_trace(trace: &Path, console: &Console) -> anyhow::Result<()> {
    let file = input::open_any(trace, console)?;
    run(file, &ProfileArgs::default(), &RowArgs::default(), console)?;
    Ok(())
}

/// Reads a profile and shows it.
pub fn run(
    file: OpenedFile,
    args: &ProfileArgs,
    rows: &RowArgs,
    console: &Console,
) -> anyhow::Result<Outcome> {
    let part = args.part.up_to(args.to.as_ref());
    let profile = file.into_profile(&part, console)?;
    let range = shown_time(part.range(&profile.marks)?, &profile);
    warn_of_losses(&profile, console);
    let view = console.measure("name", || ProfileView::new(&profile));
    let answer = console.measure("sites", || Answer::new(&view, args, rows));
    let limit = limit_or(rows.top, DEFAULT_TEXT_SITES, console);
    console.print(|out| {
        if console.is_json {
            return answer.json(out, args, limit);
        }
        let text = ProfileText {
            view: &view,
            paint: Paint {
                is_on: console.has_colors,
            },
            width: console.width(),
            is_unicode: console.is_unicode(),
        };
        answer.text(out, &text, args, range.clone(), limit)
    })?;
    Ok(check(&args.fail_on, &profile, console))
}

/// The part of the time that a chart shows.
fn shown_time(part: (Option<u64>, Option<u64>), profile: &AllocationProfile) -> Range<u64> {
    let end = profile.duration_ns;
    let to = part.1.map_or(end, |to| to.min(end));
    part.0.unwrap_or(0).min(to)..to
}

fn warn_of_losses(profile: &AllocationProfile, console: &Console) {
    if profile.dropped_events > 0 {
        console.warn(&format!(
            "the recorder had to drop {} events: all figures may be wrong by so many",
            profile.dropped_events
        ));
    }
    if profile.truncated_stacks > 0 {
        console.remark(&format!(
            "the stacks of {} of {} allocations are cut off: their outermost frames are missing",
            profile.truncated_stacks, profile.total.blocks
        ));
    }
}

fn check(
    thresholds: &[ProfileThreshold],
    profile: &AllocationProfile,
    console: &Console,
) -> Outcome {
    let mut outcome = Outcome::Fine;
    for message in thresholds
        .iter()
        .filter_map(|threshold| threshold.check(profile))
    {
        console.fail(&message);
        outcome = Outcome::CheckFailed;
    }
    outcome
}

/// What was found out about a profile, before it is shown.
struct Answer<'a> {
    view: &'a ProfileView<'a>,
    /// Most bytes live at the end first.
    sites: Vec<Site>,
    /// Which of them `--filter` leaves.
    is_wanted: Vec<bool>,
    tree: Option<CallTree>,
}

impl<'a> Answer<'a> {
    fn new(view: &'a ProfileView<'a>, args: &ProfileArgs, rows: &RowArgs) -> Self {
        let metric = args.metric_name().metric();
        let sites = sites(view, Metric::Live);
        Self {
            view,
            is_wanted: sites
                .iter()
                .map(|site| rows.wants(site.function()))
                .collect(),
            sites,
            tree: args.tree.map(|direction| match direction {
                Direction::TopDown => top_down(view, metric, LEAST_SHARE_IN_TREES),
                Direction::BottomUp => bottom_up(view, metric, LEAST_SHARE_IN_TREES),
            }),
        }
    }

    /// Largest first; what is equal stays in the order of what lives.
    fn sites_by(&self, metric: Metric) -> Vec<&Site> {
        let pairs = self.sites.iter().zip(&self.is_wanted);
        let mut sites: Vec<&Site> = pairs.filter(|pair| *pair.1).map(|(site, _)| site).collect();
        sites.sort_by_key(|site| std::cmp::Reverse(metric.weight(&site.figures)));
        sites
    }

    fn json(&self, out: &mut dyn Write, args: &ProfileArgs, limit: usize) -> io::Result<()> {
        let sites = self.sites_by(Metric::Live);
        let summary = ProfileSummary {
            view: self.view,
            sites: &sites[..sites.len().min(limit)],
            tree: self.tree.as_ref(),
            has_threads: args.threads,
            has_histograms: args.histogram,
            most_mapping_sites: limit,
        };
        profile_json::summary(out, &summary)
    }

    fn text(
        &self,
        out: &mut dyn Write,
        text: &ProfileText<'_>,
        args: &ProfileArgs,
        range: Range<u64>,
        limit: usize,
    ) -> io::Result<()> {
        text.heading(out)?;
        text.chart(out, range)?;
        text.marks(out, limit)?;
        for metric in [Metric::Live, Metric::Peak, Metric::Temporary] {
            text.sites(out, metric, &self.sites_by(metric), limit)?;
        }
        text.mappings(out, limit)?;
        if let (Some(tree), Some(direction)) = (&self.tree, args.tree) {
            let heading = format!(
                "{}, {}",
                direction.in_words(),
                args.metric_name().in_words()
            );
            text.tree(out, &heading, args.metric_name().metric(), tree)?;
        }
        if args.threads {
            text.threads(out)?;
        }
        if args.histogram {
            text.histograms(out)?;
        }
        text.hint(out)
    }
}

impl Direction {
    fn in_words(self) -> &'static str {
        match self {
            Self::TopDown => "calls from the program's start down",
            Self::BottomUp => "allocating lines, below each its callers",
        }
    }
}
