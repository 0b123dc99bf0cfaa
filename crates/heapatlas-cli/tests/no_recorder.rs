//! Where there is no recorder the verbs that need it say so; all others work.
#![cfg(not(has_recorder))]

mod harness;

use harness::run;

#[test]
fn recording_is_refused() {
    for arguments in [
        &["record", "--", "program"][..],
        &["record", "--mode", "aggregate", "-o", "x", "--", "program"],
        &["demo"],
        &["demo", "--keep", "x"],
    ] {
        let answer = run(arguments);
        assert_eq!(
            answer.error(),
            "error: recording needs Linux on x86-64 with glibc"
        );
        assert!(
            answer.stderr.contains("\nhint: record there"),
            "{arguments:?}"
        );
    }
}
