use std::{fs, os::unix::fs::MetadataExt as _, path::PathBuf, time::Duration};

use auto_update::{AutoUpdater, Freshness};

use super::Daemon;
use crate::{DaemonManager, State, starter::update};

/// After an edit nothing is built until the sources have not changed for this long.
const QUIET: Duration = Duration::from_millis(500);

/// Looking more often than this finds nothing that the next look would not.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);

/// What makes a binary stale, precisely enough to see whether it has changed since.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Staleness {
    /// Another binary has been built already.
    Built(String),
    /// Inputs with their inode, size and change time; `None` for what is not there.
    Inputs(Vec<(PathBuf, Option<[i64; 4]>)>),
    /// Only cargo can tell.
    Unknown(String),
}

/// Replaces this process whenever its sources say another binary. Returns when it is to end.
pub(super) async fn keep_fresh(
    daemon: &Daemon,
    every: Duration,
    allowed: impl Fn() -> bool + Send + Sync,
) {
    let Some(manager) = daemon.manager().map(update::unhurried) else { return };
    let Some(updater) = update::updater_of(&manager) else { return };
    let every = every.max(SHORTEST_INTERVAL);
    let mut shutdown = daemon.shutdown();
    // What has been tried and did not lead to another binary: a build error, a failed start.
    let mut tried = None;
    loop {
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            _ = &mut shutdown => return,
        }
        if !allowed() || daemon.state() != State::Serving || !daemon.core.hello().hands_over {
            continue;
        }
        let Some(mut seen) = look(daemon, &updater).await else {
            tried = None;
            continue;
        };
        if tried.as_ref() == Some(&seen) {
            continue;
        }
        loop {
            tokio::time::sleep(QUIET).await;
            match look(daemon, &updater).await {
                Some(again) if again != seen => seen = again,
                _ => break,
            }
        }
        if allowed() {
            replace(daemon, &manager).await;
            tried = Some(seen);
        }
    }
}

async fn look(daemon: &Daemon, updater: &AutoUpdater) -> Option<Staleness> {
    let (updater, own) = (updater.clone(), daemon.identity().exe_hash.clone());
    let looked = tokio::task::spawn_blocking(move || match updater.check() {
        Ok(Freshness::Fresh(artifact)) => {
            let hash = artifact.hash.to_string();
            (hash != own).then_some(Staleness::Built(hash))
        }
        Ok(Freshness::Stale(reasons)) => {
            let states =
                reasons.into_iter().map(|reason| (reason.input.clone(), state(reason.input)));
            Some(Staleness::Inputs(states.collect()))
        }
        Ok(Freshness::Unknown(doubt)) => Some(Staleness::Unknown(doubt.to_string())),
        Err(error) => Some(Staleness::Unknown(error.to_string())),
    });
    looked.await.ok().flatten()
}

fn state(path: PathBuf) -> Option<[i64; 4]> {
    let meta = fs::symlink_metadata(path).ok()?;
    let (inode, size) = (meta.ino().cast_signed(), meta.size().cast_signed());
    Some([inode, size, meta.ctime(), meta.ctime_nsec()])
}

/// As any starter would; this process is then told to hand over like any other.
async fn replace(daemon: &Daemon, manager: &DaemonManager) {
    match manager.spawn().await {
        Ok(handle) if handle.id() == daemon.identity().pid => {
            tracing::warn!(outcome = ?handle.outcome(), "stale, and still serving");
        }
        Ok(handle) => tracing::info!(pid = handle.id(), "replaced by what the sources say"),
        Err(error) => {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(error, "stale, and cannot be replaced");
        }
    }
}
