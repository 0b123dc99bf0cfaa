//! The verbs that need the recorder, where there is none.

use std::ffi::OsString;

use anyhow::anyhow;

use crate::exit::Hint;

/// Why the verb does nothing.
fn refusal() -> anyhow::Error {
    anyhow!("recording needs Linux on x86-64 with glibc").hint([
        "record there; `heapatlas summary`, `show` and `export` read the trace on this system, too",
    ])
}

/// `record`.
pub mod record {
    use super::{OsString, refusal};
    use crate::console::Console;
    use crate::exit::Outcome;

    /// Record the allocations of a program (on Linux, x86-64, with glibc)
    #[derive(Debug, clap::Args)]
    #[command(after_help = "\
Examples, where there is a recorder:
  heapatlas record -- ./server --port 8080
  heapatlas record -o server.%p.heaptrace -- ./server")]
    pub struct Args {
        /// Whatever `record` takes elsewhere
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<OsString>,
    }

    /// # Errors
    /// Always.
    pub fn run(_: Args, _: &Console) -> anyhow::Result<Outcome> {
        Err(refusal())
    }
}

/// `demo`.
pub mod demo {
    use super::{OsString, refusal};
    use crate::console::Console;
    use crate::exit::Outcome;

    /// Record a leaking program that is part of heapatlas (on Linux, x86-64, with glibc)
    #[derive(Debug, clap::Args)]
    #[command(after_help = "\
Examples, where there is a recorder:
  heapatlas demo
  heapatlas demo --keep demo.heaptrace")]
    pub struct Args {
        /// Whatever `demo` takes elsewhere
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<OsString>,
    }

    /// # Errors
    /// Always.
    pub fn run(_: Args, _: &Console) -> anyhow::Result<Outcome> {
        Err(refusal())
    }
}
