use std::{
    ffi::OsStr,
    process::{Command, Stdio},
};

/// A tool that is there.
#[derive(Debug, Clone)]
pub(super) struct Tool {
    /// For the person: what, which version, where.
    pub(super) description: String,
    /// What the build must be told to use it.
    pub(super) environment: Vec<(&'static str, String)>,
}

/// What the program prints to stdout; `None` if it is not there or does not succeed.
pub(crate) fn output_of<I: AsRef<OsStr>>(program: impl AsRef<OsStr>, args: &[I]) -> Option<String> {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
