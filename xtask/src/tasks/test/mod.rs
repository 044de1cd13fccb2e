//! `./rbee test`: builds and runs every test of the workspace.

pub(crate) mod model; // the model that tests of the real worker use
pub(crate) mod runner; // cargo-nextest, from PATH or installed here
mod descendants; // whatever the tests started

use std::{ffi::OsString, path::Path, process::Command, thread::available_parallelism};

use anyhow::bail;

use crate::tasks::setup;

/// What tests call beside the toolchain, git and Python: an observer of started processes, and a
/// client that everybody knows.
const USED_BY_TESTS: [&str; 2] = ["strace", "curl"];

/// Those with a real vLLM, as nextest is told it; its configuration leaves them out otherwise, and
/// counts them as skipped.
const VLLM_TESTS: &str = "test(real_vllm::)";

/// Runs the examples in the documentation, then the tests; `args` are nextest's own.
///
/// Nextest comes last, so that its counts stand at the end of the output. With `args`, which
/// choose among the tests, the examples are left out. Fails too if a process that the tests
/// started outlives them.
pub fn run(root: &Path, args: &[OsString]) -> anyhow::Result<()> {
    let mut tests = prepare(root)?;
    if args.is_empty() {
        eprintln!("test: the examples in the documentation");
        let mut examples = Command::new("cargo");
        examples.args(["test", "--workspace", "--doc", "--quiet"]).current_dir(root);
        if !descendants::run(&mut examples)?.success() {
            bail!("an example in the documentation does not work");
        }
    }

    tests.args(args);
    run_to_end(tests)?;
    if args.is_empty() {
        eprintln!("test: skipped: the test with a real vLLM, which `./rbee test --vllm` runs");
    }
    Ok(())
}

/// Runs the test with a real vLLM, which every other run leaves out: it needs 2 GB of disk that the
/// build does not, and starts of a minute each.
///
/// # Errors
///
/// When vLLM cannot be had here, too: whoever asks for this test wants it to run.
pub fn run_vllm(root: &Path, args: &[OsString]) -> anyhow::Result<()> {
    let environment = setup::vllm::ensure(root)?;
    let mut tests = prepare(root)?;
    // Nothing else has to be compiled for it.
    tests.args(["--package", "chain-tests", "--ignore-default-filter"]);
    tests.args(["--filterset", VLLM_TESTS]).args(args);
    tests.env("RBEE_TEST_VLLM", environment);
    run_to_end(tests)
}

/// Gets what tests need, and gives the command of nextest that runs them.
fn prepare(root: &Path) -> anyhow::Result<Command> {
    setup::ensure(root)?;
    let nextest = runner::nextest(root)?;
    setup::ensure_programs(&USED_BY_TESTS)?;
    let model = model::fetch(root)?;
    descendants::adopt()?;
    let mut tests = Command::new(nextest);
    tests.args(["nextest", "run"]).current_dir(root).env(model::VARIABLE, &model);
    // Twice as many as there are cores: most wait for what they have started. `.config/nextest.toml` says
    // which do not.
    let at_once = available_parallelism().map_or(2, |cores| cores.get() * 2);
    tests.env("NEXTEST_TEST_THREADS", at_once.to_string());
    Ok(tests)
}

fn run_to_end(mut tests: Command) -> anyhow::Result<()> {
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
