use std::{
    env,
    ffi::OsString,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};

use crate::Workspace;

/// Pairs of runs; the two kinds take turns, so that both see the same machine.
const RUNS: usize = 50;

/// What `./rbee` may cost more than the keeper.
const GOAL: Duration = Duration::from_millis(10);

/// Measures `./rbee --version` against `rbee-keeper --version`, since that does nothing else.
pub(super) fn run(workspace: &Workspace, args: &[OsString]) -> anyhow::Result<()> {
    ensure!(args.is_empty(), "this measurement takes no arguments");
    let script = workspace.root().join("rbee");
    let keeper = env::current_exe().context("cannot find xtask itself")?;
    let keeper = keeper.with_file_name("rbee-keeper");
    // Whatever is stale is built here and not measured.
    once(&script)?;
    once(&keeper)?;
    let (mut through, mut alone) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        through.push(once(&script)?);
        alone.push(once(&keeper)?);
    }
    let (through, alone) = (median(through), median(alone));
    let more = through.saturating_sub(alone);
    println!("./rbee --version        {through:>8.1?}  (median of {RUNS})");
    println!("rbee-keeper --version   {alone:>8.1?}");
    println!("more                    {more:>8.1?}  (goal: at most {GOAL:?})");
    Ok(())
}

fn once(program: &Path) -> anyhow::Result<Duration> {
    let begin = Instant::now();
    let status = Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .status()
        .with_context(|| format!("cannot start `{}`", program.display()))?;
    let took = begin.elapsed();
    if !status.success() {
        bail!("`{} --version` ended with {status}", program.display());
    }
    Ok(took)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
