//! How long a model stays loaded when nobody uses it: as its last request said since it was loaded, else as
//! the configuration has it. Whichever processes of worker and hive replace each other meanwhile.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
};

use chain_level::Running;
use rbee_api::{KeepAlive, Part};
use worker_lifecycle::WorkerHandle;

use super::{Workers, kept};

/// What requests have said, by the names of their models.
#[derive(Debug)]
pub(super) struct Stays {
    file: PathBuf,
    said: Mutex<HashMap<String, KeepAlive>>,
}

impl Stays {
    /// With what a hive before has written into the file.
    pub(super) fn kept_in(file: PathBuf) -> Self {
        let said = kept::read(&file);
        Self { file, said: Mutex::new(said) }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, KeepAlive>> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, model: &str, stay: KeepAlive) {
        let mut said = self.lock();
        if said.insert(model.to_owned(), stay) != Some(stay) {
            kept::write(&self.file, &said);
        }
    }

    fn of(&self, model: &str) -> Option<KeepAlive> {
        self.lock().get(model).copied()
    }

    /// The model is loaded no more.
    pub(super) fn forget(&self, model: &str) {
        let mut said = self.lock();
        if said.remove(model).is_some() {
            kept::write(&self.file, &said);
        }
    }
}

impl Workers {
    /// Has the model stay loaded for so long after its last request.
    pub(crate) fn keep(&self, worker: &WorkerHandle, stay: KeepAlive) {
        self.0.stays.set(&worker.model, stay);
    }

    pub(super) fn stay_of(&self, worker: &WorkerHandle) -> KeepAlive {
        let config = self.0.config.current();
        let entry = config.model.get(&worker.model);
        // What only computes for another worker stays for as long as that one does.
        let serves = worker.part.as_ref().is_none_or(Part::is_head);
        if !serves || entry.is_some_and(|entry| entry.pinned) {
            return KeepAlive::FOREVER;
        }
        let by_configuration = || {
            let of_model = entry.and_then(|entry| entry.keep_alive);
            KeepAlive(of_model.unwrap_or(config.worker.idle_timeout))
        };
        self.0.stays.of(&worker.model).unwrap_or_else(by_configuration)
    }

    /// After how many seconds it is stopped if nobody uses it.
    pub(super) fn unloads_in(&self, running: &Running<WorkerHandle>) -> Option<u64> {
        let stay = self.stay_of(&running.handle);
        let left = stay.0.saturating_sub(running.idle());
        (stay != KeepAlive::FOREVER).then_some(left.as_secs())
    }
}
