//! `show` of an allocation profile: a function, a line or an address, and who calls it.

use anyhow::anyhow;
use heapatlas_analysis::profile::{
    Place, ProfileView, Subject, callers_and_callees, similar_places,
};

use super::metric_name::MetricName;
use super::row_choice::{limit, limit_or};
use crate::console::Console;
use crate::exit::{Hint, Outcome};
use crate::input::OpenedFile;
use crate::options::given;
use crate::profile_input::PartArgs;
use crate::render::profile_show_json;
use crate::render::profile_show_text::ShownPlaceText;
use crate::render::profile_text::ProfileText;
use crate::render::shown_place::ShownPlace;
use crate::render::text::{Paint, printable};
use crate::time_point::TimePoint;

/// Stacks in text when nobody said how many: they are long.
const DEFAULT_TEXT_STACKS: usize = 3;

/// What makes sense for allocation profiles alone.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Options for allocation profiles")]
pub struct ProfileShowArgs {
    /// By what callers, callees and stacks are ranked [default: peak; total where nothing was live then]
    #[arg(long, value_name = "METRIC")]
    by: Option<MetricName>,
    #[command(flatten)]
    part: PartArgs,
    /// Only what happened before this time or mark
    #[arg(long, value_name = "TIME", value_parser = TimePoint::parse)]
    to: Option<TimePoint>,
}

impl ProfileShowArgs {
    /// The options that were given.
    pub fn given(&self) -> Vec<&'static str> {
        let own = given(&[(self.by.is_some(), "--by"), (self.to.is_some(), "--to")]);
        own.into_iter().chain(self.part.given()).collect()
    }
}

/// Reads a profile and shows a place in it.
pub fn run(
    file: OpenedFile,
    what: &str,
    args: &ProfileShowArgs,
    top: Option<usize>,
    console: &Console,
) -> anyhow::Result<Outcome> {
    let profile = file.into_profile(&args.part.up_to(args.to.as_ref()), console)?;
    let view = console.measure("name", || ProfileView::new(&profile));
    let place = Place::parse(what);
    let subject = find(&view, what, &place)?;
    let shown = console.measure("callers", || {
        let by = args.by.unwrap_or_else(|| best_metric(&view, &subject));
        ShownPlace::new(&view, what, subject, (by.metric(), by.in_words()))
    });
    let rows = limit(top, console);
    console.print(|out| {
        if console.is_json {
            return profile_show_json::place(out, &shown, rows);
        }
        let text = ProfileText {
            view: &view,
            paint: Paint {
                is_on: console.has_colors,
            },
            width: console.width(),
            is_unicode: console.is_unicode(),
        };
        let text = ShownPlaceText {
            text,
            shown: &shown,
        };
        text.write(out, rows, limit_or(top, DEFAULT_TEXT_STACKS, console))
    })?;
    Ok(Outcome::Fine)
}

/// The frames of a place. What looks like a line and is none may be a part of a function's name.
fn find(view: &ProfileView<'_>, what: &str, place: &Place) -> anyhow::Result<Subject> {
    let as_name = || Subject::find(view, &Place::Function(what.to_owned()));
    Subject::find(view, place)
        .or_else(as_name)
        .ok_or_else(|| not_found(view, what, place))
}

fn not_found(view: &ProfileView<'_>, what: &str, place: &Place) -> anyhow::Error {
    let kind = match place {
        Place::Function(_) => "function has a name with",
        Place::Line { .. } => "frame is at",
        Place::Address(_) => "frame has the address",
    };
    let near = similar_places(view, place);
    let near: Vec<String> = near
        .iter()
        .map(|name| format!("`{}`", printable(name)))
        .collect();
    let hint = if near.is_empty() {
        "`heapatlas summary FILE --tree top-down` shows what there is".to_owned()
    } else {
        format!("there are: {}", near.join(", "))
    };
    let what = printable(what);
    anyhow!("in no stack of this profile a {kind} `{what}`").hint([hint])
}

/// At the peak, unless nothing was live then.
fn best_metric(view: &ProfileView<'_>, subject: &Subject) -> MetricName {
    let by = MetricName::Peak;
    let inclusive = callers_and_callees(view, subject, by.metric()).inclusive;
    match by.metric().weight(&inclusive) {
        0 => MetricName::Total,
        _ => by,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::sample_profile::sample_profile;

    #[test]
    fn ranked_by_what_says_something() {
        let profile = sample_profile();
        let view = ProfileView::new(&profile);
        let metric = |what: &str| {
            let subject = find(&view, what, &Place::parse(what)).expect("it is there");
            best_metric(&view, &subject)
        };
        assert_eq!(metric("load"), MetricName::Peak);
        assert_eq!(metric("log"), MetricName::Total);
    }

    #[test]
    fn what_is_not_there() {
        let profile = sample_profile();
        let view = ProfileView::new(&profile);
        let error = |what: &str| {
            let error = find(&view, what, &Place::parse(what)).expect_err("it is not there");
            format!("{error:#}")
        };
        assert_eq!(
            error("laod_all"),
            "in no stack of this profile a function has a name with `laod_all`"
        );
        assert_eq!(
            error("app.c:21"),
            "in no stack of this profile a frame is at `app.c:21`"
        );
    }
}
