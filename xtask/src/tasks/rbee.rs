//! Everything that is not a task of xtask: the keeper.

use std::{
    ffi::OsString,
    os::unix::process::CommandExt as _,
    process::{Command, ExitCode},
};

use anyhow::{Context as _, bail};
use narration_core::Step;
use rbee_config::{NarrationMode, for_here};

use crate::{Workspace, flags, llama_cpp, tasks::setup, update::Binary};

/// The keeper's verbs that may end in a build of the worker, and so of llama.cpp.
const NEEDS_WORKER: &[&str] = &["infer", "chat", "run", "serve", "update", "dev", "service"];

/// What somebody is told who has just cloned this.
const FIRST_RUN: &str = "\
rbee: nothing is built here yet; the first answer takes six steps, this once
rbee: Ctrl-C is fine at any time: the next `./rbee` goes on where this one was";

/// Makes the keeper fresh and becomes it: on success this does not return.
///
/// With `[auto_update] enabled = false` nothing is built and the keeper that is there is used.
pub fn run_rbee_keeper(args: Vec<String>) -> anyhow::Result<()> {
    let args: Vec<_> = args.into_iter().map(OsString::from).collect();
    run_in(&Workspace::find(&flags::overrides(&args))?, &args)
}

/// As [`run_rbee_keeper`], in the given checkout and with arguments as the system gave them.
pub(crate) fn run_in(workspace: &Workspace, args: &[OsString]) -> anyhow::Result<()> {
    let root = workspace.root();
    let profile = &workspace.config()?.auto_update.profile;
    let keeper = keeper(profile);
    let executable = if let Some(policy) = workspace.build_policy() {
        if needs_worker(args) {
            let is_first = policy.narration == NarrationMode::Human && keeper.last(root)?.is_none();
            if is_first {
                eprintln!("{}\n{}", for_here(FIRST_RUN), Step::Tools.line());
            }
            setup::ensure(root)?;
            llama_cpp::share(workspace.config()?, root, &keeper);
            if is_first {
                eprintln!("{}", Step::Keeper.line());
            }
        }
        keeper.fresh(root, policy)?
    } else if let Some(last) = keeper.last(root)? {
        last
    } else {
        bail!(
            "`{}` was never built, and `[auto_update] enabled = false` forbids building it; allow \
             it, or run `cargo build -p {} --profile {profile}`",
            keeper.name,
            keeper.name
        );
    };
    let mut command = Command::new(&executable);
    command.args(args).env("RBEE_SOURCE_ROOT", root);
    // The flag means the same to every daemon that the keeper starts, and those start in turn.
    if let Some(enabled) = flags::overrides(args).auto_update {
        command.env("RBEE_AUTO_UPDATE_ENABLED", enabled.to_string());
    }
    let error = command.exec();
    Err(error).with_context(|| format!("cannot start `{}`", executable.display()))
}

/// Has the keeper that there is say what a word may become, fresh or not: whoever presses a key in a
/// shell waits for no build.
pub(crate) fn complete(workspace: &Workspace, args: &[OsString]) -> anyhow::Result<ExitCode> {
    let root = workspace.root();
    let keeper = keeper(&workspace.config()?.auto_update.profile);
    let Some(last) = keeper.last(root)? else { return Ok(ExitCode::SUCCESS) };
    Err(Command::new(last).args(args).env("RBEE_SOURCE_ROOT", root).exec().into())
}

fn keeper(profile: &str) -> Binary<'_> {
    Binary { name: "rbee-keeper", sources: "bin/00_rbee_keeper", profile }
}

fn needs_worker(args: &[OsString]) -> bool {
    args.iter()
        .take_while(|arg| *arg != "--")
        .any(|arg| NEEDS_WORKER.iter().any(|verb| *verb == arg))
}
