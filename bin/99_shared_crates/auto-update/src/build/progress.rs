use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crate::{cargo, freshness::StaleReason};

/// What happens while a binary is made sure of, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuildEvent {
    /// Nothing is to be compiled. The last event.
    Fresh,
    /// Somebody else builds it; what they build is taken. How far they are follows.
    WaitingFor {
        /// The process that builds, where it is known.
        pid: Option<u32>,
    },
    /// Something is compiled, because of these inputs; empty where only cargo knows why.
    Building { reasons: Vec<StaleReason> },
    /// A line as cargo printed it, with colours if they were asked for.
    Line(String),
    /// How far it is. One replaces the one before.
    Progress {
        /// Units that are compiled, or were found compiled.
        done: u32,
        /// All units, in this call of cargo.
        total: u32,
        /// What is being compiled, as cargo names it.
        now: String,
        elapsed: Duration,
    },
    /// It was to run only while nothing else wants the processor; now somebody waits for it, or it
    /// got nothing for too long, and it goes on at a higher priority.
    Raised,
    /// What it was made from has changed since: it was ended, and the next one begins.
    Overtaken,
    /// It is built. The last event.
    Finished {
        duration: Duration,
        /// The binary is, byte for byte, the one that there was before.
        identical: bool,
    },
    /// It cannot be built. The last event; the error has the same words.
    Failed {
        /// As cargo printed it, without colours.
        diagnostics: String,
        /// Nothing was compiled: these very inputs have failed before.
        remembered: bool,
    },
}

/// A person reads no faster, and what takes less needs none.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

pub(super) type Observer<'a> = &'a mut (dyn FnMut(BuildEvent) + Send);

/// How far the build is, for those who wait for the one who builds: a line in a file that only the
/// latter writes.
#[derive(Debug)]
pub(super) struct Told(PathBuf);

impl Told {
    /// Of whoever holds that lock.
    pub(super) fn beside(lock: &Path) -> Self {
        Self(lock.with_extension("progress"))
    }

    /// What is not whole is nothing.
    pub(super) fn read(&self) -> Option<BuildEvent> {
        let text = fs::read_to_string(&self.0).ok()?;
        let mut words = text.strip_suffix('\n')?.splitn(4, ' ');
        let mut number = || words.next()?.parse::<u32>().ok();
        let (done, total, seconds) = (number()?, number()?, number()?);
        let now = words.next()?.to_owned();
        Some(BuildEvent::Progress {
            done,
            total,
            now,
            elapsed: Duration::from_secs(seconds.into()),
        })
    }

    /// Where it cannot be written, those who wait are told less.
    fn write(&self, done: u32, total: u32, now: &str, elapsed: Duration) {
        let line = format!("{done} {total} {} {now}\n", elapsed.as_secs());
        fs::write(&self.0, line).unwrap_or(());
    }

    fn clear(&self) {
        fs::remove_file(&self.0).unwrap_or(());
    }
}

/// Tells the observer what is worth telling, in order.
pub(super) struct Progress<'o, 'r> {
    observer: Observer<'o>,
    /// Lines printed before it was known that something is compiled.
    held: Vec<String>,
    /// What cargo has been said to wait for; it says so each time.
    waits: Vec<String>,
    began: Instant,
    progressed: Instant,
    /// What cargo drew last; it draws nothing anew while one unit takes minutes.
    counted: Option<(u32, u32, String)>,
    /// What to announce, until it is announced.
    reasons: Option<&'r Vec<StaleReason>>,
    told: Told,
}

impl Drop for Progress<'_, '_> {
    fn drop(&mut self) {
        self.told.clear();
    }
}

impl<'o, 'r> Progress<'o, 'r> {
    pub(super) fn new(observer: Observer<'o>, reasons: &'r Vec<StaleReason>, told: Told) -> Self {
        // One who was killed has left it.
        told.clear();
        let (held, waits) = (Vec::new(), Vec::new());
        let began = Instant::now();
        let (progressed, counted) = (began, None);
        Self { observer, held, waits, began, progressed, counted, reasons: Some(reasons), told }
    }

