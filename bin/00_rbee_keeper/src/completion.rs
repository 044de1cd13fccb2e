//! What a shell completes: verbs, flags, tasks, and what `known` has.

use std::env;

use clap::{Command, CommandFactory as _};
use clap_complete::{CompleteEnv, Shell, env::Shells};
use rbee_config::{COMPLETES, Called, INSTALLED};

use crate::{
    called::command_called,
    cli::{Cli, TASKS},
};

/// Bash takes `smollm2:135m` for three words, `--model=a` for two, and puts what it is given in the place
/// of the last of them. Here they are one.
const WHOLE_WORDS: &str = r#"
_rbee() {
    local -a joined=()
    local i at=0 piece before=
    for ((i = 0; i < ${#COMP_WORDS[@]}; i++)); do
        piece=${COMP_WORDS[i]}
        ((i != COMP_CWORD)) || [[ $piece == [:=] ]] || piece=$2
        if ((i > 1)) && [[ $piece == [:=] || ${COMP_WORDS[i - 1]} == [:=] ]]; then
            ((i != COMP_CWORD)) || before=${joined[-1]}
            joined[-1]+=$piece
        else
            joined+=("$piece")
        fi
        if ((i == COMP_CWORD)); then
            at=$((${#joined[@]} - 1))
            [[ $piece != [:=] ]] || before=${joined[at]}
        fi
    done
    local -a COMP_WORDS=("${joined[@]}")
    local COMP_CWORD=$at
    _clap_complete_rbee "$1" "${joined[at]}" "$3"
    COMPREPLY=("${COMPREPLY[@]#"$before"}")
}
complete -o nospace -o bashdefault -o nosort -F _rbee rbee 2>/dev/null ||
    complete -o nospace -o bashdefault -F _rbee rbee
"#;

/// Zsh reads a file of its path when the first completion is asked for, which is then to be given.
const AT_ONCE: &str = "[[ $funcstack[1] != _rbee ]] || _clap_dynamic_completer_rbee \"$@\"\n";

/// Answers a shell that asks what a word may become; `false` where none does.
pub fn complete() -> bool {
    let completed = CompleteEnv::with_factory(command)
        .var(COMPLETES)
        .try_complete(env::args_os(), env::current_dir().ok().as_deref());
    // A shell has no use for an error.
    completed.unwrap_or(true)
}

/// What a shell runs to have words completed by `completer`.
pub(crate) fn registration(shell: Shell, completer: &str) -> Result<String, std::io::Error> {
    let (shells, mut script) = (Shells::builtins(), Vec::new());
    let known = shells.completer(&shell.to_string());
    let known = known.ok_or_else(|| std::io::Error::other("there are no completions for it"))?;
    // Shells complete `./rbee` by the name of the file.
    known.write_registration(COMPLETES, INSTALLED, INSTALLED, completer, &mut script)?;
    let script = String::from_utf8_lossy(&script);
    Ok(match shell {
        Shell::Bash => format!("{script}{WHOLE_WORDS}"),
        Shell::Zsh => format!("{script}{AT_ONCE}"),
        _ => script.into_owned(),
    })
}

/// The command line with what xtask does, where it is there.
fn command() -> Command {
    let called = Called::here();
    let command = command_called(Cli::command(), called);
    if called.is_installed {
        return command;
    }
    command.subcommands(TASKS.map(|(task, about)| Command::new(task).about(about)))
}
