//! Workers that were to take another one's place and could not be started, and when that is tried again.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use daemon_lifecycle::Waits;

/// From the first failure to the next attempt that nobody waits for; doubles with each.
const FIRST_WAIT: Duration = Duration::from_secs(60);
const LONGEST_WAIT: Duration = Duration::from_secs(60 * 60);

/// By the models' names.
#[derive(Debug, Default)]
pub(super) struct Setbacks(Mutex<HashMap<String, Setback>>);

#[derive(Debug)]
struct Setback {
    why: String,
    times: u32,
    at: Instant,
}

impl Setbacks {
    pub(super) fn note(&self, model: &str, why: String) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let times = all.get(model).map_or(0, |before| before.times).saturating_add(1);
        all.insert(model.to_owned(), Setback { why, times, at: Instant::now() });
    }

    pub(super) fn forget(&self, model: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(model);
    }

    /// Why the model's worker is not to be replaced yet. For a person it is tried each time.
    pub(super) fn holds(&self, model: &str, waits: Waits) -> Option<String> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let setback = all.get(model).filter(|_| waits == Waits::Nobody)?;
        (setback.at.elapsed() < wait_after(setback.times)).then(|| setback.why.clone())
    }
}

fn wait_after(times: u32) -> Duration {
    FIRST_WAIT.saturating_mul(1 << times.saturating_sub(1).min(16)).min(LONGEST_WAIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_an_hour() {
        let minutes: Vec<u64> = (1..9).map(|times| wait_after(times).as_secs() / 60).collect();
        assert_eq!(minutes, [1, 2, 4, 8, 16, 32, 60, 60]);
    }

    #[test]
    fn what_failed_is_tried_again_at_once_only_for_whoever_waits() {
        let setbacks = Setbacks::default();
        setbacks.note("m", "exit status: 1".to_owned());
        assert_eq!(setbacks.holds("m", Waits::Nobody).as_deref(), Some("exit status: 1"));
        assert_eq!(setbacks.holds("m", Waits::Person), None);
        assert_eq!(setbacks.holds("n", Waits::Nobody), None);
        setbacks.forget("m");
        assert_eq!(setbacks.holds("m", Waits::Nobody), None);
    }
}
