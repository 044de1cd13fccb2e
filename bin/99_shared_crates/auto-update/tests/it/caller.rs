//! Builds, checks or runs the binary of the package in a folder: what tests kill, trace or starve.
//!
//! `auto-update-caller build|build-idle|check|run [FOLDER]`

use std::{
    env,
    error::Error,
    io::{self, Write as _},
    iter,
    os::unix::process::CommandExt as _,
    process::{Command, ExitCode},
};

use auto_update::{AutoUpdater, BuildEvent, Freshness};

fn main() -> ExitCode {
    call().unwrap_or_else(|error| {
        let causes = iter::successors(error.source(), |&cause| cause.source());
        let causes: String = causes.map(|cause| format!("\n  caused by: {cause}")).collect();
        // There is nowhere to say that nothing can be said.
        writeln!(io::stderr(), "error: {error}{causes}").unwrap_or(());
        ExitCode::from(2)
    })
}

fn call() -> Result<ExitCode, Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let verb = arguments.next().ok_or("no verb")?;
    let folder = env::current_dir()?.join(arguments.next().unwrap_or_default());
    let updater = AutoUpdater::find_only(folder)?.idle_priority(verb == "build-idle");
    if verb == "check" {
        let reasons = match updater.check()? {
            Freshness::Fresh(_) => return Ok(ExitCode::SUCCESS),
            Freshness::Stale(reasons) => reasons,
            Freshness::Unknown(doubt) => return Err(doubt.to_string().into()),
        };
        writeln!(io::stdout(), "stale: `{}`", updater.name())?;
        for mut reason in reasons {
            if let Ok(path) = reason.input.strip_prefix(updater.workspace_root()) {
                reason.input = path.to_owned();
            }
            writeln!(io::stdout(), "  {reason}")?;
        }
        return Ok(ExitCode::from(1));
    }
    let artifact = updater.ensure_built_with(|event| {
        if let BuildEvent::Failed { diagnostics, .. } = event {
            writeln!(io::stderr(), "{}", diagnostics.trim_end()).unwrap_or(());
        }
    })?;
    if verb == "run" {
        return Err(Command::new(artifact.path).exec().into());
    }
    Ok(ExitCode::SUCCESS)
}
