use std::time::SystemTime;

use anyhow::Context as _;
use auto_update::{Store, StoredArtifact};
use serde::Serialize;

use crate::{
    app::App,
    chain,
    cli::StoreVerb,
    commands::print,
    failure::Failure,
    render::{Table, age, bytes, short_hash},
};

#[derive(Serialize)]
struct List {
    artifacts: Vec<Row>,
    bytes: u64,
}

#[derive(Serialize)]
struct Collected {
    removed: Vec<Row>,
    removed_bytes: u64,
    /// What is left, which exceeds what was allowed where all of it is in use.
    kept_bytes: u64,
}

#[derive(Serialize)]
struct Row {
    #[serde(flatten)]
    artifact: StoredArtifact,
    /// Since it was last built or restored.
    idle_s: u64,
}

pub(crate) async fn run(app: &App, verb: StoreVerb) -> Result<(), Failure> {
    match verb {
        StoreVerb::List(args) => {
            let list = in_store(app, list).await?;
            print(app, args.output.json, &list, table)
        }
        StoreVerb::Gc(args) => {
            let limit = args.keep.unwrap_or(Store::DEFAULT_LIMIT);
            let collected = in_store(app, move |store| collect(store, limit)).await?;
            print(app, args.output.json, &collected, summary)
        }
    }
}

/// Does `work` on a thread of its own: a large store takes a while to look through.
async fn in_store<T: Send + 'static>(
    app: &App,
    work: impl FnOnce(&Store) -> Result<T, auto_update::Error> + Send + 'static,
) -> Result<T, Failure> {
    let Some(root) = app.config.source_root.clone() else {
        return Err(Failure::failed("there are no sources here, so nothing is built or kept"));
    };
    let done = tokio::task::spawn_blocking(move || work(&chain::store(&root)?)).await;
    let done = done.context("the thread that looks through the store died")?;
    Ok(done.map_err(anyhow::Error::from)?)
}

fn list(store: &Store) -> Result<List, auto_update::Error> {
    let artifacts = rows(store.list()?);
    Ok(List { bytes: sum(&artifacts), artifacts })
}

fn collect(store: &Store, limit: u64) -> Result<Collected, auto_update::Error> {
    let removed = rows(store.collect_garbage(limit)?);
    Ok(Collected { removed_bytes: sum(&removed), removed, kept_bytes: list(store)?.bytes })
}

fn rows(artifacts: Vec<StoredArtifact>) -> Vec<Row> {
    let now = SystemTime::now();
    let row = |artifact: StoredArtifact| Row {
        // A clock that was set back makes it as new as can be.
        idle_s: now.duration_since(artifact.last_used).unwrap_or_default().as_secs(),
        artifact,
    };
    artifacts.into_iter().map(row).collect()
}

fn sum(rows: &[Row]) -> u64 {
    rows.iter().map(|row| row.artifact.size).sum()
}

fn table(list: &List) -> String {
    if list.artifacts.is_empty() {
        return "nothing is kept yet\n".to_owned();
    }
    let mut table = Table::new(&["BINARY", "HASH", "SIZE", "LAST USED", "CURRENT", "PIDS"]);
    for row in &list.artifacts {
        let pids: Vec<_> = row.artifact.pids.iter().map(ToString::to_string).collect();
        table.row([
            row.artifact.binary.clone(),
            short_hash(&row.artifact.hash.to_string()).to_owned(),
            bytes(row.artifact.size),
            format!("{} ago", age(row.idle_s)),
            if row.artifact.current { "yes".to_owned() } else { String::new() },
            pids.join(" "),
        ]);
    }
    format!("{}{} binaries, {}\n", table.text(), list.artifacts.len(), bytes(list.bytes))
}

fn summary(collected: &Collected) -> String {
    let mut lines: Vec<_> = collected.removed.iter().map(removed).collect();
    lines.push(format!(
        "{} removed, {}; {} kept\n",
        collected.removed.len(),
        bytes(collected.removed_bytes),
        bytes(collected.kept_bytes)
    ));
    lines.join("\n")
}

fn removed(row: &Row) -> String {
    let StoredArtifact { binary, hash, size, .. } = &row.artifact;
    format!("removed {binary} {} ({})", short_hash(&hash.to_string()), bytes(*size))
}
