use std::{
    fs,
    io::{self, IsTerminal as _, Write as _},
};

use anyhow::Context as _;
use jiff::ZonedDateTime;
use rbee_api::ErrorCode;
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    answer::{Answer, Show, ask},
    app::App,
    chat::{COMMANDS, Echo, Editor, Said, Talk},
    cli::{ChatArgs, Sampling},
    failure::{Failure, Kind},
    run::cancel,
};

/// What was typed in earlier talks, in the state folder.
const HISTORY: &str = "chat-history";

/// Takes turns until the person leaves.
pub(crate) async fn run(
    app: &App,
    args: &ChatArgs,
    interrupts: &mut Signal,
) -> Result<(), Failure> {
    let is_typed = io::stdin().is_terminal();
    // Told to end, it still gives the terminal its mode back.
    let mut terminations =
        signal(SignalKind::terminate()).context("cannot listen for the end of the process")?;
    let echo = Echo::of_stdin();
    let history = is_typed.then(|| app.config.paths.state.join(HISTORY));
    if is_typed {
        // Without the folder there is no history, which is said when something else needs it.
        app.config.paths.create().ok();
    }
    let editor = Editor::start(history)?;
    let sampling = args.sampling.clone();
    let talk = Talk::new(sampling.system.clone());
    let mut chat = Chat { app, sampling, talk, is_typed, build: None };
    chat.greet();
    loop {
        let line = tokio::select! {
            line = editor.line() => line?,
            _ = terminations.recv() => return Err(Failure::interrupted()),
        };
        let Some(line) = line else { return Ok(()) };
        let words = match Said::of(&line) {
            Said::Bye => return Ok(()),
            Said::Words(words) => words,
            said => {
                chat.obey(said)?;
                continue;
            }
        };
        echo.off();
        let turn = tokio::select! {
            turn = Box::pin(chat.turn(&words, interrupts)) => turn,
            _ = terminations.recv() => Err(Failure::interrupted()),
        };
        echo.back();
        turn?;
    }
}

struct Chat<'a> {
    app: &'a App,
    sampling: Sampling,
    talk: Talk,
    /// By a person, who sees what happens and goes on.
    is_typed: bool,
    /// Which model's build gave the last answer.
    build: Option<(String, String)>,
}

