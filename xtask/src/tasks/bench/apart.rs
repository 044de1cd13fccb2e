use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail};

use crate::{
    Workspace,
    tasks::{bench::llama_server, setup, test::model},
    update::Binary,
};

/// What is measured must be compiled as it is when installed.
const OPTIMISED: &str = "release";

const BENCH: Binary<'_> =
    Binary { name: "chain-bench", sources: "xtask/bench", profile: OPTIMISED };
const CARGO_LIVE: Binary<'_> =
    Binary { name: "cargo-live", sources: "bin/99_shared_crates/cargo-live", profile: OPTIMISED };

/// Without arguments, the picture in the documentation is drawn anew.
pub(super) fn freshness(workspace: &Workspace, args: &[OsString]) -> anyhow::Result<()> {
    let mut all = vec!["freshness".into()];
    if args.is_empty() {
        all.extend(["--svg", "docs/freshness.svg"].map(OsString::from));
    }
    measure(workspace, &[&all[..], args].concat())
}

pub(super) fn fresh_run(workspace: &Workspace, args: &[OsString]) -> anyhow::Result<()> {
    let program = executable(workspace, &CARGO_LIVE)?;
    let all: [OsString; 3] = ["fresh-run".into(), "--cargo-live".into(), program.into()];
    measure(workspace, &[&all[..], args].concat())
}

pub(super) fn live(workspace: &Workspace, args: &[OsString]) -> anyhow::Result<()> {
    let program = executable(workspace, &CARGO_LIVE)?;
    let all: [OsString; 3] = ["live".into(), "--cargo-live".into(), program.into()];
    measure(workspace, &[&all[..], args].concat())
}

pub(super) fn crowd(workspace: &Workspace, args: &[OsString]) -> anyhow::Result<()> {
    of_chain(workspace, "crowd", args)
}

pub(super) fn film(workspace: &Workspace, args: &[OsString]) -> anyhow::Result<()> {
    setup::ensure(workspace.root())?;
    of_chain(workspace, "film", args)
}

pub(super) fn follow(workspace: &Workspace, args: &[OsString]) -> anyhow::Result<()> {
    of_chain(workspace, "follow", args)
}

pub(super) fn replace(workspace: &Workspace, args: &[OsString]) -> anyhow::Result<()> {
    of_chain(workspace, "replace", args)
}

pub(super) fn carry(workspace: &Workspace, args: &[OsString]) -> anyhow::Result<()> {
    setup::ensure(workspace.root())?;
    of_chain(workspace, "carry", args)
}

/// A measurement of a whole chain, which has a model even where its worker is a stand-in.
fn of_chain(workspace: &Workspace, name: &str, args: &[OsString]) -> anyhow::Result<()> {
    let model = model::fetch(workspace.root())?;
    let all: [OsString; 3] = [name.into(), "--model".into(), model.into()];
    measure(workspace, &[&all[..], args].concat())
}

pub(super) fn tokens_under_build(workspace: &Workspace, args: &[OsString]) -> anyhow::Result<()> {
    of_worker(workspace, &["tokens-under-build".into()], args)
}

pub(super) fn serve(workspace: &Workspace, args: &[OsString]) -> anyhow::Result<()> {
    let server = llama_server::ensure(workspace.root())?;
    of_worker(workspace, &["serve".into(), "--server".into(), server.into()], args)
}

/// A measurement of a real worker with a real model.
fn of_worker(workspace: &Workspace, first: &[OsString], args: &[OsString]) -> anyhow::Result<()> {
    setup::ensure(workspace.root())?;
    let profile = &workspace.config()?.auto_update.profile;
    let worker = Binary { name: "llamacpp-worker", sources: "bin/30_llm_worker_rbee", profile };
    let worker = executable(workspace, &worker)?;
    let model = model::fetch(workspace.root())?;
    let all: [OsString; 4] = ["--worker".into(), worker.into(), "--model".into(), model.into()];
    measure(workspace, &[first, &all[..], args].concat())
}

fn measure(workspace: &Workspace, args: &[OsString]) -> anyhow::Result<()> {
    let program = executable(workspace, &BENCH)?;
    let status = Command::new(&program)
        .args(args)
        .current_dir(workspace.root())
        .status()
        .with_context(|| format!("cannot start `{}`", program.display()))?;
    if !status.success() {
        bail!("the measurement ended with {status}");
    }
    Ok(())
}

/// The binary as its sources say, or as it is where nothing may be built.
fn executable(workspace: &Workspace, binary: &Binary<'_>) -> anyhow::Result<PathBuf> {
    let root: &Path = workspace.root();
    if let Some(policy) = workspace.build_policy() {
        return binary.fresh(root, policy);
    }
    let last = binary.last(root)?;
    last.with_context(|| {
        format!("`{}` was never built, and `[auto_update] enabled = false` forbids it", binary.name)
    })
}
