//! How this program is called by whoever reads its texts: `./rbee` in a source tree, `rbee` where it
//! was installed.

use std::{borrow::Cow, env, sync::LazyLock};

use clap::Command;
use rbee_config::{Environment, has_sources};

const IN_A_TREE: &str = "./rbee";
pub(crate) const INSTALLED: &str = "rbee";

/// How the part of the help begins that holds in a source tree only.
const TASKS_BEGIN: &str = "Workspace tasks ";

static IS_INSTALLED: LazyLock<bool> =
    LazyLock::new(|| !has_sources(&Environment::capture(), env::current_exe().ok().as_deref()));

/// The text, which names the commands of a tree, for whoever is at this terminal.
pub(crate) fn for_here(text: &str) -> Cow<'_, str> {
    if *IS_INSTALLED { installed(text) } else { Cow::Borrowed(text) }
}

/// The command line, its texts included, for whoever is at this terminal.
pub(crate) fn command_for_here(command: Command) -> Command {
    if *IS_INSTALLED { command_installed(command) } else { command }
}

/// The command line as that of an installed release.
pub(crate) fn command_installed(command: Command) -> Command {
    let is_root = command.get_bin_name() == Some(IN_A_TREE);
    let command = if is_root { command.bin_name(INSTALLED) } else { command };
    let texts = [
        command.get_about(),
        command.get_long_about(),
        command.get_after_help(),
        command.get_after_long_help(),
    ]
    .map(|text| text.map(|text| installed(&text.to_string()).into_owned()));
    let [about, long_about, after, long_after] = texts;
    let after = after.map(|after| match after.split_once(TASKS_BEGIN) {
        Some((before, tasks)) => {
            let rest = tasks.split_once("\n\n").map_or("", |(_, rest)| rest);
            format!("{before}{rest}")
        }
        None => after,
    });
    let command = match about {
        Some(about) => command.about(about),
        None => command,
    };
    let command = match long_about {
        Some(about) => command.long_about(about),
        None => command,
    };
    let command = match after {
        Some(after) => command.after_help(after),
        None => command,
    };
    let command = match long_after {
        Some(after) => command.after_long_help(after),
        None => command,
    };
    command.mut_subcommands(command_installed)
}

fn installed(text: &str) -> Cow<'_, str> {
    if text.contains(IN_A_TREE) {
        Cow::Owned(text.replace(IN_A_TREE, INSTALLED))
    } else {
        Cow::Borrowed(text)
    }
}
