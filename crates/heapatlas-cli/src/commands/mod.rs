//! One file a verb, each with its `Args` and `run`.

pub mod compare;
pub mod completions;
#[cfg(has_recorder)]
pub mod demo;
pub mod details;
pub mod export;
pub mod help;
pub mod leaks;
pub mod man;
mod metric_name;
#[cfg(not(has_recorder))]
mod no_recorder;
#[cfg(has_recorder)]
mod process_table;
mod profile_export;
mod profile_show;
mod profile_summary;
mod profile_thresholds;
#[cfg(has_recorder)]
pub mod record;
#[cfg(has_recorder)]
mod record_pid;
pub mod row_choice;
#[cfg(test)]
pub mod sample_profile;
pub mod show;
pub mod summary;
mod thresholds;

#[cfg(not(has_recorder))]
pub use no_recorder::{demo, record};
