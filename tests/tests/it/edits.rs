use std::{fs, time::Duration};

use chain_tests::{Chain, Process, post};
use serde_json::{Value, json};

const NARRATION: &str = "bin/99_shared_crates/narration-core/src/lib.rs";
const HIVE: &str = "bin/20_rbee_hive/src/devices.rs";
const LEVELS: [&str; 4] = ["rbee-keeper", "queen-rbee", "rbee-hive", "llamacpp-worker"];

/// A replaced daemon stands by for 10 s before it leaves; the rest is for a busy machine.
const STANDS_BY: Duration = Duration::from_secs(60);

/// From an edit that nobody announces to the end of what it replaces, builds included.
const FOLLOWS: Duration = Duration::from_secs(240);

#[test]
fn an_edit_of_a_shared_crate_rebuilds_and_replaces_every_level() {
    let chain = Chain::new();
    chain.succeed(&["infer", "one two"]);
    let (before, replaced) = (hashes(&chain), chain.daemons());

    chain.checkout().edit_to_something_new();
    let run = chain.succeed(&["infer", "one two"]);

    assert_eq!(run.stdout.trim_end(), "one two");
    for level in LEVELS {
        let checking = format!("[dmn-life] auto_update: Checking if '{level}' needs rebuild...");
        assert!(run.stderr.contains(&checking), "no `{checking}` in\n{}", run.stderr);
    }
    // Queen and hive watch themselves and may have been quicker, and whichever is built first has
    // the others compiled along.
    let building = "[dmn-life] auto_rebuild: \u{1f528} Rebuilding 'rbee-keeper'...";
    assert!(run.stderr.contains(building), "no `{building}` in\n{}", run.stderr);
    assert!(run.stderr.contains("Compiling rbee-keeper"), "{}", run.stderr);
    let after = hashes(&chain);
    for (level, (before, after)) in before.iter().zip(&after).enumerate() {
        assert_ne!(before, after, "{} was not replaced\n{}", LEVELS[level + 1], run.stderr);
    }
    for process in replaced {
        assert!(process.ends_within(STANDS_BY), "{process:?} was replaced and is still there");
    }
    assert_eq!(chain.daemons().len(), 3, "{:?}", chain.daemons());
}

#[test]
fn an_edit_that_only_the_hive_uses_replaces_only_the_hive() {
    let chain = Chain::new();
    chain.succeed(&["infer", "one"]);
    let before = chain.healths();

    chain.checkout().edit(HIVE, r#"map_or("CPU""#, r#"map_or("a CPU""#);
    let run = chain.succeed(&["infer", "one"]);

    let after = chain.healths();
    assert_eq!(before[0].instance_id, after[0].instance_id, "the queen was replaced");
    assert_ne!(before[1].exe_hash, after[1].exe_hash, "the hive was not\n{}", run.stderr);
    assert_eq!(before[2].instance_id, after[2].instance_id, "the worker was replaced");
}

#[test]
fn what_changes_no_binary_replaces_nothing() {
    let chain = Chain::new();
    chain.succeed(&["infer", "one"]);
    let before = chain.processes();

    let touched = chain.checkout().path(NARRATION);
    let content = fs::read(&touched).unwrap();
    fs::write(&touched, content).unwrap();
    let readme = chain.checkout().path("README.md");
    fs::write(&readme, "# edited\n").unwrap();
    let test = "bin/99_shared_crates/narration-core/tests/it/main.rs";
    chain.checkout().edit(test, "//! ", "//! edited ");
    let run = chain.succeed(&["infer", "one"]);

    assert_eq!(chain.processes(), before, "{}", run.stderr);
    assert!(!run.stderr.contains("Rebuilding"), "{}", run.stderr);
}

#[test]
fn a_chain_that_is_only_used_through_its_api_follows_an_edit_by_itself() {
    let chain = Chain::new();
    chain.succeed(&["infer", "one"]);
    let (queen, before, replaced) = (chain.queen(), chain.healths(), chain.daemons());

    chain.checkout().edit_to_something_new();
    let is_worker = |process: &&Process| process.name == "llamacpp-worker";
    for daemon in replaced.iter().filter(|process| !is_worker(process)) {
        assert!(daemon.ends_within(FOLLOWS), "{daemon:?} was not replaced");
    }
    // A hive looks at its workers' freshness when they are used.
    let body = json!({"messages": [{"role": "user", "content": "two"}]});
    let answer: Value = post(&format!("{queen}/v1/chat/completions"), &body);
    assert_eq!(answer["choices"][0]["message"]["content"], "two");
    for worker in replaced.iter().filter(is_worker) {
        assert!(worker.ends_within(FOLLOWS), "{worker:?} was not replaced");
    }

    assert_eq!(chain.queen(), queen, "the address stays");
    for (before, after) in before.iter().zip(chain.healths()) {
        assert_ne!(before.exe_hash, after.exe_hash, "{}", after.role);
    }
}

/// The hashes of the executables that serve: queen, hive, worker.
fn hashes(chain: &Chain) -> [String; 3] {
    chain.healths().map(|health| health.exe_hash)
}
