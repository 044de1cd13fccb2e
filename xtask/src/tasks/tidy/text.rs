use std::{
    fs,
    path::{Component, Path},
};

use anyhow::Context as _;

use crate::tasks::tidy::{Tree, Violation};

/// Folders that hold no source text of ours.
const SKIPPED_FOLDERS: &[&str] = &[".git", ".tools", "target"];

/// Files that no rule applies to: what cargo writes, and this list of what is not wanted.
const SKIPPED_FILES: &[&str] = &["Cargo.lock", "xtask/src/tasks/tidy/text.rs"];

/// What paces the load of a test, and is waited with for nothing.
const PACE: &str = "tests/src/pace.rs";

/// Where symbols are: the lines whose wording is a contract, and their tests.
const HOLDS_SYMBOLS: &str = "bin/99_shared_crates/narration-core";

/// Folders and files that keep what git keeps better.
const ARCHIVES: &[&str] = &["archive", "archived", "attic", "backup", "deprecated", "old"];
const ARCHIVED_ENDINGS: &[&str] = &[".bak", ".orig", ".rej", "~", "_old.rs"];

/// What a line must not hold, where, and what to do instead.
const UNWANTED: &[Unwanted] = &[
    unwanted("#[ignore", Where::Rust, "an ignored test: make it run, or delete it"),
    unwanted("thread::sleep(", Where::Tests, "a sleep in a test: wait for an event"),
    // A fixed wait; in paused time it takes none. Shorter ones pace a load or a poll.
    unwanted(
        "time::sleep(Duration::from_secs(",
        Where::UnpausedTests,
        "a sleep in a test: wait for an event",
    ),
    unwanted("todo!(", Where::Rust, "unfinished: write it"),
    unwanted("unimplemented!(", Where::Rust, "unfinished: write it"),
    unwanted("TODO", Where::Code, "unfinished: do it, or open an issue"),
    unwanted("FIXME", Where::Code, "unfinished: do it, or open an issue"),
    unwanted("@author", Where::Anywhere, "git keeps the authors"),
    unwanted("Author:", Where::Code, "git keeps the authors"),
    unwanted("Created by:", Where::Anywhere, "git keeps the authors"),
    unwanted("Modified by:", Where::Anywhere, "git keeps the authors"),
    unwanted("Co-authored-by", Where::Anywhere, "git keeps the authors"),
    unwanted("pkill", Where::Code, "processes are ended by their id, never by name"),
    unwanted("killall", Where::Code, "processes are ended by their id, never by name"),
    unwanted("crates.io", Where::Anywhere, "names a registry's host"),
    unwanted("pypi.org", Where::Anywhere, "names a registry's host"),
    unwanted("pythonhosted", Where::Anywhere, "names a registry's host"),
    unwanted("npmjs.", Where::Anywhere, "names a registry's host"),
    unwanted("deb.debian.org", Where::Anywhere, "names a registry's host"),
    unwanted("\"/root/", Where::Code, "a path of one machine"),
    unwanted("\"/home/", Where::Code, "a path of one machine"),
    unwanted("\"/Users/", Where::Code, "a path of one machine"),
];

struct Unwanted {
    text: &'static str,
    where_: Where,
    message: &'static str,
}

const fn unwanted(text: &'static str, where_: Where, message: &'static str) -> Unwanted {
    Unwanted { text, where_, message }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Where {
    Anywhere,
    /// Everything but prose.
    Code,
    Rust,
    /// Rust in a folder `tests`.
    Tests,
    /// As before, in a file without a test in paused time.
    UnpausedTests,
}

pub(super) fn check(tree: &Tree) -> anyhow::Result<Vec<Violation>> {
    let mut violations = Vec::new();
    walk(&tree.root, Path::new(""), &mut violations)?;
    Ok(violations)
}

fn walk(root: &Path, folder: &Path, violations: &mut Vec<Violation>) -> anyhow::Result<()> {
    let here = root.join(folder);
    let entries =
        fs::read_dir(&here).with_context(|| format!("cannot list `{}`", here.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot list `{}`", here.display()))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let path = folder.join(&*name);
        if entry.file_type()?.is_dir() {
            if SKIPPED_FOLDERS.contains(&&*name) {
                continue;
            }
            if ARCHIVES.contains(&&*name) {
                violations.push(Violation::new(&path, "an archive: git keeps what was"));
            }
            walk(root, &path, violations)?;
        } else if !SKIPPED_FILES.iter().any(|skipped| Path::new(skipped) == path) {
            if ARCHIVED_ENDINGS.iter().any(|ending| name.ends_with(ending)) {
                violations.push(Violation::new(&path, "an old version: git keeps what was"));
            }
            file(root, &path, violations)?;
        }
    }
    Ok(())
}

fn file(root: &Path, path: &Path, violations: &mut Vec<Violation>) -> anyhow::Result<()> {
    let full = root.join(path);
    let bytes = fs::read(&full).with_context(|| format!("cannot read `{}`", full.display()))?;
    // Models and images are no text.
    let Ok(text) = String::from_utf8(bytes) else { return Ok(()) };
    let is_prose = path.extension().is_some_and(|extension| extension == "md");
    let is_rust = path.extension().is_some_and(|extension| extension == "rs");
    let is_test = is_rust
        && path != Path::new(PACE)
        && path.components().any(|part| part == Component::Normal("tests".as_ref()));
    let is_paused = text.contains("start_paused") || text.contains("time::pause(");
    let may_hold_symbols = path.starts_with(HOLDS_SYMBOLS) || is_prose;
    let of_this_machine = format!("{}/", root.display());
    for (number, line) in (1..).zip(text.lines()) {
        let mut add = |message: &str| violations.push(Violation::at(path, number, message));
        if !may_hold_symbols && let Some(symbol) = line.chars().find(|c| !c.is_ascii()) {
            add(&format!("`{}` is not plain text", symbol.escape_unicode()));
        }
        for unwanted in UNWANTED {
            let applies = match unwanted.where_ {
                Where::Anywhere => true,
                Where::Code => !is_prose,
                Where::Rust => is_rust,
                Where::Tests => is_test,
                Where::UnpausedTests => is_test && !is_paused,
            };
            if applies && line.contains(unwanted.text) {
                add(unwanted.message);
            }
        }
        if names_a_team(line) {
            add("a helper's tag: git keeps the authors");
        }
        if line.contains(&of_this_machine) {
            add("a path of this machine");
        }
    }
    Ok(())
}

/// Whether the line holds `TEAM-` and a number.
fn names_a_team(line: &str) -> bool {
    const TAG: &str = "TEAM-";
    line.match_indices(TAG)
        .any(|(at, _)| line[at + TAG.len()..].starts_with(|next: char| next.is_ascii_digit()))
}
