use std::{
    io::{self, IsTerminal as _},
    os::fd::{AsFd as _, OwnedFd},
    path::PathBuf,
    thread,
};

use anyhow::Context as _;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use rustyline::{
    Behavior, Config, Context, Helper,
    completion::Completer,
    error::ReadlineError,
    highlight::Highlighter,
    hint::Hinter,
    history::DefaultHistory,
    validate::{ValidationContext, ValidationResult, Validator},
};
use tokio::sync::{mpsc, oneshot};

use super::said::{COMMANDS, QUOTES};
use crate::failure::Failure;

const PROMPT: &str = "> ";
const DIED: &str = "the line editor's thread died";

/// What is kept of what was typed, in lines.
const HISTORY: usize = 1000;

type Line = Result<Option<String>, ReadlineError>;
type Lines = rustyline::Editor<Typing, DefaultHistory>;

/// Reads lines on a thread of its own, each when it is asked for: the editor changes the
/// terminal's mode while it waits.
#[derive(Debug)]
pub(crate) struct Editor {
    asked: mpsc::Sender<oneshot::Sender<Line>>,
}

impl Editor {
    /// What is typed is remembered in `history` from one talk to the next, where there is such a file.
    pub(crate) fn start(history: Option<PathBuf>) -> Result<Self, Failure> {
        let mut editor = editor().context("cannot prepare the line editor")?;
        if let Some(history) = &history {
            // There is none before the first talk.
            editor.load_history(history).ok();
        }
        let (asked, mut requests) = mpsc::channel::<oneshot::Sender<Line>>(1);
        let read = move || {
            while let Some(answer) = requests.blocking_recv() {
                if answer.send(read_line(&mut editor, history.as_ref())).is_err() {
                    return;
                }
            }
        };
        thread::Builder::new()
            .name("line-editor".into())
            .spawn(read)
            .context("cannot start the line editor's thread")?;
        Ok(Self { asked })
    }

    /// The next line, or the lines between quotes or of a paste; `None` when the person leaves.
    pub(crate) async fn line(&self) -> Result<Option<String>, Failure> {
        let (answer, line) = oneshot::channel();
        self.asked.send(answer).await.ok().context(DIED)?;
        Ok(line.await.context(DIED)?.context("cannot read a line")?)
    }
}

fn editor() -> Result<Lines, ReadlineError> {
    // Standard output is for answers: where it goes to a file, the prompt goes to the screen.
    let behavior = if io::stdin().is_terminal() && !io::stdout().is_terminal() {
        Behavior::PreferTerm
    } else {
        Behavior::Stdio
    };
    let config = Config::builder()
        .behavior(behavior)
        .max_history_size(HISTORY)?
        .history_ignore_space(true)
        .build();
    let mut editor = Lines::with_config(config)?;
    editor.set_helper(Some(Typing));
    Ok(editor)
}

fn read_line(editor: &mut Lines, history: Option<&PathBuf>) -> Line {
    loop {
        match editor.readline(PROMPT) {
            Ok(line) => {
                editor.add_history_entry(&line)?;
                if let Some(history) = history {
                    // A talk goes on where the disk is full.
                    editor.append_history(history).ok();
                }
                return Ok(Some(line));
            }
            // Ctrl-C at the prompt gives the line up, as in a shell.
            Err(ReadlineError::Interrupted) => {}
            Err(ReadlineError::Eof) => return Ok(None),
            Err(error) => return Err(error),
        }
    }
}

/// What the editor knows of what is typed.
#[derive(Debug)]
struct Typing;

impl Validator for Typing {
    /// Several lines between quotes are one.
    fn validate(
        &self,
        context: &mut ValidationContext<'_>,
    ) -> Result<ValidationResult, ReadlineError> {
        let typed = context.input().trim();
        let is_open = typed.strip_prefix(QUOTES).is_some_and(|rest| !rest.ends_with(QUOTES));
        Ok(if is_open { ValidationResult::Incomplete } else { ValidationResult::Valid(None) })
    }
}

impl Completer for Typing {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _: &Context<'_>,
    ) -> Result<(usize, Vec<String>), ReadlineError> {
        let typed = &line[..position];
        let fitting = COMMANDS.iter().filter(|(command, ..)| command.starts_with(typed));
        let all = fitting.map(|(command, ..)| (*command).to_owned()).collect();
        Ok((0, if typed.starts_with('/') { all } else { Vec::new() }))
    }
}

impl Hinter for Typing {
    type Hint = String;
}

impl Highlighter for Typing {}

impl Helper for Typing {}

/// The mode that the terminal was in, which it gets back when this is dropped.
#[derive(Debug)]
pub(crate) struct Echo {
    /// `None` where nobody types.
    terminal: Option<(OwnedFd, Termios)>,
}

impl Echo {
    pub(crate) fn of_stdin() -> Self {
        let terminal = io::stdin().as_fd().try_clone_to_owned().ok();
        Self { terminal: terminal.and_then(|fd| tcgetattr(&fd).ok().map(|mode| (fd, mode))) }
    }

    /// What is typed from now on is not shown before the next prompt, amid the answer.
    pub(crate) fn off(&self) {
        if let Some((fd, mode)) = &self.terminal {
            let mut quiet = mode.clone();
            quiet.local_modes.remove(LocalModes::ECHO);
            tcsetattr(fd, OptionalActions::Now, &quiet).ok();
        }
    }

    pub(crate) fn back(&self) {
        if let Some((fd, mode)) = &self.terminal {
            tcsetattr(fd, OptionalActions::Now, mode).ok();
        }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.back();
    }
}
