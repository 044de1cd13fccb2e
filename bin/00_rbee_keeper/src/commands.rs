//! One function and one file for each verb.

pub(crate) mod chat;
pub(crate) mod completions;
mod config;
pub(crate) mod dev;
pub(crate) mod doctor;
mod generate;
mod hive;
mod infer;
mod key;
mod logs;
mod model;
mod queen;
mod self_update;
mod service;
mod status;
mod store;
mod update;
mod worker;

use rbee_config::for_here;
use serde::Serialize;

pub(crate) use self::{logs::Logs, status::Row};

use crate::{
    app::App,
    cli::{ModelVerb, QueenVerb, Stop, Verb},
    failure::Failure,
};

/// Runs any verb but those that `run` handles itself.
pub(crate) async fn run(app: &App, verb: Verb) -> Result<(), Failure> {
    match verb {
        Verb::Infer(args) => infer::run(app, args).await,
        Verb::Serve(args) => queen::serve(app, args).await,
        Verb::Stop(args) => match args.meaning() {
            Stop::Chain(args) => queen::run(app, QueenVerb::Stop(args)).await,
            Stop::Model(args) => model::run(app, ModelVerb::Unload(args)).await,
        },
        Verb::Pull(args) => model::run(app, ModelVerb::Pull(args)).await,
        Verb::List(args) => model::run(app, ModelVerb::List(args)).await,
        Verb::Rm(args) => model::run(app, ModelVerb::Rm(args)).await,
        Verb::Show(args) => model::run(app, ModelVerb::Show(args)).await,
        Verb::Ps(args) => model::run(app, ModelVerb::Ps(args)).await,
        Verb::Status(args) => status::run(app, args).await,
        Verb::Queen(verb) => queen::run(app, verb).await,
        Verb::Hive(verb) => hive::run(app, verb).await,
        Verb::Worker(verb) => worker::run(app, verb).await,
        Verb::Model(verb) => model::run(app, verb).await,
        Verb::Key(verb) => key::run(app, verb).await,
        Verb::Store(verb) => store::run(app, verb).await,
        Verb::Update(args) => update::run(app, args).await,
        Verb::Logs(args) => logs::run(app, args).await,
        Verb::Config(args) => config::run(app, &args),
        Verb::Service(verb) => service::run(app, verb).await,
        Verb::Doctor(args) => doctor::run(app, &args).await,
        Verb::SelfUpdate(args) => self_update::run(app, args).await,
        Verb::Generate(args) => generate::run(app, &args),
        Verb::Chat(_) | Verb::Run(_) | Verb::Completions(_) | Verb::Dev(_) => {
            unreachable!("`run` handles these itself")
        }
    }
}

/// Prints a value as JSON, or what `text` makes of it.
fn print<T: Serialize>(
    app: &App,
    json: bool,
    value: &T,
    text: impl FnOnce(&T) -> String,
) -> Result<(), Failure> {
    if json {
        let mut json = serde_json::to_string_pretty(value).expect("every value is plain data");
        json.push('\n');
        app.terminal.out(&json)
    } else {
        app.terminal.out(&for_here(&text(value)))
    }
}
