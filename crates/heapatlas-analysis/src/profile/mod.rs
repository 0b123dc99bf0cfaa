//! Answers about allocation profiles: sites, call trees, callers and callees, distributions,
//! the timeline.
//!
//! [`ProfileView`] has the `frames` of a profile named once; everything else asks it. Which frames are library code is decided
//! in `origin` and, for allocation wrappers of the program, in `wrappers`; [`Metric`] says by what rows are ranked and cut.

mod callers;
mod distributions;
mod frames;
mod metric;
mod origin;
mod origin_names;
mod sites;
mod subject;
mod timeline;
mod trees;
mod view;
mod wrappers;

#[cfg(test)]
mod test_profile;

pub use callers::{CallersAndCallees, Neighbor, StackThrough, callers_and_callees, stacks_through};
pub use distributions::{PowerRow, distribution, threads_by};
pub use frames::{CallFrame, FrameId};
pub use metric::Metric;
pub use origin::{Origin, origin};
pub use sites::{Site, mapping_sites, sites};
pub use subject::{Place, Subject, similar_places};
pub use timeline::live_over_time;
pub use trees::{CallLabel, CallNode, CallTree, bottom_up, by_function, top_down};
pub use view::ProfileView;
