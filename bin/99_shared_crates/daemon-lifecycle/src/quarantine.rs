//! Binaries that failed, and when they are tried again.

use std::{fs, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    client::Unwell,
    instance::{Instance, remove},
    process,
};

const FIRST_WAIT: Duration = Duration::from_secs(60);
const LONGEST_WAIT: Duration = Duration::from_secs(60 * 60);

/// Why a binary is not tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Quarantined {
    pub(crate) why: String,
    /// A slow start may be the machine's fault: then it is only for a time.
    #[serde(default)]
    pub(crate) slow: Option<Slow>,
    /// It ended as it was started, so it is of no use to anybody, whatever else there is.
    #[serde(default)]
    is_useless: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Slow {
    times: u32,
    boot_id: String,
    /// Since the machine started: a clock that nobody sets.
    again_at_s: u64,
}

impl Quarantined {
    /// How long it lasts; `None` until the binary changes.
    pub(crate) fn left(&self) -> Option<Duration> {
        self.left_at(&process::boot_id(), since_boot().as_secs())
    }

    /// How long what could not be started is not started, whatever else there is.
    pub(crate) fn held_back(&self) -> Option<Duration> {
        self.left().filter(|_| self.is_useless)
    }

    fn left_at(&self, boot_id: &str, now_s: u64) -> Option<Duration> {
        self.slow.as_ref().map(|slow| {
            let left = slow.again_at_s.saturating_sub(now_s);
            Duration::from_secs(if slow.boot_id == boot_id { left } else { 0 })
        })
    }
}

impl Instance {
    /// What keeps the binary from being tried.
    pub(crate) fn quarantined(&self, exe_hash: &str, args_hash: &str) -> Option<Quarantined> {
        let failed: Quarantined = self.load(&bad_file(exe_hash, args_hash))?;
        (failed.left() != Some(Duration::ZERO)).then_some(failed)
    }

    /// The binary is not tried again until it changes; one that was only slow is after a while, a
    /// longer one each time.
    pub(crate) fn quarantine(&self, exe_hash: &str, args_hash: &str, failed: &Unwell) {
        let why = failed.why.clone();
        let slow = failed.slow.then(|| self.slow_once_more(exe_hash, args_hash));
        let failed = Quarantined { why, slow, is_useless: false };
        self.note(exe_hash, args_hash, &failed);
    }

    /// The binary could not be started, and nothing stood by for it: it is tried again after a while, a
    /// longer one each time, since what it lacks may come.
    pub(crate) fn hold_back(&self, exe_hash: &str, args_hash: &str, failed: &Unwell) {
        let (why, is_useless) = (failed.why.clone(), !failed.slow);
        let slow = Some(self.slow_once_more(exe_hash, args_hash));
        self.note(exe_hash, args_hash, &Quarantined { why, slow, is_useless });
    }

    fn note(&self, exe_hash: &str, args_hash: &str, failed: &Quarantined) {
        if let Err(error) = self.store(&bad_file(exe_hash, args_hash), failed) {
            tracing::warn!(%error, "cannot quarantine a binary that failed");
        }
    }

    fn slow_once_more(&self, exe_hash: &str, args_hash: &str) -> Slow {
        let before: Option<Quarantined> = self.load(&bad_file(exe_hash, args_hash));
        let times = before.and_then(|before| before.slow).map_or(0, |slow| slow.times);
        Slow {
            times: times.saturating_add(1),
            boot_id: process::boot_id(),
            again_at_s: (since_boot() + wait_after(times)).as_secs(),
        }
    }

    pub(crate) fn release(&self, exe_hash: &str, args_hash: &str) {
        remove(&self.path(&bad_file(exe_hash, args_hash)));
    }
}

/// How long something that has failed, and `times` before that, is left alone: a minute, then twice as long
/// each time, up to an hour.
pub fn wait_after(times: u32) -> Duration {
    FIRST_WAIT.saturating_mul(1 << times.min(16)).min(LONGEST_WAIT)
}

/// Zero where it cannot be told: then the wait is over at the next start of the machine.
fn since_boot() -> Duration {
    let uptime = fs::read_to_string("/proc/uptime").unwrap_or_default();
    let seconds = uptime.split(['.', ' ']).next().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or_default())
}

fn bad_file(exe_hash: &str, args_hash: &str) -> String {
    let short = |hash: &str| hash.get(..16).unwrap_or(hash).to_owned();
    format!("bad-{}-{}.json", short(exe_hash), short(args_hash))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_an_hour() {
        let minutes: Vec<u64> = (0..8).map(|times| wait_after(times).as_secs() / 60).collect();
        assert_eq!(minutes, [1, 2, 4, 8, 16, 32, 60, 60]);
    }

    #[test]
    fn a_wait_ends_with_its_time_or_with_the_machine_and_a_fault_lasts() {
        let slow = Slow { times: 1, boot_id: "this".to_owned(), again_at_s: 100 };
        let failed = Quarantined { why: "slow".to_owned(), slow: Some(slow), is_useless: false };
        assert_eq!(failed.left_at("this", 40), Some(Duration::from_secs(60)));
        assert_eq!(failed.left_at("this", 100), Some(Duration::ZERO));
        assert_eq!(failed.left_at("another", 40), Some(Duration::ZERO));
        let lasting: Quarantined = serde_json::from_str(r#"{"why":"died"}"#).unwrap();
        assert_eq!(lasting.left_at("this", u64::MAX), None);
    }
}
