//! The unwinder in a real process: every capture against a full walk and against glibc's own.

mod calls;
mod probe;
