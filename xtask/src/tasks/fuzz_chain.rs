//! `./rbee fuzz-chain`: the random tests of a chain, or of one daemon, for as long as wanted.

use std::{path::Path, process::Command};

use anyhow::{Context as _, bail};

use crate::tasks::{
    fuzz_freshness::any_seed,
    test::{model, runner},
};

/// A random test, and the variables that it looks for.
struct Subject {
    package: &'static str,
    test: &'static str,
    steps: &'static str,
    seed: &'static str,
}

const CHAIN: Subject = Subject {
    package: "chain-tests",
    test: "test(whatever_happens_the_newest_good_chain_serves_and_nobody_gets_half_an_answer)",
    steps: "CHAIN_TESTS_STEPS",
    seed: "CHAIN_TESTS_SEED",
};

const DAEMON: Subject = Subject {
    package: "daemon-lifecycle",
    test: "test(whatever_happens_one_good_generation_serves_and_nobody_gets_half_an_answer)",
    steps: "DAEMON_LIFECYCLE_STEPS",
    seed: "DAEMON_LIFECYCLE_SEED",
};

/// Takes `steps` steps, decided by `seed` or by the time; the test says what clients saw.
///
/// Fails where a daemon did not come back, or a client was told half an answer; the steps until then
/// are printed.
pub fn run(root: &Path, steps: u64, seed: Option<u64>, daemon: bool) -> anyhow::Result<()> {
    let (subject, flag) = if daemon { (DAEMON, " --daemon") } else { (CHAIN, "") };
    let nextest = runner::nextest(root)?;
    let seed = seed.map_or_else(any_seed, Ok)?;
    let again = format!("./rbee fuzz-chain{flag} --steps {steps} --seed {seed}");
    eprintln!("fuzz-chain: `{again}` draws the same steps");
    let mut command = Command::new(nextest);
    command
        .args(["nextest", "run", "--package", subject.package, "--filterset", subject.test])
        // It sets no end, and shows what was counted.
        .args(["--profile", "fuzz", "--no-tests", "fail"])
        .current_dir(root)
        .env(subject.steps, steps.to_string())
        .env(subject.seed, seed.to_string());
    if !daemon {
        // Its worker is a stand-in, but a model has a file.
        command.env(model::VARIABLE, model::fetch(root)?);
    }
    if !command.status().context("cannot start cargo-nextest")?.success() {
        bail!("what happened was not borne; seed {seed}");
    }
    Ok(())
}
