use chain_tests::Chain;

#[test]
fn a_hive_is_started_by_its_alias_and_an_unknown_alias_names_the_known_ones() {
    let chain = Chain::new();
    let started = chain.succeed(&["hive", "start", "my-hive"]);
    assert!(started.stderr.contains("[dmn-life] spawn: Spawning daemon:"), "{}", started.stderr);
    chain.pid("rbee-hive");

    let unknown = chain.rbee(&["hive", "start", "my-hiv"]);
    assert_eq!(unknown.code, Some(2), "{}", unknown.stderr);
    assert!(unknown.stderr.contains("my-hive"), "{}", unknown.stderr);
}

#[test]
fn with_updates_switched_off_an_edit_runs_no_cargo() {
    let chain = Chain::new();
    chain.succeed(&["infer", "one"]);
    let before = chain.processes();

    chain.configure("[auto_update]\nenabled = false\n");
    let shared = "bin/99_shared_crates/narration-core/src/lib.rs";
    chain.checkout().edit(shared, r#""narration""#, r#""narration-edited""#);
    let run = chain.succeed(&["infer", "one"]);

    assert_eq!(chain.processes(), before);
    assert!(!run.stderr.contains("Compiling"), "{}", run.stderr);
}

#[test]
fn stop_ends_queen_hive_and_worker() {
    let chain = Chain::new();
    chain.succeed(&["infer", "one"]);
    chain.succeed(&["queen", "stop"]);
    assert_eq!(chain.processes(), []);
}

#[test]
fn stop_can_keep_the_hives() {
    let chain = Chain::new();
    chain.succeed(&["infer", "one"]);
    let (hive, worker) = (chain.pid("rbee-hive"), chain.pid("llamacpp-worker"));
    chain.succeed(&["queen", "stop", "--keep-hives"]);
    let left: Vec<_> = chain.processes().into_iter().map(|process| process.pid).collect();
    assert_eq!(left.len(), 2);
    assert!(left.contains(&hive) && left.contains(&worker));

    // The next queen finds them again.
    chain.succeed(&["infer", "one"]);
    assert_eq!((chain.pid("rbee-hive"), chain.pid("llamacpp-worker")), (hive, worker));
}
