//! `./rbee fuzz-chain`: the random tests of a chain, or of one daemon, for as long as wanted.

use std::path::Path;

use crate::tasks::fuzz::{self, Subject};

/// Its worker is a stand-in, but a model has a file.
const CHAIN: Subject = Subject {
    task: "fuzz-chain",
    package: "chain-tests",
    test: "test(whatever_happens_the_newest_good_chain_serves_and_nobody_gets_half_an_answer)",
    count: ("--steps", "CHAIN_TESTS_STEPS"),
    seed: "CHAIN_TESTS_SEED",
    uses_model: true,
};

const DAEMON: Subject = Subject {
    task: "fuzz-chain --daemon",
    package: "daemon-lifecycle",
    test: "test(whatever_happens_one_good_generation_serves_and_nobody_gets_half_an_answer)",
    count: ("--steps", "DAEMON_LIFECYCLE_STEPS"),
    seed: "DAEMON_LIFECYCLE_SEED",
    uses_model: false,
};

/// Takes `steps` steps, decided by `seed` or by the time; the test says what clients saw.
///
/// Fails where a daemon did not come back, or a client was told half an answer; the steps until then
/// are printed.
pub fn run(root: &Path, steps: u64, seed: Option<u64>, daemon: bool) -> anyhow::Result<()> {
    fuzz::run(root, if daemon { DAEMON } else { CHAIN }, steps, seed)
}
