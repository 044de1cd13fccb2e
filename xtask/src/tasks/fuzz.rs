//! A random test for as long as wanted, as every `./rbee fuzz-..` of the chain runs one.

use std::{path::Path, process::Command};

use anyhow::{Context as _, bail};

use crate::tasks::{
    fuzz_freshness::any_seed,
    test::{model, runner},
};

/// A random test, and the variables that it looks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subject {
    /// The task and its flags, as they are typed.
    pub(super) task: &'static str,
    pub(super) package: &'static str,
    pub(super) test: &'static str,
    /// What is counted: the flag, and the test's variable.
    pub(super) count: (&'static str, &'static str),
    pub(super) seed: &'static str,
    /// Whether it looks for the model's file.
    pub(super) uses_model: bool,
}

/// Runs the test for `count` of what it counts, decided by `seed` or by the time.
pub(super) fn run(
    root: &Path,
    subject: Subject,
    count: u64,
    seed: Option<u64>,
) -> anyhow::Result<()> {
    let nextest = runner::nextest(root)?;
    let seed = seed.map_or_else(any_seed, Ok)?;
    let (flag, variable) = subject.count;
    let task = subject.task;
    let name = task.split(' ').next().unwrap_or(task);
    eprintln!("{name}: `./rbee {task} {flag} {count} --seed {seed}` draws the same");
    let mut command = Command::new(nextest);
    command
        .args(["nextest", "run", "--package", subject.package, "--filterset", subject.test])
        // It sets no end, and shows what was counted.
        .args(["--profile", "fuzz", "--no-tests", "fail"])
        .current_dir(root)
        .env(variable, count.to_string())
        .env(subject.seed, seed.to_string());
    if subject.uses_model {
        command.env(model::VARIABLE, model::fetch(root)?);
    }
    if !command.status().context("cannot start cargo-nextest")?.success() {
        bail!("what happened was not borne; seed {seed}");
    }
    Ok(())
}
