//! Workers that were to take another one's place and failed, and when that is tried again.
//!
//! One that is put beside the one before it has a name of its own, so nobody watches over its probation but
//! the hive: where it dies meanwhile its binary is held to have failed in every place of the model. The next
//! hive has to know that too, so it is kept in a file.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use daemon_lifecycle::{Identity, Waits, wait_after};
use serde::{Deserialize, Serialize};

use super::kept;

#[derive(Debug)]
pub(super) struct Setbacks {
    file: PathBuf,
    all: Mutex<All>,
}

#[derive(Debug, Default)]
struct All {
    /// By the models' names.
    failed: HashMap<String, Setback>,
    /// Who has just taken another one's place, by the instances' ids.
    on_probation: HashMap<String, Candidate>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Setback {
    why: String,
    times: u32,
    at: SystemTime,
    died: Option<Death>,
}

/// A binary whose process has died in its probation.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Death {
    bad: Identity,
    good: PathBuf,
}

/// A worker from another binary than the one before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) model: String,
    pub(super) process: Identity,
    /// The program that served before.
    pub(super) good: PathBuf,
}

/// What is to be held against a binary, in whichever slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Distrust {
    pub(super) bad: Identity,
    /// The program that served before.
    pub(super) good: PathBuf,
    pub(super) why: String,
}

impl Setback {
    /// Whether it is too short ago to try again.
    fn holds(&self) -> bool {
        // A clock that was set back makes nobody wait for it.
        let since = self.at.elapsed().unwrap_or(Duration::MAX);
        since < wait_after(self.times.saturating_sub(1))
    }
}

impl Setbacks {
    /// With what a hive before has written into the file.
    pub(super) fn kept_in(file: PathBuf) -> Self {
        let failed = kept::read(&file);
        Self { file, all: Mutex::new(All { failed, ..All::default() }) }
    }

    fn lock(&self) -> MutexGuard<'_, All> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The successor of the model's worker could not be started.
    pub(super) fn note(&self, model: &str, why: String) {
        self.add(&mut self.lock(), model, why, None);
    }

    fn add(&self, all: &mut All, model: &str, why: String, died: Option<Death>) {
        let before = all.failed.remove(model);
        let times = before.as_ref().map_or(0, |before| before.times).saturating_add(1);
        let died = died.or_else(|| before?.died);
        all.failed.insert(model.to_owned(), Setback { why, times, at: SystemTime::now(), died });
        kept::write(&self.file, &all.failed);
    }

    /// A worker from that binary serves.
    pub(super) fn is_over(&self, model: &str, exe_hash: &str) {
        if !self.has_killed(model, exe_hash) {
            self.forget(model);
        }
    }

    fn forget(&self, model: &str) {
        let mut all = self.lock();
        if all.failed.remove(model).is_some() {
            kept::write(&self.file, &all.failed);
        }
    }

    /// Why the model's worker is not to be replaced yet. For a person it is tried each time.
    pub(super) fn holds(&self, model: &str, waits: Waits) -> Option<String> {
        let all = self.lock();
        let setback = all.failed.get(model).filter(|_| waits == Waits::Nobody)?;
        setback.holds().then(|| setback.why.clone())
    }

    /// Whether a successor has died: the next one is put into the place itself, where its starter watches
    /// over it.
    pub(super) fn has_died(&self, model: &str) -> bool {
        self.death(model).is_some()
    }

    /// Whether it is that binary which died as the model's worker.
    pub(super) fn has_killed(&self, model: &str, exe_hash: &str) -> bool {
        self.death(model).is_some_and(|death| death.bad.exe_hash == exe_hash)
    }

    /// The program that served before the one that died.
    pub(super) fn good(&self, model: &str) -> Option<PathBuf> {
        Some(self.death(model)?.good)
    }

    fn death(&self, model: &str) -> Option<Death> {
        self.lock().failed.get(model)?.died.clone()
    }

    /// What is to be made known wherever a worker of the model is started, until that is tried again.
    pub(super) fn distrust(&self, model: &str) -> Option<Distrust> {
        let all = self.lock();
        let setback = all.failed.get(model).filter(|setback| setback.holds())?;
        let Death { bad, good } = setback.died.clone()?;
        Some(Distrust { bad, good, why: setback.why.clone() })
    }

    pub(super) fn begins(&self, candidate: Candidate) {
        let id = candidate.process.instance_id.clone();
        self.lock().on_probation.insert(id, candidate);
    }

    /// Of the model's workers on probation those whose processes are there no more.
    pub(super) fn dead(&self, model: &str) -> Vec<Identity> {
        let all = self.lock();
        let of_model = all.on_probation.values().filter(|candidate| candidate.model == model);
        of_model.map(|one| one.process.clone()).filter(|process| !process.is_alive()).collect()
    }

