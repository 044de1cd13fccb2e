use chain_tests::{Chain, get};
use rbee_api::Health;

const SHARED: &str = "bin/99_shared_crates/narration-core/src/lib.rs";
/// A build failed: `./rbee --help` documents it.
const BUILD_FAILED: i32 = 3;

#[test]
fn a_syntax_error_is_shown_and_what_runs_goes_on() {
    let chain = Chain::new();
    chain.succeed(&["infer", "one"]);
    let (queen, before) = (chain.queen(), chain.daemons());

    chain.checkout().edit(SHARED, "pub const TARGET", "pub cnst TARGET");
    let run = chain.rbee(&["infer", "one"]);

    assert_eq!(run.code, Some(BUILD_FAILED), "{}", run.stderr);
    assert_eq!(run.stdout, "");
    assert!(run.stderr.contains("error: expected"), "cargo's message:\n{}", run.stderr);
    assert!(run.stderr.contains("narration-core/src/lib.rs"), "{}", run.stderr);
    assert_eq!(chain.daemons(), before);
    let health: Health = get(&format!("{queen}/health"));
    assert_eq!(health.role, "queen-rbee");

    chain.checkout().restore(SHARED);
    let run = chain.succeed(&["infer", "one"]);
    assert_eq!(chain.daemons(), before, "{}", run.stderr);
}

#[test]
fn a_hive_that_does_not_build_leaves_the_old_one_serving() {
    let chain = Chain::new();
    chain.succeed(&["infer", "one"]);
    let before = chain.daemons();

    chain.checkout().edit("bin/20_rbee_hive/src/devices.rs", "pub(crate) fn", "pub(crate) fnn");
    let run = chain.rbee(&["infer", "one"]);

    assert_eq!(run.code, Some(BUILD_FAILED), "{}", run.stderr);
    assert!(run.stderr.contains("devices.rs"), "cargo's message:\n{}", run.stderr);
    assert_eq!(chain.daemons(), before);
    let answer = chat(&chain.queen(), "still here");
    assert_eq!(answer["choices"][0]["message"]["content"], "still here");
}

/// What an API client is answered, who does not ask for fresh binaries.
#[track_caller]
fn chat(queen: &str, prompt: &str) -> serde_json::Value {
    let message = serde_json::json!({"role": "user", "content": prompt});
    let body = serde_json::json!({"messages": [message]});
    chain_tests::post(&format!("{queen}/v1/chat/completions"), &body)
}
