//! Whether the engine's thread gets on.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// Nothing that the thread does in one go takes so long: an operation of llama.cpp on the largest
/// batch, or a step of a grammar.
const STUCK_AFTER: Duration = Duration::from_secs(10);
/// What stands for a thread that waits for requests.
const IDLE: u64 = 0;

/// A sign of life from the engine's thread, for whoever asks from outside.
#[derive(Debug)]
pub(super) struct Watch {
    since: Instant,
    /// Milliseconds after `since` at which the thread was last seen at work, and one.
    seen: AtomicU64,
}

impl Default for Watch {
    fn default() -> Self {
        Self { since: Instant::now(), seen: AtomicU64::new(IDLE) }
    }
}

impl Watch {
    /// Says that the thread is at work.
    pub(super) fn beat(&self) {
        let now = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
        self.seen.store(now + 1, Ordering::Relaxed);
    }

    /// Says that it has nothing to do, for however long.
    pub(super) fn rest(&self) {
        self.seen.store(IDLE, Ordering::Relaxed);
    }

    /// For how long the thread has been at one thing, where that is longer than any should take.
    pub(super) fn stuck_for(&self) -> Option<Duration> {
        self.stuck_at(self.since.elapsed())
    }

    fn stuck_at(&self, now: Duration) -> Option<Duration> {
        let seen = self.seen.load(Ordering::Relaxed);
        if seen == IDLE {
            return None;
        }
        let silent = now.saturating_sub(Duration::from_millis(seen - 1));
        (silent >= STUCK_AFTER).then_some(silent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_waits_for_requests_is_never_stuck() {
        let watch = Watch::default();
        let hour = Duration::from_secs(3600);
        assert_eq!(watch.stuck_at(hour), None);
        watch.beat();
        watch.rest();
        assert_eq!(watch.stuck_at(hour), None);
    }

    #[test]
    fn a_thread_at_work_is_stuck_once_it_gives_no_sign_for_too_long() {
        let watch = Watch::default();
        watch.seen.store(5_001, Ordering::Relaxed);
        assert_eq!(watch.stuck_at(Duration::from_millis(14_999)), None);
        assert_eq!(watch.stuck_at(Duration::from_secs(15)), Some(STUCK_AFTER));
        assert_eq!(watch.stuck_at(Duration::from_secs(65)), Some(Duration::from_secs(60)));
        watch.beat();
        assert_eq!(watch.stuck_for(), None);
    }
}
