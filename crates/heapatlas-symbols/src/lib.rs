//! From addresses to functions, files and lines.

#![warn(missing_docs)]
