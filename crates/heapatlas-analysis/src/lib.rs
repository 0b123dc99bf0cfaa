//! Analysis of heap graphs.
