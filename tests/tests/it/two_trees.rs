use std::{net::TcpListener, process::Command};

use chain_tests::{Chain, Checkout, Run, target_dir};

/// Another checkout of the workspace, whose person has the same home.
struct OtherTree(Checkout);

impl OtherTree {
    fn open() -> Self {
        let folders = [target_dir().join("chain-tests/other")];
        Self(Checkout::with_stand_in_worker(&folders).with_dependencies())
    }

    fn root(&self) -> String {
        self.0.root().display().to_string()
    }

    fn rbee(&self, chain: &Chain, args: &[&str]) -> Run {
        self.rbee_with(chain, args, &[])
    }

    fn rbee_with(&self, chain: &Chain, args: &[&str], variables: &[(&str, &str)]) -> Run {
        let mut command = Command::new(self.0.path("rbee"));
        chain.environment(&mut command);
        command.args(args).env("CARGO_TARGET_DIR", self.0.target());
        command.envs(variables.iter().copied());
        Run::of(command)
    }
}

#[test]
fn a_tree_is_told_of_the_other_one_that_runs_and_takes_over_only_when_told_to() {
    let chain = Chain::new();
    chain.succeed(&["infer", "one"]);
    let (ours, other) = (chain.processes(), OtherTree::open());
    let first_root = chain.checkout().root().display().to_string();

    let refused = other.rbee(&chain, &["infer", "two"]);
    assert_eq!(refused.code, Some(4), "{}", refused.stderr);
    for words in [first_root.as_str(), &other.root(), "`--takeover` replaces it"] {
        assert!(refused.stderr.contains(words), "`{words}` is not in\n{}", refused.stderr);
    }
    assert_eq!(chain.processes(), ours);

    let taken = other.rbee(&chain, &["infer", "--takeover", "two"]);
    assert_eq!((taken.code, taken.stdout.trim()), (Some(0), "two"), "{}", taken.stderr);
    for health in chain.healths() {
        let was_ours = ours.iter().any(|process| process.pid == health.pid);
        assert!(!was_ours, "{} was not taken over", health.role);
    }

    // And the first one is in the same place now.
    let refused = chain.rbee(&["infer", "three"]);
    assert_eq!(refused.code, Some(4), "{}", refused.stderr);
    assert!(refused.stderr.contains(&other.root()), "{}", refused.stderr);
}

#[test]
fn a_second_queen_of_another_tree_leaves_the_hive_to_the_first() {
    let chain = Chain::new();
    chain.succeed(&["infer", "one"]);
    let (ours, other) = (chain.processes(), OtherTree::open());
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let port = [("RBEE_QUEEN_PORT", &*port.to_string())];

    let refused = other.rbee_with(&chain, &["infer", "two"], &port);
    assert_ne!(refused.code, Some(0), "{}", refused.stderr);
    for root in [chain.checkout().root().display().to_string(), other.root()] {
        assert!(refused.stderr.contains(&root), "`{root}` is not in\n{}", refused.stderr);
    }
    let still = chain.processes();
    assert!(ours.iter().all(|process| still.contains(process)), "{still:?}");
    chain.succeed(&["infer", "three"]);

    let stopped = other.rbee_with(&chain, &["queen", "stop", "--keep-hives"], &port);
    assert_eq!(stopped.code, Some(0), "{}", stopped.stderr);
    assert_eq!(chain.processes(), ours);
}
