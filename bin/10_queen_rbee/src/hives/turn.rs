//! Whose turn it is to start the workers that compute a model together, or to end them: one at a time, also
//! where a queen's successor serves already while she still starts some.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use chain_daemon::InstanceName;
use rbee_api::ErrorBody;
use tokio::sync::OwnedMutexGuard;

/// A start that failed is not repeated before that, unless a person asks.
const PAUSE: Duration = Duration::from_secs(60);

/// By the models' names.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<HashMap<String, Arc<tokio::sync::Mutex<Last>>>>);

/// What came of the last start.
#[derive(Debug, Default)]
pub(super) struct Last {
    failed: Option<(Instant, ErrorBody)>,
}

/// Held by whoever starts or ends the workers for a model.
#[derive(Debug)]
pub(super) struct Turn {
    last: OwnedMutexGuard<Last>,
    /// Locked, which other processes see.
    _file: File,
}

impl Turns {
    /// Waits for it.
    pub(super) async fn wait(&self, run: &Path, model: &str) -> io::Result<Turn> {
        let last = self.of(model).lock_owned().await;
        let path = path(run, model);
        let locked = tokio::task::spawn_blocking(move || {
            let file = open(&path)?;
            file.lock()?;
            Ok(file)
        });
        let file: io::Result<File> = locked.await.map_err(io::Error::other)?;
        Ok(Turn { last, _file: file? })
    }

    /// The same if nobody has it.
    pub(super) fn take(&self, run: &Path, model: &str) -> Option<Turn> {
        let last = self.of(model).try_lock_owned().ok()?;
        let file = open(&path(run, model)).ok()?;
        file.try_lock().ok()?;
        Some(Turn { last, _file: file })
    }

    fn of(&self, model: &str) -> Arc<tokio::sync::Mutex<Last>> {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(turns.entry(model.to_owned()).or_default())
    }
}

impl Turn {
    /// Why the last start failed, while that is too short ago to try again.
    pub(super) fn failed_before(&self) -> Option<&ErrorBody> {
        let (at, body) = self.last.failed.as_ref()?;
        (at.elapsed() < PAUSE).then_some(body)
    }

    pub(super) fn note(&mut self, started: &Result<(), ErrorBody>) {
        self.last.failed = started.clone().err().map(|body| (Instant::now(), body));
    }
}

fn path(run: &Path, model: &str) -> PathBuf {
    // A name that is plain, bounded, and different for different models.
    run.join("groups").join(InstanceName::worker(model, 0, "all").to_string())
}

fn open(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn two_queens_have_their_turns_one_after_the_other_and_models_do_not_wait_for_one_another()
     {
        let run = tempfile::tempdir().unwrap();
        let (old, new) = (Turns::default(), Turns::default());
        let turn = old.wait(run.path(), "org/m").await.unwrap();
        assert!(old.take(run.path(), "org/m").is_none());
        assert!(new.take(run.path(), "org/m").is_none());
        assert!(new.take(run.path(), "other").is_some());
        let waiting = new.wait(run.path(), "org/m");
        drop(turn);
        let turn = waiting.await.unwrap();
        assert!(old.take(run.path(), "org/m").is_none());
        drop(turn);
        assert!(old.take(run.path(), "org/m").is_some());
    }
}
