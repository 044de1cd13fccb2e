use std::{fs, process::Command};

use chain_tests::{Chain, post};
use serde_json::{Value, json};

#[test]
fn the_next_infer_heals_the_chain_after_kill_9_of_each_level() {
    let chain = Chain::new();
    chain.succeed(&["infer", "one"]);
    for level in ["llamacpp-worker", "rbee-hive", "queen-rbee"] {
        let killed = chain.pid(level);
        let others: Vec<_> =
            chain.processes().into_iter().filter(|process| process.pid != killed).collect();
        let status = Command::new("kill").args(["-9", &killed.to_string()]).status().unwrap();
        assert!(status.success());

        let run = chain.succeed(&["infer", "healed again"]);

        assert_eq!(run.stdout.trim_end(), "healed again", "{level}: {}", run.stderr);
        assert_ne!(chain.pid(level), killed);
        for other in others {
            assert!(chain.processes().contains(&other), "{level} took {other:?} with it");
        }
    }
}

#[test]
fn files_that_are_removed_cost_no_request() {
    let chain = Chain::new();
    chain.succeed(&["infer", "one"]);
    let (daemons, url) = (chain.daemons(), format!("{}/v1/chat/completions", chain.queen()));
    for _ in 0..3 {
        // They may be on their way back since the last time.
        fs::remove_dir_all(chain.home().join("run")).ok();
        let message = json!({"role": "user", "content": "still there"});
        // As a stream, and then as a whole.
        chain.succeed(&["infer", "still there"]);
        let answer: Value = post(&url, &json!({ "messages": [message] }));
        assert_eq!(answer["choices"][0]["message"]["content"], "still there");
        assert_eq!(chain.daemons(), daemons);
    }
}
