use std::env;

use anyhow::Context as _;
use rbee_config::{INSTALLED, Installation, script_here};

use crate::{cli::CompletionsArgs, completion::registration, failure::Failure, terminal::Terminal};

/// The script asks for the words whatever it is that answers here: the script of a source tree, or the
/// program of the release that is used.
pub(crate) fn run(terminal: &Terminal, args: &CompletionsArgs) -> Result<(), Failure> {
    let completer = match script_here() {
        Some(script) => script,
        None => {
            let own = env::current_exe().context("this program has no path")?;
            Installation::around(&own).map_or(own, |installation| installation.program(INSTALLED))
        }
    };
    let script = registration(args.shell, &completer.to_string_lossy());
    terminal.out(&script.with_context(|| format!("cannot complete words in {}", args.shell))?)
}