    /// The worker has ended by itself. Says whether it was on probation: then its binary has failed.
    pub(super) fn note_end(&self, worker: &Identity, why: &str) -> bool {
        let mut all = self.lock();
        let Some(candidate) = all.on_probation.remove(&worker.instance_id) else { return false };
        let Candidate { model, process, good } = candidate;
        self.add(&mut all, &model, why.to_owned(), Some(Death { bad: process, good }));
        true
    }

    /// The worker has stood its probation.
    pub(super) fn note_good(&self, worker: &Identity) {
        if let Some(candidate) = self.ends(worker)
            && self.has_killed(&candidate.model, &worker.exe_hash)
        {
            self.forget(&candidate.model);
        }
    }

    /// The worker is on probation no more: it is stopped.
    pub(super) fn ends(&self, worker: &Identity) -> Option<Candidate> {
        self.lock().on_probation.remove(&worker.instance_id)
    }
}

#[cfg(test)]
mod tests {
    use daemon_lifecycle::Daemon;
    use tempfile::TempDir;

    use super::*;

    fn setbacks() -> (TempDir, Setbacks) {
        let folder = tempfile::tempdir().unwrap();
        let setbacks = Setbacks::kept_in(folder.path().join("failed.json"));
        (folder, setbacks)
    }

    /// A process that is there no more, from that binary.
    fn candidate(exe_hash: &str) -> Candidate {
        let process = Identity {
            instance_id: format!("of {exe_hash}"),
            exe_hash: exe_hash.to_owned(),
            ..Identity::default()
        };
        Candidate { model: "m".to_owned(), process, good: "/good".into() }
    }

    fn died(setbacks: &Setbacks, exe_hash: &str) {
        setbacks.begins(candidate(exe_hash));
        assert!(setbacks.note_end(&candidate(exe_hash).process, "it died"));
    }

    #[test]
    fn what_failed_is_tried_again_at_once_only_for_whoever_waits() {
        let (_folder, setbacks) = setbacks();
        setbacks.note("m", "exit status: 1".to_owned());
        assert_eq!(setbacks.holds("m", Waits::Nobody).as_deref(), Some("exit status: 1"));
        assert_eq!(setbacks.holds("m", Waits::Person), None);
        assert_eq!(setbacks.holds("n", Waits::Nobody), None);
        setbacks.is_over("m", "any");
        assert_eq!(setbacks.holds("m", Waits::Nobody), None);
    }

    #[test]
    fn a_binary_that_died_is_told_of_at_each_start_until_another_one_serves() {
        let (_folder, setbacks) = setbacks();
        died(&setbacks, "bad");
        for _ in 0..2 {
            let told = setbacks.distrust("m").expect("it is not told of");
            assert_eq!((told.bad.exe_hash.as_str(), told.why.as_str()), ("bad", "it died"));
        }
        setbacks.note("m", "nor could it be started".to_owned());
        setbacks.is_over("m", "bad");
        assert!(setbacks.has_died("m"));
        setbacks.is_over("m", "mended");
        assert!(!setbacks.has_died("m"));
        assert_eq!(setbacks.distrust("m"), None);
    }

    #[test]
    fn the_next_hive_knows_what_died_and_when_it_is_over() {
        let (folder, setbacks) = setbacks();
        died(&setbacks, "bad");
        let file = folder.path().join("failed.json");
        let next = Setbacks::kept_in(file.clone());
        assert_eq!(next.distrust("m"), setbacks.distrust("m"));
        assert!(next.has_killed("m", "bad") && !next.has_killed("m", "other"));
        assert_eq!(next.good("m"), Some("/good".into()));
        next.is_over("m", "mended");
        assert!(!file.exists());
    }

    #[test]
    fn a_binary_that_stands_its_probation_after_all_is_held_against_no_more() {
        let (_folder, setbacks) = setbacks();
        died(&setbacks, "bad");
        setbacks.begins(candidate("bad"));
        setbacks.note_good(&candidate("bad").process);
        assert!(!setbacks.has_died("m"));
    }

    #[test]
    fn who_is_dead_is_seen_without_a_word() {
        let (_folder, setbacks) = setbacks();
        let alive = Daemon::attach("x").unwrap().identity().clone();
        setbacks.begins(Candidate { process: alive, ..candidate("good") });
        setbacks.begins(candidate("bad"));
        assert_eq!(setbacks.dead("m"), [candidate("bad").process]);
        assert_eq!(setbacks.dead("n"), []);
    }

    #[test]
    fn whoever_was_stopped_is_on_probation_no_more() {
        let (_folder, setbacks) = setbacks();
        setbacks.begins(candidate("x"));
        assert_eq!(setbacks.ends(&candidate("x").process), Some(candidate("x")));
        assert!(!setbacks.note_end(&candidate("x").process, "it died"));
        assert!(!setbacks.has_died("m"));
    }
}
