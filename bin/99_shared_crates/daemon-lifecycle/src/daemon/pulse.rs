//! Whether the threads that serve come to anything, as seen from another thread.

use std::{
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Between two beats.
const BEAT: Duration = Duration::from_millis(500);

/// How many times in a row nothing may have beaten since it was last asked.
const MISSES: u32 = 4;

/// Whoever asks again sooner than this asks once: what was held up together is asked together.
const APART: Duration = Duration::from_secs(1);

/// Beats as long as tasks come to their turns: for whoever answers on another thread for those that
/// serve.
#[derive(Debug)]
pub struct Pulse {
    beats: AtomicU64,
    asked: Mutex<Asked>,
}

#[derive(Debug)]
struct Asked {
    beats: u64,
    missed: u32,
    at: Instant,
}

impl Pulse {
    /// One that is beaten by a task beside the caller's, until it is dropped.
    pub fn start() -> Arc<Self> {
        let asked = Mutex::new(Asked { beats: 0, missed: 0, at: Instant::now() });
        let pulse = Arc::new(Self { beats: AtomicU64::new(0), asked });
        tokio::spawn(beat(Arc::downgrade(&pulse)));
        pulse
    }

    /// Whether it has stopped, as far as that can be told: a process that was stopped as a whole, or
    /// that the machine gives little time, is none the worse for it.
    pub fn has_stopped(&self) -> bool {
        self.has_stopped_at(Instant::now())
    }

    fn has_stopped_at(&self, now: Instant) -> bool {
        let beats = self.beats.load(Ordering::Relaxed);
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if beats != asked.beats {
            *asked = Asked { beats, missed: 0, at: now };
        } else if now.saturating_duration_since(asked.at) >= APART {
            asked.missed += 1;
            asked.at = now;
        }
        asked.missed >= MISSES
    }
}

async fn beat(pulse: Weak<Pulse>) {
    while let Some(pulse) = pulse.upgrade() {
        pulse.beats.fetch_add(1, Ordering::Relaxed);
        drop(pulse);
        tokio::time::sleep(BEAT).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pulse(now: Instant) -> Pulse {
        let asked = Mutex::new(Asked { beats: 0, missed: 0, at: now });
        Pulse { beats: AtomicU64::new(0), asked }
    }

    #[test]
    fn it_has_stopped_once_it_was_asked_in_vain_for_several_times() {
        let mut now = Instant::now();
        let pulse = pulse(now);
        for asked in 1..6 {
            now += Duration::from_millis(2500);
            assert_eq!(pulse.has_stopped_at(now), asked >= MISSES, "{asked}");
        }
        pulse.beats.fetch_add(1, Ordering::Relaxed);
        assert!(!pulse.has_stopped_at(now));
    }

    #[test]
    fn a_process_that_was_stopped_for_long_is_asked_once() {
        let mut now = Instant::now();
        let pulse = pulse(now);
        now += Duration::from_secs(300);
        assert!((0..9).all(|_| !pulse.has_stopped_at(now)));
    }

    #[tokio::test(start_paused = true)]
    async fn tasks_that_come_to_their_turns_beat() {
        let pulse = Pulse::start();
        for _ in 0..9 {
            tokio::time::sleep(BEAT * 2).await;
            let now = pulse.asked.lock().unwrap().at + APART;
            assert!(!pulse.has_stopped_at(now));
        }
    }
}
