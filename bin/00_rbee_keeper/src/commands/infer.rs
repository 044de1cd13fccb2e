use std::io::{self, IsTerminal as _, Read as _};

use anyhow::Context as _;
use narration_core::Narration;

use crate::{
    answer::{Show, ask},
    app::App,
    cli::{InferArgs, message},
    commands::print,
    failure::Failure,
};

/// What to do where there is no prompt.
const HOW: &str = "`./rbee infer \"Write a haiku about bees\"`, or pipe one in";

pub(crate) async fn run(app: &App, args: InferArgs) -> Result<(), Failure> {
    let prompt = prompt(args.prompt).await?;
    let mut messages = args.sampling.opening();
    messages.push(message("user", &prompt));
    let body = args.sampling.body(
        &app.config.models.default,
        |model| app.config.limit_of(model),
        &messages,
    );

    let stream = !(args.no_stream || args.output.json);
    let show = if stream { Show::Tokens } else { Show::Nothing };
    let answer = ask(app, &body, show).await?;
    if !stream {
        print(app, args.output.json, &answer, |answer| answer.text.clone())?;
    }
    app.terminal.end_line()?;
    if answer.finish_reason.as_deref() == Some("length") {
        let human = "The answer ends at its limit of tokens; --max-tokens raises it";
        Narration::new("keeper", "infer", human).emit();
    }
    Ok(())
}

async fn prompt(given: Option<String>) -> Result<String, Failure> {
    let prompt = match given {
        Some(prompt) if prompt != "-" => prompt,
        None if io::stdin().is_terminal() => {
            return Err(Failure::usage("there is no prompt").hint(HOW));
        }
        Some(_) | None => tokio::task::spawn_blocking(read_stdin)
            .await
            .context("the thread that reads standard input died")?
            .context("cannot read the prompt from standard input")?,
    };
    if prompt.trim().is_empty() {
        return Err(Failure::usage("the prompt is empty").hint(HOW));
    }
    Ok(prompt)
}

fn read_stdin() -> io::Result<String> {
    let mut text = String::new();
    io::stdin().lock().read_to_string(&mut text)?;
    Ok(text)
}
