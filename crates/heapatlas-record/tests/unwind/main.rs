//! The unwinder in a real process: every capture against a full walk and against glibc's own.

mod c_calls;
mod calls;
mod limits;
mod probe;
