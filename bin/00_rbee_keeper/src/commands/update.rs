use rbee_api::JobRequest;
use serde::Serialize;

use crate::{
    app::App,
    chain::{CHAIN, Freshness, Verdict, engine_verdicts, verdicts},
    cli::UpdateArgs,
    commands::{print, status},
    failure::{Failure, Kind},
    job::Job,
    render::Table,
};

#[derive(Serialize)]
struct Verdicts {
    levels: Vec<Verdict>,
}

pub(crate) async fn run(app: &App, args: UpdateArgs) -> Result<(), Failure> {
    if args.check { check(app, args).await } else { update(app, args).await }
}

async fn check(app: &App, args: UpdateArgs) -> Result<(), Failure> {
    let mut levels = verdicts(&app.config, &CHAIN).await?;
    levels.extend(engine_verdicts(&app.config).await?);
    if levels.is_empty() {
        app.terminal.say(match app.config.source_root {
            Some(_) => "auto-update is off, so nothing is ever stale (auto_update.enabled)",
            None => "There are no sources to compare with: this is an installed release",
        });
    }
    let all_fresh = levels.iter().all(|verdict| verdict.freshness == Freshness::Fresh);
    print(app, args.output.json, &Verdicts { levels }, table)?;
    if all_fresh { Ok(()) } else { Err(Failure::said(Kind::Failed)) }
}

/// The queen through its lifecycle, and through it everything below.
async fn update(app: &App, args: UpdateArgs) -> Result<(), Failure> {
    Job::start(app, &JobRequest::ChainUpdate {}).await?.finish().await?;
    let queen = app.queen().await?;
    status::show(app, Some(&queen), args.output).await.map(drop)
}

fn table(verdicts: &Verdicts) -> String {
    if verdicts.levels.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&["LEVEL", "BINARY", "FRESH", "WHY"]);
    for verdict in &verdicts.levels {
        let mut reasons = verdict.reasons.iter().cloned();
        table.row([
            verdict.level.to_owned(),
            verdict.binary.to_owned(),
            verdict.freshness.name().to_owned(),
            reasons.next().unwrap_or_default(),
        ]);
        for reason in reasons {
            table.row([String::new(), String::new(), String::new(), reason]);
        }
    }
    table.text()
}
