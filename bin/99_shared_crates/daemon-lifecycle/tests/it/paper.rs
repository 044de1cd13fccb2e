//! The paper on the hand-over, and what the code does.

use std::{collections::BTreeSet, fs, path::Path};

use crate::world::World;

fn paper() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../docs/handover.md");
    fs::read_to_string(path).unwrap()
}

/// What stands in the first column of the table between two marks.
fn drawn(mark: &str) -> BTreeSet<String> {
    let paper = paper();
    let table = paper.split(mark).nth(1).unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| row.split('`').nth(1).unwrap().to_owned()).collect()
}

fn steps_in(dir: &Path, steps: &mut BTreeSet<String>) {
    for entry in fs::read_dir(dir).unwrap().flatten() {
        if entry.path().is_dir() {
            steps_in(&entry.path(), steps);
            continue;
        }
        let source = fs::read_to_string(entry.path()).unwrap();
        for call in source.split("edge::passed(\"").skip(1) {
            steps.insert(call.split('"').next().unwrap().to_owned());
        }
    }
}

/// Every change of phase that a process of this world went through is in the paper's table.
pub(crate) fn assert_transitions_are_drawn(world: &World) {
    let paper = paper();
    let phases = fs::read_to_string(world.dir().join("phases")).unwrap();
    for line in phases.lines() {
        // A process that was killed may have written half a line.
        let Some((party, row)) = line.split_once(' ').filter(|(_, row)| row.ends_with('|')) else {
            continue;
        };
        assert!(paper.contains(row), "{party}: {row}");
    }
    assert!(!phases.is_empty());
}

#[test]
fn the_steps_in_the_paper_are_those_in_the_code() {
    let mut steps = BTreeSet::new();
    steps_in(concat!(env!("CARGO_MANIFEST_DIR"), "/src").as_ref(), &mut steps);
    assert_eq!(drawn("<!-- steps -->"), steps);
}
