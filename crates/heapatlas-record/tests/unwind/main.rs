//! The unwinder in a real process: every capture against a full walk and against glibc's own.
#![cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]

mod c_calls;
mod calls;
mod limits;
mod probe;
