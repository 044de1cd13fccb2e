//! `./rbee fuzz-chain`: daemon-lifecycle's random test for as long as wanted.

use std::{path::Path, process::Command};

use anyhow::{Context as _, bail};

use crate::tasks::{fuzz_freshness::any_seed, test::runner};

/// The test, and the variables that it looks for.
const TEST: &str =
    "test(whatever_happens_one_good_generation_serves_and_nobody_gets_half_an_answer)";
const STEPS: &str = "DAEMON_LIFECYCLE_STEPS";
const SEED: &str = "DAEMON_LIFECYCLE_SEED";

/// Takes `steps` steps, decided by `seed` or by the time; the test says what clients saw.
///
/// Fails where a daemon did not come back, or a client was told half an answer; the steps until then
/// are printed.
pub fn run(root: &Path, steps: u64, seed: Option<u64>) -> anyhow::Result<()> {
    let nextest = runner::nextest(root)?;
    let seed = seed.map_or_else(any_seed, Ok)?;
    eprintln!("fuzz-chain: `./rbee fuzz-chain --steps {steps} --seed {seed}` draws the same steps");
    let status = Command::new(nextest)
        .args(["nextest", "run", "--package", "daemon-lifecycle", "--filterset", TEST])
        // It sets no end, and shows what was counted.
        .args(["--profile", "fuzz", "--no-tests", "fail"])
        .current_dir(root)
        .env(STEPS, steps.to_string())
        .env(SEED, seed.to_string())
        .status()
        .context("cannot start cargo-nextest")?;
    if !status.success() {
        bail!("what happened was not borne; seed {seed}");
    }
    Ok(())
}
