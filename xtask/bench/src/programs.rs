use std::{
    ffi::OsStr,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, ensure};
use auto_update::BuildEnvironment;

/// The variables under which everything is measured and built.
pub(crate) fn environment() -> BuildEnvironment {
    BuildEnvironment::capture().set("CARGO_NET_OFFLINE", "true")
}

/// A silent command in `folder`.
pub(crate) fn command(program: impl AsRef<OsStr>, args: &[&str], folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(args).current_dir(folder).env_clear().envs(environment().vars());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// [`command`], with the registry in reach.
pub(crate) fn online(program: impl AsRef<OsStr>, args: &[&str], folder: &Path) -> Command {
    let mut command = command(program, args, folder);
    command.env_remove("CARGO_NET_OFFLINE");
    command
}

/// Runs it to its end, which must be a good one.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let name = command.get_program().display().to_string();
    let status = command.status().with_context(|| format!("cannot start `{name}`"))?;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(())
}

/// What cargo is told in order to build the scenes' binary.
pub(crate) const BUILD: [&str; 5] = ["build", "-p", "app", "--bin", "app"];
