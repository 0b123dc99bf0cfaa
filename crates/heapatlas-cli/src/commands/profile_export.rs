//! `export` of an allocation profile.

use std::io::{self, Write};

use heapatlas_analysis::profile::{
    CallLabel, CallTree, Metric, Origin, ProfileView, Site, by_function, sites,
};
use heapatlas_formats::flamegraph::{self, FlameFrame};
use heapatlas_formats::{dhat, folded};

use super::metric_name::MetricName;
use crate::render::csv::csv_field;
use crate::render::profile_json::{self, ProfileSummary};
use crate::render::text::shell_word;

/// What a profile can be written as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProfileFormat {
    Flamegraph,
    Folded,
    Dhat,
    Csv,
    Json,
}

/// Writes a profile.
///
/// # Errors
/// Those of the writer.
pub fn write(
    out: &mut dyn Write,
    view: &ProfileView<'_>,
    format: ProfileFormat,
    by: MetricName,
) -> io::Result<()> {
    match format {
        ProfileFormat::Flamegraph => {
            let tree = by_function(view, by.metric());
            flamegraph::write(
                &title(view, by),
                &flame_frames(view, &tree, by.metric()),
                out,
            )
        }
        ProfileFormat::Folded => {
            let tree = by_function(view, by.metric());
            folded::write(&flame_frames(view, &tree, by.metric()), out)
        }
        ProfileFormat::Dhat => dhat::write(view.profile(), out),
        ProfileFormat::Csv => write_csv(out, &sites(view, Metric::Live)),
        ProfileFormat::Json => {
            let sites = sites(view, Metric::Live);
            let summary = ProfileSummary {
                view,
                sites: &sites.iter().collect::<Vec<_>>(),
                tree: None,
                has_threads: false,
                has_histograms: false,
                most_mapping_sites: usize::MAX,
            };
            profile_json::summary(out, &summary)
        }
    }
}

fn title(view: &ProfileView<'_>, by: MetricName) -> String {
    let command = view.profile().command.iter().map(|word| shell_word(word));
    let command: Vec<String> = command.collect();
    let unit = if by.metric().counts_blocks() {
        "blocks"
    } else {
        "bytes"
    };
    let mut title = format!("{} ({unit}): {}", by.in_words(), command.join(" "));
    if title.chars().count() > 110 {
        title = title.chars().take(109).chain(['…']).collect();
    }
    title
}

/// The tree without its root; what has no stack at all is a frame of its own.
fn flame_frames<'a>(
    view: &'a ProfileView<'a>,
    tree: &CallTree,
    metric: Metric,
) -> Vec<FlameFrame<'a>> {
    let mut frames = Vec::with_capacity(tree.nodes.len());
    for node in &tree.nodes {
        let (name, figures, is_library) = match node.label {
            CallLabel::Root => ("(no stack)", &node.own, true),
            CallLabel::CutOff => ("(outer frames are missing)", &node.inclusive, true),
            CallLabel::Frame(id) => {
                let is_library = view.origin(id) != Origin::Program;
                (
                    view.frame(id).function.as_str(),
                    &node.inclusive,
                    is_library,
                )
            }
        };
        let amount = metric.amount(figures);
        if metric.weight(figures) > 0 {
            frames.push(FlameFrame {
                depth: node.depth.max(1),
                name,
                inclusive: metric.weight(figures),
                own: metric.weight(&node.own),
                bytes: amount.bytes,
                blocks: amount.blocks,
                is_library,
            });
        }
    }
    frames
}

/// RFC 4180, as for classes.
fn write_csv(out: &mut dyn Write, sites: &[Site]) -> io::Result<()> {
    write!(
        out,
        "function,file,line,module,allocations,bytes,peak_bytes,live_bytes,live_blocks,temporary\r\n"
    )?;
    for site in sites {
        let frame = site.frame.as_ref();
        let text = |text: Option<&String>| csv_field(text.map_or("", String::as_str));
        let line = frame
            .and_then(|frame| frame.line)
            .map(|line| line.to_string());
        let figures = &site.figures;
        write!(
            out,
            "{},{},{},{},{},{},{},{},{},{}\r\n",
            csv_field(site.function()),
            text(frame.and_then(|frame| frame.file.as_ref())),
            line.unwrap_or_default(),
            text(frame.and_then(|frame| frame.module.as_ref())),
            figures.total.blocks,
            figures.total.bytes,
            figures.peak.bytes,
            figures.live_at_end.bytes,
            figures.live_at_end.blocks,
            figures.temporary.blocks,
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::sample_profile::sample_profile;
    use heapatlas_model::{Amount, StackFigures, StackTable};

    fn written(format: ProfileFormat, by: MetricName) -> String {
        let mut profile = sample_profile();
        profile.figures[StackTable::EMPTY.index()] = StackFigures {
            peak: Amount {
                bytes: 5,
                blocks: 1,
            },
            ..StackFigures::default()
        };
        let mut out = Vec::new();
        let view = ProfileView::new(&profile);
        write(&mut out, &view, format, by).expect("memory takes everything");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn folded_stacks() {
        let folded = |by| written(ProfileFormat::Folded, by);
        assert_eq!(
            folded(MetricName::Peak),
            "(no stack) 5\n\
             main;libz.so.1+0x50 8192\n\
             main;load;malloc 3072\n\
             (outer frames are missing);load;malloc 1024\n"
        );
        let inlined = "main;log;std::string::string<>(char const*) 10\n";
        assert_eq!(folded(MetricName::Temporary), inlined);
        assert!(folded(MetricName::Allocations).contains(inlined));
        assert!(
            folded(MetricName::Total).contains("main;log;std::string::string<>(char const*) 640\n")
        );
        assert!(folded(MetricName::Live).starts_with("main;load;malloc 3072\n"));
    }

    #[test]
    fn sites_as_csv() {
        let csv = written(ProfileFormat::Csv, MetricName::Peak);
        let lines: Vec<&str> = csv.split("\r\n").collect();
        assert_eq!(lines[1], "load,app.c,20,/opt/app/app,4,4096,4096,4096,4,0");
        assert_eq!(lines[2], ",,,,0,0,5,0,0,0");
        assert_eq!(
            lines[3],
            "libz.so.1+0x50,,,/usr/lib/libz.so.1,2,8192,8192,0,0,0"
        );
    }

    #[test]
    fn flame_graphs_say_what_they_are_about() {
        let svg = written(ProfileFormat::Flamegraph, MetricName::Temporary);
        let title = "<title>temporary allocations (blocks): ./app 'two words'</title>";
        assert!(svg.contains(title), "{svg}");
        assert!(
            svg.contains("<title>log: 640 B, 10 blocks, 100.00 %</title>"),
            "{svg}"
        );
    }
}
