use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use auto_update::{Freshness, Watcher};
use tokio::sync::oneshot;

use super::Daemon;
use crate::{
    spec::Spec,
    starter::{
        spawn::{self, Again},
        update,
    },
    state::State,
};

/// After an edit nothing is built until the sources have not changed for this long.
/// A build that an edit overtakes is ended, so this need not outlast the pauses of who edits.
const QUIET: Duration = Duration::from_millis(100);

/// How long git may be in the middle of something before what there is is built all the same.
const GIT_PATIENCE: Duration = Duration::from_secs(60);
const GIT_INTERVAL: Duration = Duration::from_millis(200);

/// What has not led to another binary is tried again after this long though nothing changed: what
/// was wanting need not be an input. As long as failed builds are remembered.
const TRY_AGAIN: Duration = Duration::from_secs(600);

/// Looking more often than this finds nothing that the next look would not.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);

/// How often to look where the system does not tell of changes, or nothing may be done about them.
const UNTOLD_INTERVAL: Duration = Duration::from_secs(2);

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

/// Replaces this process whenever its sources say another binary. Returns when it is to end, or
/// cannot be done.
pub(super) async fn keep_fresh(
    daemon: &Daemon,
    trust: impl Fn() -> Option<Duration> + Send + Sync,
) {
    let Some(attachment) = &daemon.core.attachment else { return };
    let spec = update::unhurried(attachment.spec.clone());
    let Some(updater) = update::updater_of(&spec.update) else { return };
    let probe = match FreshnessProbe::start(updater.watch(), daemon.identity().exe_hash.clone()) {
        Ok(probe) => probe,
        Err(error) => return tracing::warn!(%error, "not kept up to date"),
    };
    let mut shutdown = daemon.shutdown();
    // From here on the system tells of changes.
    drop(probe.now().await);
    // What has been tried and did not lead to another binary: a build error, a failed start.
    let mut tried: Option<(Staleness, Instant)> = None;
    let root = updater.workspace_root().to_owned();
    loop {
        let seen = tokio::select! {
            seen = next(&probe, &trust) => seen,
            _ = &mut shutdown => return,
        };
        if trust().is_none() || daemon.state() != State::Serving || !daemon.core.hello().hands_over
        {
            continue;
        }
        let Some(mut seen) = seen else {
            tried = None;
            continue;
        };
        let was_tried =
            |(before, at): &(Staleness, Instant)| *before == seen && at.elapsed() < TRY_AGAIN;
        if tried.as_ref().is_some_and(was_tried) {
            continue;
        }
        let began = Instant::now();
        loop {
            tokio::time::sleep(QUIET).await;
            let is_busy = began.elapsed() < GIT_PATIENCE && git_is_busy(&root).await;
            if is_busy {
                tokio::time::sleep(GIT_INTERVAL).await;
            }
            match probe.now().await {
                Some(again) if is_busy || again != seen => seen = again,
                _ => break,
            }
        }
        if trust().is_some() {
            replace(daemon, &spec).await;
            tried = Some((seen, Instant::now()));
        }
    }
}

/// Its files may be of no version that anybody wrote.
async fn git_is_busy(root: &Path) -> bool {
    let root = root.to_owned();
    let looked = tokio::task::spawn_blocking(move || auto_update::git_is_busy_in(root)).await;
    let busy = looked.ok().flatten();
    if let Some(what) = busy {
        tracing::debug!(what, "stale, and waiting for git");
    }
    busy.is_some()
}

/// What there is to see when the last look is trusted no longer.
async fn next(
    probe: &FreshnessProbe,
    trust: &(impl Fn() -> Option<Duration> + Sync),
) -> Option<Staleness> {
    match trust() {
        Some(Duration::ZERO) => probe.at_change(UNTOLD_INTERVAL).await,
        Some(interval) => {
            tokio::time::sleep(interval.max(SHORTEST_INTERVAL)).await;
            probe.now().await
        }
        None => {
            tokio::time::sleep(UNTOLD_INTERVAL).await;
            None
        }
    }
}

/// Looks at the sources on a thread of its own: waiting for a change blocks, and the end of this
/// process waits for none.
struct FreshnessProbe(mpsc::Sender<Ask>);

struct Ask {
    /// How long to wait for a change at most, or for nothing where none is told of.
    wait: Duration,
    answer: oneshot::Sender<Option<Staleness>>,
}

impl FreshnessProbe {
    fn start(watcher: Watcher, own_hash: String) -> io::Result<Self> {
        let (asks, asked) = mpsc::channel::<Ask>();
        thread::Builder::new().name("freshness".to_owned()).spawn(move || {
            for ask in asked {
                if let Err(error) = watcher.wait(ask.wait) {
                    tracing::debug!(%error, "cannot wait for a change");
                }
                // Whoever asked may have been told to end.
                ask.answer.send(look(&watcher, &own_hash)).ok();
            }
        })?;
        Ok(Self(asks))
    }

    async fn now(&self) -> Option<Staleness> {
        self.at_change(Duration::ZERO).await
    }

    async fn at_change(&self, wait: Duration) -> Option<Staleness> {
        let (answer, looked) = oneshot::channel();
        self.0.send(Ask { wait, answer }).ok()?;
        looked.await.ok().flatten()
    }
}

fn look(watcher: &Watcher, own_hash: &str) -> Option<Staleness> {
    match watcher.check() {
        Ok(Freshness::Fresh(artifact)) => {
            let hash = artifact.hash.to_string();
            (hash != own_hash).then_some(Staleness::Built(hash))
        }
        Ok(Freshness::Stale(reasons)) => {
            let states =
                reasons.into_iter().map(|reason| (reason.input.clone(), state(reason.input)));
            Some(Staleness::Inputs(states.collect()))
        }
        Ok(Freshness::Unknown(doubt)) => Some(Staleness::Unknown(doubt.to_string())),
        Err(error) => Some(Staleness::Unknown(error.to_string())),
    }
}

fn state(path: PathBuf) -> Option<[i64; 4]> {
    let meta = fs::symlink_metadata(path).ok()?;
    let (inode, size) = (meta.ino().cast_signed(), meta.size().cast_signed());
    Some([inode, size, meta.ctime(), meta.ctime_nsec()])
}

/// As any starter would; this process is then told to hand over like any other.
async fn replace(daemon: &Daemon, spec: &Spec) {
    match spawn::spawn(spec, Again::No).await {
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
