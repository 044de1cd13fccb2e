#![expect(clippy::disallowed_methods, reason = "a test tells its second process where it is")]

//! Tests that need another surrounding: they run once more, in a process that has it.

use std::{
    env,
    process::{Command, Output},
};

const INSIDE: &str = "DAEMON_LIFECYCLE_TEST_INSIDE";

/// Where this process is, as [`run`] was told; `None` in the first one.
pub(crate) fn inside() -> Option<String> {
    env::var(INSIDE).ok()
}

/// Runs the test `name` once more by `command`, which takes a program with its arguments; there
/// [`inside`] is `place`.
#[track_caller]
pub(crate) fn run(name: &str, place: &str, mut command: Command) {
    let output: Output = command
        .arg(env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture"])
        .env(INSIDE, place)
        .output()
        .unwrap();
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "the test failed where it can run:\n{out}\n{err}");
    assert!(out.contains("1 passed"), "there is no test `{name}`:\n{out}");
}
