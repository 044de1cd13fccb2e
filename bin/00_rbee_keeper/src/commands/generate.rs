use std::{fs, path::Path};

use anyhow::Context as _;
use clap::CommandFactory as _;
use clap_complete::Shell;
use rbee_config::{Called, INSTALLED};

use crate::{
    app::App,
    called::command_called,
    cli::{Cli, GenerateArgs},
    completion::registration,
    failure::Failure,
    service::Service,
};

/// Where shells look for completions, below `share`.
const COMPLETIONS: [(Shell, &str); 3] = [
    (Shell::Bash, "bash-completion/completions/rbee"),
    (Shell::Zsh, "zsh/site-functions/_rbee"),
    (Shell::Fish, "fish/vendor_completions.d/rbee.fish"),
];

/// Where a package has the program.
const PACKAGED: &str = "/usr/bin/rbee";

pub(crate) fn run(app: &App, args: &GenerateArgs) -> Result<(), Failure> {
    let share = args.folder.join("share");
    let pages = share.join("man/man1");
    fs::create_dir_all(&pages).with_context(|| format!("cannot make `{}`", pages.display()))?;
    let command = command_called(Cli::command(), &Called::installed());
    clap_mangen::generate_to(command, &pages)
        .with_context(|| format!("cannot write manual pages into `{}`", pages.display()))?;
    for (shell, path) in COMPLETIONS {
        let script = registration(shell, INSTALLED);
        let script = script.with_context(|| format!("cannot complete words in {shell}"))?;
        write(&share.join(path), script.as_bytes())?;
    }
    let unit = Service::packaged(&app.config, PACKAGED).systemd();
    write(&args.folder.join("rbee.service"), unit.as_bytes())
}

fn write(path: &Path, content: &[u8]) -> Result<(), Failure> {
    let made = path.parent().map_or(Ok(()), fs::create_dir_all);
    let written = made.and_then(|()| fs::write(path, content));
    Ok(written.with_context(|| format!("cannot write `{}`", path.display()))?)
}
