//! What `show` shows of an allocation profile.

use heapatlas_analysis::profile::{
    CallersAndCallees, Metric, ProfileView, StackThrough, Subject, callers_and_callees,
    stacks_through,
};

/// What a profile says of a place.
pub struct ShownPlace<'a> {
    /// The profile.
    pub view: &'a ProfileView<'a>,
    /// As it was asked for.
    pub what: &'a str,
    /// The frames that this stands for.
    pub subject: Subject,
    /// Its figures and neighbors.
    pub found: CallersAndCallees,
    /// Largest first.
    pub stacks: Vec<StackThrough>,
    /// By what they are ranked.
    pub metric: Metric,
    /// The same in words.
    pub ranked_by: &'static str,
}

impl<'a> ShownPlace<'a> {
    /// Looks everything up.
    pub fn new(
        view: &'a ProfileView<'a>,
        what: &'a str,
        subject: Subject,
        (metric, ranked_by): (Metric, &'static str),
    ) -> Self {
        Self {
            view,
            what,
            found: callers_and_callees(view, &subject, metric),
            stacks: stacks_through(view, &subject, metric),
            subject,
            metric,
            ranked_by,
        }
    }
}
