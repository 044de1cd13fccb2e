//! `./rbee test`: builds and runs every test of the workspace.

pub(crate) mod model; // the model that tests of the real worker use
pub(crate) mod runner; // cargo-nextest, from PATH or installed here
mod descendants; // whatever the tests started

use std::{ffi::OsString, path::Path, process::Command};

use anyhow::bail;

use crate::tasks::setup;

/// What tests call beside the toolchain, git and Python: an observer of started processes, and a
/// client that everybody knows.
const USED_BY_TESTS: [&str; 2] = ["strace", "curl"];

/// Runs the examples in the documentation, then the tests; `args` are nextest's own.
///
/// Nextest comes last, so that its counts stand at the end of the output. With `args`, which
/// choose among the tests, the examples are left out. Fails too if a process that the tests
/// started outlives them.
pub fn run(root: &Path, args: &[OsString]) -> anyhow::Result<()> {
    setup::ensure(root)?;
    let nextest = runner::nextest(root)?;
    setup::ensure_programs(&USED_BY_TESTS)?;
    let model = model::fetch(root)?;
    descendants::adopt()?;
    if args.is_empty() {
        eprintln!("test: the examples in the documentation");
        let mut examples = Command::new("cargo");
        examples.args(["test", "--workspace", "--doc", "--quiet"]).current_dir(root);
        if !descendants::run(&mut examples)?.success() {
            bail!("an example in the documentation does not work");
        }
    }

    let mut tests = Command::new(nextest);
    tests.args(["nextest", "run"]).args(args);
    tests.current_dir(root).env("RBEE_TEST_MODEL", &model);
    let status = descendants::run(&mut tests)?;
    let left = descendants::left()?;
    for process in &left {
        eprintln!("test: still running: {process}");
    }
    if !status.success() {
        bail!("tests failed");
    }
    if !left.is_empty() {
        bail!("the tests passed but left {} processes behind", left.len());
    }
    Ok(())
}