impl Chat<'_> {
    fn greet(&self) {
        if self.is_typed {
            let model = self.model();
            self.app.terminal.say(&format!(
                "Talking to `{model}`; `/help` lists what can be typed, Ctrl-D or `/bye` leaves"
            ));
        }
    }

    fn model(&self) -> &str {
        self.sampling.model.as_deref().unwrap_or(&self.app.config.models.default)
    }

    async fn turn(&mut self, words: &str, interrupts: &mut Signal) -> Result<(), Failure> {
        self.talk.ask(words);
        let answer = tokio::select! {
            answer = Box::pin(self.answer()) => answer,
            _ = interrupts.recv() => Err(Failure::interrupted()),
        };
        match answer {
            Ok(answer) => {
                self.talk.answered(&answer.text);
                self.app.terminal.end_line()?;
                self.remark(&answer);
            }
            Err(failure) => {
                // The turn did not happen, so the model is not to remember it.
                self.talk.unask();
                self.recover(failure, interrupts).await?;
                self.app.terminal.end_line()?;
            }
        }
        Ok(())
    }

    /// Asks with as much of the talk as there is room for.
    async fn answer(&mut self) -> Result<Answer, Failure> {
        loop {
            let body = self.sampling.body(
                &self.app.config.models.default,
                |model| self.app.config.limit_of(model),
                &self.talk.told(),
            );
            if self.is_typed {
                self.app.terminal.wait();
            }
            let failure = match ask(self.app, &body, Show::Tokens).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            self.app.terminal.end_progress();
            if failure.code != Some(ErrorCode::ContextLengthExceeded) {
                return Err(failure);
            }
            let Some(left_out) = self.talk.leave_out() else {
                return Err(failure.hint(
                    "the question alone has no room; `/set max_tokens` leaves it more, or ask less at once",
                ));
            };
            self.app.terminal.say(&format!(
                "The talk has outgrown the model's context: its first {left_out} messages are not told \
                 any more; `/save` writes them all"
            ));
        }
    }

    /// What a person would want to know of the answer besides its words.
    fn remark(&mut self, answer: &Answer) {
        if !self.is_typed {
            return;
        }
        if answer.finish_reason.as_deref() == Some("length") {
            self.app.terminal.say("The answer ends at its limit; `/set max_tokens N` raises it");
        }
        let Some(build) = &answer.build else { return };
        let now = (self.model().to_owned(), build.clone());
        if let Some((model, before)) = self.build.replace(now)
            && model == self.model()
            && before != *build
        {
            let human = format!("Answered by another build, `{build}`; before it was `{before}`");
            self.app.terminal.say(&human);
        }
    }

    /// Goes on with the conversation where that makes sense: after a cancelled or a refused answer,
    /// and where a person sees it after any.
    async fn recover(&self, failure: Failure, interrupts: &mut Signal) -> Result<(), Failure> {
        let terminal = &self.app.terminal;
        terminal.end_progress();
        match failure.kind {
            Kind::Interrupted => {
                if let Some(job) = self.app.take_current() {
                    cancel(job, interrupts).await;
                }
                Ok(())
            }
            Kind::Usage | Kind::Unreachable if !self.is_typed => Err(failure),
            Kind::Failed | Kind::Build | Kind::Usage | Kind::Unreachable => {
                terminal.end_line()?;
                failure.lines(terminal.paint()).iter().for_each(|line| terminal.say(line));
                Ok(())
            }
            Kind::Closed => Err(failure),
        }
    }

    /// Does what was said to the chat and not to the model.
    fn obey(&mut self, said: Said) -> Result<(), Failure> {
        let text = match said {
            Said::Nothing | Said::Words(_) | Said::Bye => return Ok(()),
            Said::Help => help(),
            Said::Model(None) => format!("The model is `{}`", self.model()),
            Said::Model(Some(name)) => {
                self.sampling.model = Some(name);
                format!("From now on `{}` answers; it is told what was said so far", self.model())
            }
            Said::System(None) => match self.talk.system() {
                Some(text) => format!("The model is told first: {text}"),
                None => "The model is told nothing first".to_owned(),
            },
            Said::System(Some(text)) => {
                let text = Some(text).filter(|text| !text.is_empty());
                let told = if text.is_some() { "told that" } else { "told nothing" };
                self.talk.set_system(text);
                format!("The model is {told} first, from its next answer on")
            }
            Said::Set(None) => {
                let line = |(key, value): (&str, Option<String>)| {
                    let value = value.unwrap_or_else(|| "left to the model".to_owned());
                    format!("{key:<12} {value}")
                };
                self.sampling.settings().map(line).join("\n")
            }
            Said::Set(Some((key, value))) => match self.sampling.set(&key, &value) {
                Ok(()) => format!("{key} is {value}"),
                Err(wrong) => format!("`{key}` {wrong}"),
            },
            Said::Clear => {
                self.talk.clear();
                "What was said is forgotten".to_owned()
            }
            Said::Save(path) => match self.save(path) {
                Ok(path) => format!("Wrote the talk to `{path}`"),
                Err(error) => format!("{error:#}"),
            },
            Said::Wrong(why) => why,
        };
        self.app.terminal.end_line()?;
        self.app.terminal.say(&text);
        Ok(())
    }

    /// Overwrites nothing.
    fn save(&self, path: Option<String>) -> anyhow::Result<String> {
        let default = || ZonedDateTime::now().strftime("chat-%Y%m%d-%H%M%S.json").to_string();
        let path = path.unwrap_or_else(default);
        let talk = json!({ "model": self.model(), "messages": self.talk.all() });
        let text = serde_json::to_string_pretty(&talk)?;
        let file = fs::OpenOptions::new().write(true).create_new(true).open(&path);
        file.and_then(|mut file| file.write_all(text.as_bytes()))
            .with_context(|| format!("cannot write `{path}`"))?;
        Ok(path)
    }
}

fn help() -> String {
    let line = |(command, takes, does): &(&str, &str, &str)| {
        format!("{:<20} {does}", format!("{command} {takes}"))
    };
    let mut lines: Vec<_> = COMMANDS.iter().map(line).collect();
    lines.push(
        "\"\"\" .. \"\"\"          several lines; a paste may have several without".to_owned(),
    );
    lines.push("Ctrl-C               cancels an answer".to_owned());
    lines.join("\n")
}
