use clap::CommandFactory as _;

use crate::{
    called::{INSTALLED, command_for_here},
    cli::{Cli, CompletionsArgs},
    failure::Failure,
    terminal::Terminal,
};

pub(crate) fn run(terminal: &Terminal, args: &CompletionsArgs) -> Result<(), Failure> {
    let (mut command, mut script) = (command_for_here(Cli::command()), Vec::new());
    // Shells complete `./rbee` by the name of the file.
    clap_complete::generate(args.shell, &mut command, INSTALLED, &mut script);
    terminal.out(&String::from_utf8_lossy(&script))
}
