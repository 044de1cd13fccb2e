use clap::CommandFactory as _;

use crate::{
    cli::{Cli, CompletionsArgs},
    failure::Failure,
    terminal::Terminal,
};

pub(crate) fn run(terminal: &Terminal, args: &CompletionsArgs) -> Result<(), Failure> {
    let mut script = Vec::new();
    // Shells complete `./rbee` by the name of the file.
    clap_complete::generate(args.shell, &mut Cli::command(), "rbee", &mut script);
    terminal.out(&String::from_utf8_lossy(&script))
}
