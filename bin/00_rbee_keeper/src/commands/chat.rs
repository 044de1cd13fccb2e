use std::{
    io::{self, IsTerminal as _},
    thread,
};

use anyhow::Context as _;
use rustyline::{Behavior, Config, DefaultEditor, error::ReadlineError};
use tokio::{
    signal::unix::Signal,
    sync::{mpsc, oneshot},
};

use crate::{
    answer::{Show, ask},
    app::App,
    cli::{ChatArgs, message},
    failure::{Failure, Kind},
    run::cancel,
};

const PROMPT: &str = "> ";
const DIED: &str = "the line editor's thread died";

/// Takes turns until the person leaves with Ctrl-D.
pub(crate) async fn run(
    app: &App,
    args: &ChatArgs,
    interrupts: &mut Signal,
) -> Result<(), Failure> {
    let reader = LineReader::start()?;
    let mut messages = args.sampling.opening();
    while let Some(line) = reader.line().await? {
        if line.trim().is_empty() {
            continue;
        }
        messages.push(message("user", &line));
        let body = args.sampling.body(&app.config.models.default, &messages);
        let answer = tokio::select! {
            answer = Box::pin(ask(app, &body, Show::Tokens)) => answer,
            _ = interrupts.recv() => Err(Failure::interrupted()),
        };
        match answer {
            Ok(answer) => messages.push(message("assistant", &answer.text)),
            Err(failure) => {
                // The turn did not happen, so the model is not to remember it.
                messages.pop();
                recover(app, failure, interrupts).await?;
            }
        }
        app.terminal.end_line()?;
    }
    Ok(())
}

/// Goes on with the conversation where that makes sense: after a cancelled or a refused answer.
async fn recover(app: &App, failure: Failure, interrupts: &mut Signal) -> Result<(), Failure> {
    app.terminal.end_progress();
    match failure.kind {
        Kind::Interrupted => {
            if let Some(job) = app.take_current() {
                cancel(job, interrupts).await;
            }
            Ok(())
        }
        Kind::Failed | Kind::Build => {
            app.terminal.end_line()?;
            failure.lines(app.terminal.paint()).iter().for_each(|line| app.terminal.say(line));
            Ok(())
        }
        Kind::Closed | Kind::Usage | Kind::Unreachable => Err(failure),
    }
}

type Line = Result<Option<String>, ReadlineError>;

/// Reads lines on a thread of its own, each when it is asked for: the editor changes the
/// terminal's mode while it waits.
struct LineReader {
    asked: mpsc::Sender<oneshot::Sender<Line>>,
}

impl LineReader {
    fn start() -> Result<Self, Failure> {
        let mut editor = editor().context("cannot prepare the line editor")?;
        let (asked, mut requests) = mpsc::channel::<oneshot::Sender<Line>>(1);
        let read = move || {
            while let Some(answer) = requests.blocking_recv() {
                if answer.send(read_line(&mut editor)).is_err() {
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

    /// The next line; `None` when the person leaves.
    async fn line(&self) -> Result<Option<String>, Failure> {
        let (answer, line) = oneshot::channel();
        self.asked.send(answer).await.ok().context(DIED)?;
        Ok(line.await.context(DIED)?.context("cannot read a line")?)
    }
}

fn editor() -> Result<DefaultEditor, ReadlineError> {
    // Standard output is for answers: where it goes to a file, the prompt goes to the screen.
    let behavior = if io::stdin().is_terminal() && !io::stdout().is_terminal() {
        Behavior::PreferTerm
    } else {
        Behavior::Stdio
    };
    DefaultEditor::with_config(Config::builder().behavior(behavior).build())
}

fn read_line(editor: &mut DefaultEditor) -> Line {
    loop {
        match editor.readline(PROMPT) {
            Ok(line) => {
                editor.add_history_entry(&line)?;
                return Ok(Some(line));
            }
            // Ctrl-C at the prompt gives the line up, as in a shell.
            Err(ReadlineError::Interrupted) => {}
            Err(ReadlineError::Eof) => return Ok(None),
            Err(error) => return Err(error),
        }
    }
}
