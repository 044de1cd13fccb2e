//! What is done about this machine's hive by whoever comes to it over SSH: each command writes lines of
//! JSON, its narrations and what came of it.

use std::{
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Context as _;
use chain_daemon::{InstanceName, There, stop_mode};
use clap::Subcommand;
use daemon_lifecycle::{Identity, Outcome, stop_all};
use http_guard::Token;
use narration_core::Narration;
use rbee_api::causes;
use rbee_config::{Overrides, RbeeConfig};

#[derive(Debug, Subcommand)]
pub(crate) enum Manage {
    /// Start the hive from a binary, or replace the one that runs from another.
    Start {
        #[arg(long)]
        alias: String,
        /// The binary that is to run.
        #[arg(long)]
        binary: PathBuf,
    },
    /// Show the hive that runs.
    Show {
        #[arg(long)]
        alias: String,
    },
    /// Stop the hive and its workers.
    Stop {
        #[arg(long)]
        alias: String,
        /// In the middle of requests.
        #[arg(long)]
        now: bool,
    },
    /// End a hive that hangs, at once, and none of its workers.
    Kill {
        #[arg(long)]
        alias: String,
    },
}

/// What is written is all that comes of it: another exit code says that the binary cannot run here.
pub(crate) async fn run(manage: Manage) -> ExitCode {
    let said = done(manage).await;
    say(&said.unwrap_or_else(|error| There::Failed { why: format!("{error:#}") }));
    ExitCode::SUCCESS
}

async fn done(manage: Manage) -> anyhow::Result<There> {
    let config =
        RbeeConfig::load(&Overrides::default()).context("cannot read the configuration")?;
    config.paths.create().context("cannot make rbee's folders")?;
    let narrate = |narration: Narration| say(&There::Narration(narration));
    chain_daemon::init_tracing(Some("warn"), narrate);
    match manage {
        Manage::Start { alias, binary } => {
            let daemon = chain_daemon::hive_at(&config, &alias, binary).spawn().await;
            let daemon = daemon.with_context(|| format!("the hive `{alias}` does not run"))?;
            runs(&config, daemon.identity().clone(), daemon.outcome().clone())
        }
        Manage::Show { alias } => match running(&config, &alias).await? {
            Some(identity) => runs(&config, identity, Outcome::Reused),
            None => Ok(There::Nobody),
        },
        Manage::Stop { alias, now } => {
            let (run, mode) = (&config.paths.run, stop_mode(&config, now));
            let hive = InstanceName::Hive { alias: alias.clone() };
            let is_hive = |name: &str| name.parse::<InstanceName>().is_ok_and(|name| name == hive);
            let is_worker = |name: &str| {
                name.parse::<InstanceName>().is_ok_and(|name| name.is_worker_of(&alias))
            };
            let mut stopped = stop_all(run, is_hive, mode).await?;
            stopped.extend(stop_all(run, is_worker, mode).await?);
            Ok(There::Stopped { names: stopped.into_iter().map(|(name, _)| name).collect() })
        }
        Manage::Kill { alias } => {
            let running = running(&config, &alias).await?;
            let Some(identity) = running else { return Ok(There::Nobody) };
            daemon_lifecycle::kill(&identity).await;
            Ok(There::Stopped { names: vec![alias] })
        }
    }
}

/// The hive whose process is alive, whether it answers or not.
async fn running(config: &RbeeConfig, alias: &str) -> anyhow::Result<Option<Identity>> {
    let name = InstanceName::Hive { alias: alias.to_owned() }.to_string();
    let mut instances = daemon_lifecycle::instances(&config.paths.run).into_iter();
    Ok(instances.find(|(running, _)| *running == name).map(|(_, identity)| identity))
}

fn runs(config: &RbeeConfig, identity: Identity, outcome: Outcome) -> anyhow::Result<There> {
    let token = Token::load_or_create(&config.paths.token)
        .map_err(|error| anyhow::anyhow!(causes(&error)))?;
    Ok(There::Runs { identity, outcome: Box::new(outcome), token: token.reveal().to_owned() })
}

fn say(said: &There) {
    let line = serde_json::to_string(said).unwrap_or_default();
    // Whoever asked may have gone.
    drop(writeln!(io::stdout().lock(), "{line}"));
}
