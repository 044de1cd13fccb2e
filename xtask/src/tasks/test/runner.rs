use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail};

use crate::tasks::setup::{TOOLS, output_of};

/// The release that is installed where there is none.
const VERSION: &str = "0.9.143";

/// A `cargo-nextest` that runs: the one on PATH, else one of the checkout's own.
pub(crate) fn nextest(root: &Path) -> anyhow::Result<PathBuf> {
    let works = |program: &PathBuf| output_of(program, &["nextest", "--version"]).is_some();
    let tools = root.join(TOOLS);
    let own = tools.join("bin/cargo-nextest");
    if let Some(program) = [PathBuf::from("cargo-nextest"), own.clone()].into_iter().find(works) {
        return Ok(program);
    }
    eprintln!("test: installing cargo-nextest {VERSION} into {TOOLS}, this once");
    let status = Command::new("cargo")
        .args(["install", "cargo-nextest", "--locked", "--version", VERSION])
        // It only starts tests, so compiling it quickly counts for more than its own speed.
        .args(["--debug", "--root"])
        .arg(&tools)
        .current_dir(root)
        .status()
        .context("cannot start cargo")?;
    if !status.success() || !works(&own) {
        bail!("cargo-nextest could not be installed");
    }
    Ok(own)
}
