//! Workers that were to take another one's place and failed, and when that is tried again.
//!
//! One that is put beside the one before it has a name of its own, so nobody watches over its probation but
//! the hive: where it dies meanwhile its binary is held to have failed in every place of the model.

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use daemon_lifecycle::{Identity, Waits, wait_after};

#[derive(Debug, Default)]
pub(super) struct Setbacks(Mutex<All>);

#[derive(Debug, Default)]
struct All {
    /// By the models' names.
    failed: HashMap<String, Setback>,
    /// Who has just taken another one's place, by the instances' ids.
    on_probation: HashSet<String>,
}

#[derive(Debug)]
struct Setback {
    why: String,
    times: u32,
    at: Instant,
    died: Option<Death>,
}

/// A binary whose process has died in its probation.
#[derive(Debug)]
struct Death {
    bad: Identity,
    good: PathBuf,
    /// The slots in which it is known.
    told: HashSet<u8>,
}

/// What is to be held against a binary in a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Distrust {
    pub(super) bad: Identity,
    /// The program that served before.
    pub(super) good: PathBuf,
    pub(super) why: String,
}

impl Setbacks {
    fn lock(&self) -> MutexGuard<'_, All> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The successor of the model's worker could not be started.
    pub(super) fn note(&self, model: &str, why: String) {
        self.add(model, why, None);
    }

    /// The successor of the model's worker, which ran `good`, has died in its probation.
    pub(super) fn note_death(&self, model: &str, why: String, bad: Identity, good: PathBuf) {
        self.add(model, why, Some(Death { bad, good, told: HashSet::new() }));
    }

    fn add(&self, model: &str, why: String, died: Option<Death>) {
        let mut all = self.lock();
        let before = all.failed.remove(model);
        let times = before.as_ref().map_or(0, |before| before.times).saturating_add(1);
        let died = died.or_else(|| before?.died);
        all.failed.insert(model.to_owned(), Setback { why, times, at: Instant::now(), died });
    }

    /// A worker from that binary serves.
    pub(super) fn is_over(&self, model: &str, exe_hash: &str) {
        let mut all = self.lock();
        let died = all.failed.get(model).and_then(|setback| setback.died.as_ref());
        if died.is_none_or(|death| death.bad.exe_hash != exe_hash) {
            all.failed.remove(model);
        }
    }

    /// Why the model's worker is not to be replaced yet. For a person it is tried each time.
    pub(super) fn holds(&self, model: &str, waits: Waits) -> Option<String> {
        let all = self.lock();
        let setback = all.failed.get(model).filter(|_| waits == Waits::Nobody)?;
        let wait = wait_after(setback.times.saturating_sub(1));
        (setback.at.elapsed() < wait).then(|| setback.why.clone())
    }

    /// Whether a successor has died: the next one is put into the place itself, where its starter watches
    /// over it.
    pub(super) fn has_died(&self, model: &str) -> bool {
        self.lock().failed.get(model).is_some_and(|setback| setback.died.is_some())
    }

    /// What is to be made known in the slot, once.
    pub(super) fn distrust(&self, model: &str, slot: u8) -> Option<Distrust> {
        let mut all = self.lock();
        let Setback { why, died, .. } = all.failed.get_mut(model)?;
        let death = died.as_mut()?;
        let (bad, good, why) = (death.bad.clone(), death.good.clone(), why.clone());
        death.told.insert(slot).then_some(Distrust { bad, good, why })
    }

    pub(super) fn begins(&self, worker: &Identity) {
        self.lock().on_probation.insert(worker.instance_id.clone());
    }

    /// Says whether the worker was still on probation.
    pub(super) fn ends(&self, worker: &Identity) -> bool {
        self.lock().on_probation.remove(&worker.instance_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(exe_hash: &str) -> Identity {
        Identity { exe_hash: exe_hash.to_owned(), ..Identity::default() }
    }

    #[test]
    fn what_failed_is_tried_again_at_once_only_for_whoever_waits() {
        let setbacks = Setbacks::default();
        setbacks.note("m", "exit status: 1".to_owned());
        assert_eq!(setbacks.holds("m", Waits::Nobody).as_deref(), Some("exit status: 1"));
        assert_eq!(setbacks.holds("m", Waits::Person), None);
        assert_eq!(setbacks.holds("n", Waits::Nobody), None);
        setbacks.is_over("m", "any");
        assert_eq!(setbacks.holds("m", Waits::Nobody), None);
    }

    #[test]
    fn a_binary_that_died_is_known_in_each_slot_until_another_one_serves() {
        let setbacks = Setbacks::default();
        setbacks.note_death("m", "it died".to_owned(), identity("bad"), "/good".into());
        for slot in [0, 1] {
            let told = setbacks.distrust("m", slot).expect("it is not known there");
            assert_eq!((told.bad.exe_hash.as_str(), told.why.as_str()), ("bad", "it died"));
            assert_eq!(setbacks.distrust("m", slot), None);
        }
        setbacks.note("m", "nor could it be started".to_owned());
        setbacks.is_over("m", "bad");
        assert!(setbacks.has_died("m"));
        setbacks.is_over("m", "mended");
        assert!(!setbacks.has_died("m"));
    }

    #[test]
    fn whoever_was_stopped_is_on_probation_no_more() {
        let (setbacks, worker) = (Setbacks::default(), identity("x"));
        setbacks.begins(&worker);
        assert!(setbacks.ends(&worker));
        assert!(!setbacks.ends(&worker));
    }
}
