//! The command line, its texts included, as whoever reads them calls it.

use clap::Command;
use rbee_config::{Called, IN_A_TREE};

/// How the part of the help begins that holds in a source tree only.
const TASKS_BEGIN: &str = "Workspace tasks ";

/// The command line for those who call it so.
pub(crate) fn command_called(command: Command, called: &Called) -> Command {
    let is_root = command.get_bin_name() == Some(IN_A_TREE);
    let command = if is_root { command.bin_name(&called.name) } else { command };
    let texts = [
        command.get_about(),
        command.get_long_about(),
        command.get_after_help(),
        command.get_after_long_help(),
    ]
    .map(|text| text.map(|text| called.told(&text.to_string()).into_owned()));
    let [about, long_about, after, long_after] = texts;
    let after = after.map(|after| match after.split_once(TASKS_BEGIN) {
        Some((before, tasks)) if called.is_installed => {
            let rest = tasks.split_once("\n\n").map_or("", |(_, rest)| rest);
            format!("{before}{rest}")
        }
        _ => after,
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
    command.mut_subcommands(|command| command_called(command, called))
}
