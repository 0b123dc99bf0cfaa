//! Every file that a fuzz target once failed on, read in all the ways the targets do.

mod common;

use common::{check_readers_agree, files_in, fixtures, read, salvage, write};

#[test]
fn findings_stay_fixed() {
    let findings = files_in(&fixtures().join("fuzz"), "heapsnapshot");
    assert!(!findings.is_empty(), "the folder is where it should be");
    for (name, bytes) in findings {
        check_readers_agree(&bytes);
        if let Ok(strict) = read(&bytes) {
            assert!(strict.warnings.iter().all(|w| !w.is_loss), "{name}");
            assert!(salvage(&bytes).unwrap().graph == strict.graph, "{name}");
        }
        if let Ok(salvaged) = salvage(&bytes) {
            let written = write(&salvaged.graph);
            assert!(read(&written).unwrap().graph == salvaged.graph, "{name}");
        }
    }
}
