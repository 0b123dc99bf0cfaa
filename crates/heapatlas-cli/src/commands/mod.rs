//! One file a verb, each with its `Args` and `run`.

pub mod compare;
pub mod completions;
pub mod details;
pub mod export;
pub mod help;
pub mod leaks;
pub mod man;
mod row_choice;
pub mod show;
pub mod summary;
mod thresholds;
