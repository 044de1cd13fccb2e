//! What becomes of a build while it runs: raised when somebody waits, ended when overtaken.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use super::progress::Progress;
use crate::{
    cargo::{Halt, Oversee, Said},
    compare::Hashes,
    freshness::InputKind,
    hash::Digest,
    layout::Layout,
    lock::Wanted,
    priority::{Priority, Running},
    receipt::{Look, Receipt},
    stat::StatVector,
};

/// How often the inputs are looked at, and how much of the time at most.
const INPUTS_INTERVAL: Duration = Duration::from_millis(200);
const LARGEST_PART: u32 = 50;

/// In so many looks in a row, a tree that is not there is gone.
const MISSING_LOOKS: u32 = 3;

/// A build that has had less than a tenth of a processor for so long asks for more.
const AGE: Duration = Duration::from_secs(60);

/// The content of what a build is made from, as it was when that began.
#[derive(Debug, Default)]
pub(super) struct Baseline(Vec<(PathBuf, Look, StatVector, Option<Digest>)>);

impl Baseline {
    /// Of what people edit among the inputs that `receipt` names: not of what cargo or a build
    /// script writes.
    pub(super) fn of(receipt: &Receipt, layout: &Layout, hashes: &mut Hashes) -> Self {
        let edited = receipt.entries().filter(|entry| {
            matches!(
                entry.kind,
                InputKind::Source
                    | InputKind::Manifest
                    | InputKind::BuildScript
                    | InputKind::Config
            ) && matches!(entry.look, Look::File | Look::Followed)
        });
        let list = edited.filter_map(|entry| {
            let path = entry.absolute(layout.root());
            let is_cargos = path.starts_with(&layout.target_dir)
                || path.file_name().is_some_and(|name| name == "Cargo.lock");
            if is_cargos {
                return None;
            }
            let now = entry.look.state(&path);
            let hash = hashes.content(&path, entry.look, now).ok().flatten();
            Some((path, entry.look, now, hash.map(|(_, hash)| hash)))
        });
        Self(list.collect())
    }

    pub(super) fn extend(&mut self, other: Self) {
        for entry in other.0 {
            if !self.0.iter().any(|known| known.0 == entry.0) {
                self.0.push(entry);
            }
        }
    }

    /// What there is now counts from now on.
    pub(super) fn renew(&mut self) {
        for (path, look, then, hash) in &mut self.0 {
            let now = look.state(path);
            if now != *then {
                let content = Hashes::default().content(path, *look, now).ok().flatten();
                (*then, *hash) = (now, content.map(|(_, hash)| hash));
            }
        }
    }

    /// Whether some content is another one now.
    pub(super) fn is_overtaken(&mut self) -> bool {
        let mut hashes = Hashes::default();
        self.0.iter_mut().any(|(path, look, then, hash)| {
            let now = look.state(path);
            if now == *then {
                return false;
            }
            let content = hashes.content(path, *look, now).ok().flatten();
            let content = content.map(|(_, hash)| hash);
            let is_other = content != *hash;
            if !is_other {
                *then = now;
            }
            is_other
        })
    }
}

pub(super) struct Overseer<'a, 'o, 'r> {
    progress: &'a mut Progress<'o, 'r>,
    layout: &'a Layout,
    /// `None` where what is edited meanwhile is no reason to end it.
    baseline: Option<&'a mut Baseline>,
    /// Lines other than of progress are kept instead of told.
    kept: Option<&'a mut Vec<String>>,
    looked: Instant,
    pause: Duration,
    tree_looked: Instant,
    /// How many looks in a row have found no workspace.
    missing: u32,
    aged: Instant,
    cpu_time: Duration,
}

impl<'a, 'o, 'r> Overseer<'a, 'o, 'r> {
    pub(super) fn new(
        layout: &'a Layout,
        progress: &'a mut Progress<'o, 'r>,
        baseline: Option<&'a mut Baseline>,
        kept: Option<&'a mut Vec<String>>,
    ) -> Self {
        let now = Instant::now();
        Self {
            progress,
            layout,
            baseline,
            kept,
            looked: now,
            pause: INPUTS_INTERVAL,
            tree_looked: now,
            missing: 0,
            aged: now,
            cpu_time: Duration::ZERO,
        }
    }

    fn is_overtaken(&mut self) -> bool {
        let Some(baseline) = self.baseline.as_mut().filter(|_| self.looked.elapsed() > self.pause)
        else {
            return false;
        };
        let began = Instant::now();
        let is_overtaken = baseline.is_overtaken();
        self.pause = INPUTS_INTERVAL.max(began.elapsed() * LARGEST_PART);
        self.looked = Instant::now();
        is_overtaken
    }

    /// Whether the workspace was moved or deleted. Whoever writes its manifest anew may remove it for a
    /// moment.
    fn is_tree_gone(&mut self) -> bool {
        if self.tree_looked.elapsed() > INPUTS_INTERVAL {
            self.tree_looked = Instant::now();
            self.missing = if self.layout.is_gone() { self.missing + 1 } else { 0 };
        }
        self.missing >= MISSING_LOOKS
    }

    /// The priority that it is to have from now on.
    fn due(&mut self, running: &Running) -> Priority {
        if running.priority == Priority::Normal {
            return Priority::Normal;
        }
        if Wanted::is_said(&self.layout.builder()) || running.is_waited_for(&self.layout.target_dir)
        {
            return Priority::Normal;
        }
        if self.aged.elapsed() < AGE {
            return running.priority;
        }
        let (had, age) = (running.cpu_time(), self.aged.elapsed());
        let got = had.saturating_sub(self.cpu_time);
        (self.aged, self.cpu_time) = (Instant::now(), had);
        if got * 10 < age { running.priority.next() } else { running.priority }
    }
}

impl Oversee for Overseer<'_, '_, '_> {
    fn said(&mut self, said: Said) {
        match (said, &mut self.kept) {
            (Said::Progress { done, total, now }, _) => self.progress.count(done, total, now),
            (Said::Line(line), Some(kept)) if !Progress::is_progress(&line) => kept.push(line),
            (Said::Line(line), _) => self.progress.line(line),
        }
    }

    fn look(&mut self, running: &mut Running) -> Option<Halt> {
        self.progress.tick();
        if self.is_tree_gone() {
            return Some(Halt::TreeGone);
        }
        if self.is_overtaken() {
            return Some(Halt::Overtaken);
        }
        let due = self.due(running);
        if due > running.priority {
            self.progress.raised();
            if !running.raise(due) {
                return Some(Halt::TooSlow(due));
            }
        }
        None
    }
}