    pub(super) fn observer(&mut self) -> Observer<'_> {
        self.observer
    }

    /// Tells how it ended. What was never announced, and `changed_nothing`, was no build.
    pub(super) fn end(&mut self, changed_nothing: bool, duration: Duration, identical: bool) {
        if self.reasons.is_some() && changed_nothing {
            (self.observer)(BuildEvent::Fresh);
        } else {
            self.announce();
            (self.observer)(BuildEvent::Finished { duration, identical });
        }
    }

    pub(super) fn announce(&mut self) {
        if let Some(reasons) = self.reasons.take() {
            (self.observer)(BuildEvent::Building { reasons: reasons.clone() });
            for line in self.held.drain(..) {
                (self.observer)(BuildEvent::Line(line));
            }
        }
    }

    pub(super) fn count(&mut self, done: u32, total: u32, now: String) {
        self.counted = Some((done, total, now));
        self.tick();
    }

    /// Tells how far it is, where that was not told just now.
    pub(super) fn tick(&mut self) {
        let is_due = self.progressed.elapsed() >= PROGRESS_INTERVAL;
        if let Some((done, total, now)) = &self.counted
            && self.reasons.is_none()
            && is_due
        {
            let (done, total, now) = (*done, *total, now.clone());
            self.progressed = Instant::now();
            let elapsed = self.began.elapsed();
            self.told.write(done, total, &now, elapsed);
            (self.observer)(BuildEvent::Progress { done, total, now, elapsed });
        }
    }

    pub(super) fn raised(&mut self) {
        (self.observer)(BuildEvent::Raised);
    }

    pub(super) fn overtaken(&mut self) {
        self.announce();
        (self.observer)(BuildEvent::Overtaken);
    }

    /// Whether cargo says what it does, and not what it thinks of the sources.
    pub(super) fn is_progress(line: &str) -> bool {
        let plain = cargo::without_colours(line);
        let verb = plain.trim_start();
        ["Blocking", "Compiling"].iter().any(|known| verb.starts_with(known))
    }

    pub(super) fn line(&mut self, line: String) {
        let plain = cargo::without_colours(&line);
        let verb = plain.trim_start();
        let is_wait = verb.starts_with("Blocking");
        if is_wait && self.waits.iter().any(|told| told == verb) {
            return;
        }
        if is_wait {
            self.waits.push(verb.to_owned());
        }
        if is_wait || self.reasons.is_none() {
            (self.observer)(BuildEvent::Line(line));
            return;
        }
        self.held.push(line);
        if verb.starts_with("Compiling") {
            self.announce();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_far_it_is_is_told_again_while_cargo_draws_nothing_new() {
        let (mut told, reasons) = (Vec::new(), Vec::new());
        let mut observer = |event| {
            if let BuildEvent::Progress { done, total, now, elapsed } = event {
                told.push((done, total, now, elapsed.as_secs()));
            }
        };
        let folder = tempfile::tempdir().unwrap();
        let lock = folder.path().join("builder");
        let mut progress = Progress::new(&mut observer, &reasons, Told::beside(&lock));
        progress.announce();
        let pass = |progress: &mut Progress<'_, '_>, seconds| {
            progress.began -= Duration::from_secs(seconds);
            progress.progressed -= Duration::from_secs(seconds);
        };
        pass(&mut progress, 2);
        progress.tick();
        progress.count(3, 9, "llama".to_owned());
        progress.tick();
        pass(&mut progress, 5);
        progress.tick();
        progress.count(4, 9, "next".to_owned());
        pass(&mut progress, 1);
        progress.tick();
        // Whoever waits for this build reads the last of it, and nothing once it has ended.
        let read = Told::beside(&lock).read();
        let elapsed = Duration::from_secs(8);
        let last = BuildEvent::Progress { done: 4, total: 9, now: "next".to_owned(), elapsed };
        assert_eq!(read, Some(last));
        drop(progress);
        assert_eq!(Told::beside(&lock).read(), None);
        let llama = |seconds| (3, 9, "llama".to_owned(), seconds);
        assert_eq!(told, [llama(2), llama(7), (4, 9, "next".to_owned(), 8)]);
    }
}
