//! Answers as text for people ([`text`], [`profile_text`], [`chart`]) and as JSON for programs
//! ([`json`], [`profile_json`]); [`profile_mappings`] is a part of both; fields of tables for other tools ([`csv`]).

pub mod chart;
pub mod csv;
pub mod json;
pub mod profile_json;
pub mod profile_mappings;
pub mod profile_text;
pub mod text;
