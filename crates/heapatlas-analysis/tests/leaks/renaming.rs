//! What classes and properties are called changes nothing but the names.

use heapatlas_analysis::{PathStep, Suspect};

use super::generated::{ALL, leaks, same_name, series};

const MARK: &str = "q9_";

fn other_name(name: &str) -> String {
    format!("{MARK}{}", name.chars().rev().collect::<String>())
}

fn one_letter(_: &str) -> String {
    "a".to_owned()
}

/// All but the names.
fn facts(suspect: &Suspect) -> impl PartialEq + std::fmt::Debug + use<> {
    (
        suspect.kind,
        suspect.detector,
        suspect.growth.clone(),
        suspect.retained_bytes,
        suspect.path.len(),
        suspect.holder_id,
    )
}

fn is_step_renamed(step: &PathStep) -> bool {
    let is_of_program = |text: &str| text.contains(MARK);
    is_of_program(&step.node) || step.edge.as_deref().is_some_and(is_of_program)
}

#[test]
fn names_change_nothing() {
    for (row, work) in ALL.into_iter().enumerate() {
        let plain = leaks(&series(same_name, work));
        let renamed = leaks(&series(other_name, work));
        let of = |suspects: &[Suspect]| suspects.iter().map(facts).collect::<Vec<_>>();
        assert_eq!(of(&plain), of(&renamed), "the leak in row {row}");
        assert!(renamed[0].path.iter().any(is_step_renamed), "row {row}");
    }
}

/// A minifier may call every class of a program the same; properties keep their names.
#[test]
fn classes_of_one_name() {
    fn minified(name: &str) -> String {
        if name.starts_with(char::is_uppercase) {
            one_letter(name)
        } else {
            name.to_owned()
        }
    }
    // What holds a tree is then taken for a part of it, so the counts may be one too high.
    let growth = |suspects: &[Suspect]| {
        let steps = suspects.iter().flat_map(|one| one.growth.windows(2));
        let grown = steps.map(|pair| pair[1].count - pair[0].count);
        grown.collect::<Vec<_>>()
    };
    for (row, work) in ALL.into_iter().enumerate() {
        let plain = leaks(&series(same_name, work));
        let renamed = leaks(&series(minified, work));
        assert_eq!(growth(&plain), growth(&renamed), "the leak in row {row}");
    }
}
