//! The models heapatlas reasons about.
