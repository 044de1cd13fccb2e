//! Engines that did not start: each try takes a minute and gigabytes, and fails again until something
//! changes.

use std::{
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

use daemon_lifecycle::wait_after;
use serde::{Deserialize, Serialize};

/// What is remembered of one engine, beside its folder. Its name says what it was started with, so that
/// what is changed is another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Failures {
    count: u32,
    /// Seconds since the Unix epoch.
    last: u64,
    why: String,
}

/// Why the engine failed last, while that is too short ago to try again.
pub(crate) fn recent(engine: &Path, now: SystemTime) -> Option<String> {
    let failures = load(engine)?;
    // A clock that was set back makes nobody wait for it.
    let since = seconds(now).checked_sub(failures.last)?;
    let wait = wait_after(failures.count.saturating_sub(1));
    (since < wait.as_secs()).then_some(failures.why)
}

pub(crate) fn note(engine: &Path, why: String, now: SystemTime) {
    let count = load(engine).map_or(0, |failures| failures.count).saturating_add(1);
    let failures = Failures { count, last: seconds(now), why };
    let written = serde_json::to_vec(&failures).map_err(std::io::Error::other);
    if let Err(error) = written.and_then(|text| fs::write(path(engine), text)) {
        tracing::debug!(%error, "cannot remember that an engine failed");
    }
}

pub(crate) fn forget(engine: &Path) {
    drop(fs::remove_file(path(engine)));
}

fn load(engine: &Path) -> Option<Failures> {
    serde_json::from_slice(&fs::read(path(engine)).ok()?).ok()
}

fn path(engine: &Path) -> PathBuf {
    engine.with_extension("failed")
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_engine_that_failed_is_left_alone_for_longer_each_time_and_until_it_changes() {
        let folder = tempfile::tempdir().unwrap();
        let engine = folder.path().join("0123");
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let at = |minutes: u64| start + Duration::from_secs(minutes * 60);
        assert_eq!(recent(&engine, start), None);
        note(&engine, "one".to_owned(), start);
        assert_eq!(recent(&engine, start), Some("one".to_owned()));
        assert_eq!(recent(&engine, at(1)), None);
        note(&engine, "two".to_owned(), at(1));
        assert_eq!(recent(&engine, at(2)), Some("two".to_owned()));
        assert_eq!(recent(&engine, at(3)), None);
        for _ in 0..40 {
            note(&engine, "many".to_owned(), at(3));
        }
        assert_eq!(recent(&engine, at(62)), Some("many".to_owned()));
        assert_eq!(recent(&engine, at(63)), None);
        assert_eq!(recent(&engine, start), None, "the clock was set back");
        assert_eq!(recent(&folder.path().join("4567"), at(3)), None);
        forget(&engine);
        assert_eq!(recent(&engine, at(3)), None);
    }
}
