//! `./rbee setup`: gets what the build of llama.cpp needs.
//!
//! What the system has is used. What is missing comes as Python wheels into the checkout's own
//! `.tools`, which needs no root; else from the system's package manager; else the exact command
//! is printed. Cargo learns of it from `.tools/config.toml`, which `.cargo/config.toml` includes,
//! so a build by hand and a build by a daemon get the same tools. What `--vllm` brings besides is for
//! running, not for building.

mod tool; // one that is there
mod need; // what must be there, and where it is
mod libclang; // a libclang that bindgen accepts
mod python; // python3 with pip, and what it brings
mod packages; // the system's package manager
mod config; // .tools/config.toml
pub(crate) mod vllm; // an engine that is not built here

use std::{
    fs::{self, File, TryLockError},
    path::Path,
};

use anyhow::{Context as _, bail};

use crate::tasks::setup::need::{Look, Need};

pub use crate::tasks::setup::python::Python;
pub(crate) use crate::tasks::setup::{packages::ensure_programs, tool::output_of};

/// The folder of a checkout that holds what setup installed.
pub(crate) const TOOLS: &str = ".tools";

/// Makes sure that the tools are there; free where they were found before.
///
/// "Free" is reading one small file and a few stats: nothing is started.
pub fn ensure(root: &Path) -> anyhow::Result<()> {
    if config::is_valid(root) { Ok(()) } else { run(root) }
}

/// Finds or installs the tools, and tells cargo.
pub fn run(root: &Path) -> anyhow::Result<()> {
    let tools = root.join(TOOLS);
    fs::create_dir_all(&tools).with_context(|| format!("cannot create `{}`", tools.display()))?;
    let _lock = lock(&tools.join("setup.lock"))?;
    let mut look = Look::at(root);
    if !look.missing.is_empty() {
        eprintln!("setup: not here yet: {}", names(&look.missing));
        install_wheels(root, &look.missing);
        look = Look::at(root);
    }
    if !look.missing.is_empty() {
        packages::install(&look.missing);
        look = Look::at(root);
    }
    if !look.missing.is_empty() {
        bail!("{}", advice(&look.missing));
    }
    report(&look);
    config::write(root, &look)
}

/// Says what is there and fails if something is missing. Changes nothing.
pub fn check(root: &Path) -> anyhow::Result<()> {
    let look = Look::at(root);
    report(&look);
    if Python::find(root).is_none() {
        eprintln!("setup: python3 with pip is missing; only `./rbee test` and installing need it");
    }
    if !look.missing.is_empty() {
        bail!("{}\n`./rbee setup` does it where it may", advice(&look.missing));
    }
    if !config::is_valid(root) {
        bail!("everything is there, but cargo was not told: run `./rbee setup`");
    }
    Ok(())
}

/// One setup at a time, however many commands find that something is missing.
fn lock(path: &Path) -> anyhow::Result<File> {
    let file = File::create(path).with_context(|| format!("cannot create `{}`", path.display()))?;
    match file.try_lock() {
        Ok(()) => return Ok(file),
        Err(TryLockError::WouldBlock) => eprintln!("setup: waiting for another setup to finish"),
        Err(TryLockError::Error(_)) => {}
    }
    file.lock().with_context(|| format!("cannot lock `{}`", path.display()))?;
    Ok(file)
}

/// What cannot be had this way is left for the next.
fn install_wheels(root: &Path, missing: &[Need]) {
    let wheels: Vec<_> = missing.iter().filter_map(|need| need.wheel()).collect();
    if wheels.is_empty() {
        return;
    }
    let Some(python) = Python::get(root) else {
        eprintln!("setup: there is no python3 with pip, which could get them without root");
        return;
    };
    eprintln!("setup: installing {} as Python wheels into {TOOLS}/py", names(missing));
    if let Err(error) = python.install(&wheels, &root.join(TOOLS).join("py")) {
        eprintln!("setup: {error:#}");
    }
}

fn report(look: &Look) {
    for tool in &look.found {
        eprintln!("setup: {}", tool.description);
    }
}

fn advice(missing: &[Need]) -> String {
    let names = names(missing);
    match packages::command(missing) {
        Some(command) => format!("missing: {names}. Get it with:\n  {command}"),
        None => format!("missing: {names}. Install it with this system's package manager"),
    }
}

fn names(needs: &[Need]) -> String {
    needs.iter().map(|need| need.name()).collect::<Vec<_>>().join(", ")
}
