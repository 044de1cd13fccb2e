//! `./rbee fuzz-freshness`: auto-update's random test for as long as wanted.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write as _},
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

/// Where each run adds a line with what it counted.
const COUNTS: &str = "AUTO_UPDATE_COUNTS";

/// Takes at least `steps` steps, decided by `seed` or by the time, and prints what was counted.
///
/// Fails where a verdict was wrong; what was edited until then is printed. The last line on stdout
/// is the sum of all runs.
pub fn run(root: &Path, steps: u64, seed: Option<u64>) -> anyhow::Result<()> {
    let nextest = runner::nextest(root)?;
    let seed = seed.map_or_else(any_seed, Ok)?;
    let lanes = format!("{LANES} runs of {} steps", steps.div_ceil(LANES));
    eprintln!(
        "fuzz-freshness: {lanes}; `./rbee fuzz-freshness --steps {steps} --seed {seed}` repeats them"
    );
    let counts = root.join("target/fuzz-freshness.counts");
    fs::create_dir_all(root.join("target")).context("cannot create `target`")?;
    fs::write(&counts, "").with_context(|| format!("cannot write `{}`", counts.display()))?;
    let status = Command::new(nextest)
        .args(["nextest", "run", "--package", "auto-update", "--filterset", TESTS])
        // It sets no end, and shows what was counted.
        .args(["--profile", "fuzz", "--no-tests", "fail"])
        .current_dir(root)
        .env(STEPS, steps.div_ceil(LANES).to_string())
        .env(SEED, seed.to_string())
        .env(COUNTS, &counts)
        .status()
        .context("cannot start cargo-nextest")?;
    if !status.success() {
        bail!("a verdict was wrong, or could not be made; seed {seed}");
    }
    let text = fs::read_to_string(&counts)
        .with_context(|| format!("cannot read `{}`", counts.display()))?;
    let sum = Sum::of(&text)?;
    writeln!(io::stdout(), "{}", sum.sentence()?).context("cannot write to stdout")
}

/// What all runs counted, by name.
struct Sum(BTreeMap<String, u64>);

impl Sum {
    /// Each line is one run's: `NAME=COUNT`, separated by spaces.
    fn of(text: &str) -> anyhow::Result<Self> {
        let runs = text.lines().count() as u64;
        if runs != LANES {
            bail!("{LANES} runs were made and {runs} counted");
        }
        let mut sum = BTreeMap::new();
        for pair in text.split_whitespace() {
            let (name, count) =
                pair.split_once('=').with_context(|| format!("`{pair}` is no count"))?;
            let count: u64 = count.parse().with_context(|| format!("`{pair}` is no count"))?;
            *sum.entry(name.to_owned()).or_default() += count;
        }
        Ok(Self(sum))
    }

    fn get(&self, name: &str) -> anyhow::Result<u64> {
        self.0.get(name).copied().with_context(|| format!("`{name}` was not counted"))
    }

    /// A stale binary called fresh fails its run, so whatever was summed has none.
    fn sentence(&self) -> anyhow::Result<String> {
        let get = |name| self.get(name);
        Ok(format!(
            "{} steps: {} stale, {} fresh ({} of them restored), {} in doubt; 0 stale called fresh. Cargo by itself \
             was wrong at {}, and compiled for nothing at {}. Steps that compiled: ours {}, cargo {}; \
             {} could not be compiled by anybody.",
            get("steps")?,
            get("stale")?,
            get("fresh")?,
            get("restored")?,
            get("unknown")?,
            get("cargo_wrong")?,
            get("cargo_needless")?,
            get("our_compiles")?,
            get("cargo_compiles")?,
            get("broken")?,
        ))
    }
}

/// What decides a run for which nobody has said it.
pub(super) fn any_seed() -> anyhow::Result<u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
    Ok(now.as_secs() ^ u64::from(now.subsec_nanos()).rotate_left(32))
}
