use std::{cell::RefCell, ffi::OsString, path::PathBuf, time::Duration};

use model_store::{Error, ModelStore, Patience, PullEvent, Sources};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

/// A store in a folder of its own that downloads from `endpoint`.
pub(crate) struct World {
    pub(crate) folder: TempDir,
    pub(crate) store: ModelStore,
    events: RefCell<Vec<PullEvent>>,
}

/// Pauses short enough for a test, and time enough for a busy machine to answer.
pub(crate) const PATIENCE: Patience = Patience {
    connect: Duration::from_secs(20),
    stall: Duration::from_secs(20),
    first_pause: Duration::from_millis(1),
    longest_pause: Duration::from_millis(5),
    retries: 3,
};

/// Nothing listens on it.
pub(crate) const NOWHERE: &str = "http://127.0.0.1:1";

impl World {
    pub(crate) fn new(endpoint: &str) -> Self {
        Self::with_sources(Sources::new(endpoint, []).unwrap().with_python("/does/not/exist"))
    }

    /// One that soon takes a silent server for a dead one.
    pub(crate) fn impatient(endpoint: &str) -> Self {
        let mut world = Self::new(endpoint);
        let patience = Patience { stall: Duration::from_millis(500), ..PATIENCE };
        world.store = world.store.with_patience(patience);
        world
    }

    pub(crate) fn with_sources(sources: Sources) -> Self {
        let folder = TempDir::new().unwrap();
        let store = ModelStore::open(folder.path().join("models"), sources).unwrap();
        let store = store.with_patience(PATIENCE);
        Self { folder, store, events: RefCell::default() }
    }

    pub(crate) fn pull(&self, name: &str) -> Result<PathBuf, Error> {
        self.pull_until(name, || false)
    }

    pub(crate) fn pull_until(
        &self,
        name: &str,
        cancel: impl Fn() -> bool,
    ) -> Result<PathBuf, Error> {
        self.store.pull(name, &mut |event| self.events.borrow_mut().push(event), &cancel)
    }

    /// The refusal of a pull, with its causes.
    #[track_caller]
    pub(crate) fn refusal(&self, name: &str) -> String {
        chain(&self.pull(name).unwrap_err())
    }

    /// What was told since it was last asked.
    pub(crate) fn events(&self) -> Vec<PullEvent> {
        self.events.take()
    }

    pub(crate) fn retries(&self) -> usize {
        self.events().iter().filter(|event| matches!(event, PullEvent::Retry { .. })).count()
    }

    /// The names of all files of the store, but for locks.
    pub(crate) fn files(&self) -> Vec<String> {
        let mut files = Vec::new();
        let root = self.folder.path().join("models");
        let mut folders = vec![root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in folder.read_dir().unwrap() {
                let path = entry.unwrap().path();
                if path.ends_with(".locks") {
                } else if path.is_dir() {
                    folders.push(path);
                } else {
                    files.push(path.strip_prefix(&root).unwrap().display().to_string());
                }
            }
        }
        files.sort();
        files
    }
}

pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {}", chain(cause)),
        None => error.to_string(),
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The variables that the tests themselves were started with, for the real pip.
pub(crate) fn own_environment() -> impl Iterator<Item = (OsString, OsString)> {
    std::env::vars_os()
}
