//! How long a model stays loaded when nobody uses it: as its last request said, else as the configuration
//! has it.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use chain_level::Running;
use rbee_api::{KeepAlive, Part};
use worker_lifecycle::WorkerHandle;

use super::Workers;

/// What requests have said, by the ids of the workers that they went to.
#[derive(Debug, Default)]
pub(super) struct Stays(Mutex<HashMap<String, KeepAlive>>);

impl Stays {
    pub(super) fn set(&self, worker: &str, stay: KeepAlive) {
        let mut stays = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        stays.insert(worker.to_owned(), stay);
    }

    fn of(&self, worker: &str) -> Option<KeepAlive> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(worker).copied()
    }

    pub(super) fn forget(&self, worker: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(worker);
    }
}

impl Workers {
    /// Has the model stay loaded for so long after its last request.
    pub(crate) fn keep(&self, worker: &WorkerHandle, stay: KeepAlive) {
        self.0.stays.set(&worker.id, stay);
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
        self.0.stays.of(&worker.id).unwrap_or_else(by_configuration)
    }

    /// After how many seconds it is stopped if nobody uses it.
    pub(super) fn unloads_in(&self, running: &Running<WorkerHandle>) -> Option<u64> {
        let stay = self.stay_of(&running.handle);
        let left = stay.0.saturating_sub(running.idle());
        (stay != KeepAlive::FOREVER).then_some(left.as_secs())
    }
}
