//! Answers as text for people ([`text`]) and as JSON for programs ([`json`]).

pub mod json;
pub mod text;
