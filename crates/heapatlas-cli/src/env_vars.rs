//! Every environment variable that heapatlas listens to, each with its documentation: help and man
//! page are made from this list.

/// An environment variable.
pub struct EnvVar {
    /// Its name.
    pub name: &'static str,
    /// What it does, as help shows it.
    pub purpose: &'static str,
}

/// See <https://no-color.org>.
pub const NO_COLOR: EnvVar = EnvVar {
    name: "NO_COLOR",
    purpose: "when set to anything but nothing, text has no colors unless `--color always` is given",
};

/// Read by [`crate::timing`].
pub const TIMINGS: EnvVar = EnvVar {
    name: "HEAPATLAS_TIMINGS",
    purpose: "when 1, prints processor and wall time of each phase on stderr",
};

/// Read by rayon itself; here because people look for it.
pub const THREADS: EnvVar = EnvVar {
    name: "RAYON_NUM_THREADS",
    purpose: "how many threads to use; all cores by default",
};

/// The first of these that is set names the character set of the terminal.
pub const LOCALES: [&str; 3] = ["LC_ALL", "LC_CTYPE", "LANG"];

/// The last of [`LOCALES`], which stands for all of them.
pub const LOCALE: EnvVar = EnvVar {
    name: LOCALES[2],
    purpose: "as LC_ALL and LC_CTYPE: when it names another character set than UTF-8, charts are \
              drawn in ASCII",
};

/// All of them.
pub const ALL: [EnvVar; 4] = [NO_COLOR, TIMINGS, THREADS, LOCALE];
