//! `./rbee fuzz-freshness`: auto-update's random test for as long as wanted.

use std::{
    path::Path,
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, bail};

use crate::tasks::test::runner;

/// The runs that the test makes side by side, each with its own edits.
const LANES: u64 = 4;

/// The tests, and the variables that they look for.
const TESTS: &str = "test(random_edits_never_leave_a_stale_binary_called_fresh)";
const STEPS: &str = "AUTO_UPDATE_STEPS";
const SEED: &str = "AUTO_UPDATE_SEED";

/// Takes at least `steps` steps, decided by `seed` or by the time, and prints what was counted.
///
/// Fails where a verdict was wrong; what was edited until then is printed.
pub fn run(root: &Path, steps: u64, seed: Option<u64>) -> anyhow::Result<()> {
    let nextest = runner::nextest(root)?;
    let seed = seed.map_or_else(any_seed, Ok)?;
    let lanes = format!("{LANES} runs of {} steps", steps.div_ceil(LANES));
    eprintln!(
        "fuzz-freshness: {lanes}; `./rbee fuzz-freshness --steps {steps} --seed {seed}` repeats them"
    );
    let status = Command::new(nextest)
        .args(["nextest", "run", "--package", "auto-update", "--filterset", TESTS])
        // It sets no end, and shows what was counted.
        .args(["--profile", "fuzz", "--no-tests", "fail"])
        .current_dir(root)
        .env(STEPS, steps.div_ceil(LANES).to_string())
        .env(SEED, seed.to_string())
        .status()
        .context("cannot start cargo-nextest")?;
    if !status.success() {
        bail!("a verdict was wrong, or could not be made; seed {seed}");
    }
    Ok(())
}

fn any_seed() -> anyhow::Result<u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
    Ok(now.as_secs() ^ u64::from(now.subsec_nanos()).rotate_left(32))
}
