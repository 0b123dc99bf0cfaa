//! Answers as text for people ([`text`], [`profile_text`], [`chart`]) and as JSON for programs
//! ([`json`], [`profile_json`]), of a place in a profile ([`shown_place`], [`profile_show_text`],
//! [`profile_show_json`]); what was counted without stacks as both ([`counts`]); fields of tables for other tools
//! ([`csv`]).

pub mod chart;
#[cfg(has_recorder)]
pub mod counts;
pub mod csv;
pub mod json;
pub mod profile_json;
pub mod profile_show_json;
pub mod profile_show_text;
pub mod profile_text;
pub mod shown_place;
pub mod text;
