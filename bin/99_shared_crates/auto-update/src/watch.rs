//! A resident answer: asked often, it looks at the inputs only when one may have changed.
//!
//! The kernel is asked directly, and read in the very call that answers. A library that reads
//! events on a thread of its own would leave a moment in which an edit has happened and the
//! answer does not know.

#[cfg(target_os = "linux")]
mod inotify; // what the kernel says happened
#[cfg(not(target_os = "linux"))]
#[path = "watch/unsupported.rs"]
mod inotify; // nothing is watched, every question is answered in full

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    check::{self, Checked, Holding},
    error::Error,
    freshness::{Artifact, Freshness},
    layout::Layout,
    receipt::{Look, Outcome, Output, Receipt},
    stat::{lstat, stat},
    store::Store,
    subject::Subject,
};
use inotify::{Events, Heard};

/// However quiet it is, everything is compared again after this long: the kernel does not tell of
/// writes through memory maps.
const LONGEST_TRUST: Duration = Duration::from_secs(60);
/// How often it is tried to watch what was just found fresh, while that changes.
const MAX_ATTEMPTS: usize = 3;

/// Watches the inputs of one binary, so that asking costs microseconds while nothing happens.
///
/// It only ever saves work: on any event, doubt, or file system that does not tell of changes, it
/// answers with a full [`AutoUpdater::check`](crate::AutoUpdater::check). It may be shared by several threads.
#[derive(Debug)]
pub struct Watcher {
    subject: Subject,
    armed: Mutex<Option<Armed>>,
}

/// A verdict that holds until the kernel says otherwise.
#[derive(Debug)]
struct Armed {
    events: Events,
    artifact: Artifact,
    output: Output,
    /// Files that can change through another name, which the kernel does not tell of.
    linked: Vec<(PathBuf, [u8; 48])>,
    since: Instant,
}

impl Watcher {
    pub(crate) fn new(subject: Subject) -> Self {
        Self { subject, armed: Mutex::new(None) }
    }

    /// The same verdict as [`AutoUpdater::check`](crate::AutoUpdater::check), in microseconds while nothing has happened.
    pub fn check(&self) -> Result<Freshness, Error> {
        let mut armed = self.armed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = &mut *armed
            && held.holds()
        {
            return Ok(Freshness::Fresh(held.artifact.clone()));
        }
        *armed = None;
        let layout = self.subject.layout()?;
        let (freshness, now_armed) = arm(&layout);
        *armed = now_armed;
        Ok(freshness)
    }

    /// Blocks until an input may have changed, at most for `timeout`. Says whether one may have.
    ///
    /// Where nothing is watched, as while the binary is stale, it waits for the whole time and
    /// then says that one may have.
    pub fn wait(&self, timeout: Duration) -> Result<bool, Error> {
        let deadline = Instant::now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let pollable = {
                let mut armed = self.armed.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(held) = &mut *armed
                    && !held.holds()
                {
                    // What was heard is told once, so the verdict must not outlive it.
                    *armed = None;
                    return Ok(true);
                }
                armed.as_ref().map(|held| held.events.pollable()).transpose()?
            };
            let is_watched = pollable.is_some();
            if left.is_zero() {
                return Ok(!is_watched);
            }
            // Not longer than the verdict is trusted without a look.
            inotify::wait(pollable, left.min(LONGEST_TRUST))?;
        }
    }

    /// Whether the last verdict is being watched. If not, each question is answered in full.
    pub fn is_watching(&self) -> bool {
        self.armed.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}

impl Armed {
    fn holds(&mut self) -> bool {
        self.since.elapsed() < LONGEST_TRUST
            && self.events.heard() == Heard::Nothing
            && self.output_is_the_same()
            && self
                .linked
                .iter()
                .all(|(path, state)| matches!(stat(path), Ok(Some(now)) if now.0 == *state))
    }

    /// The binary is looked at, not watched: cargo is busy around it.
    fn output_is_the_same(&self) -> bool {
        matches!(stat(&self.output.target_path), Ok(Some(now)) if now == self.output.target)
            && matches!(lstat(&self.artifact.path), Ok(Some(now)) if now == self.output.stored)
    }
}

/// A full verdict, and if it is fresh, what will tell when it no longer holds.
fn arm(layout: &Layout) -> (Freshness, Option<Armed>) {
    let mut checked = check::check(layout, Holding::Nothing);
    for _ in 0..MAX_ATTEMPTS {
        if !checked.freshness.is_fresh() {
            return (checked.freshness, None);
        }
        // What lies between the verdict and the watches is covered by the verdict after them.
        let Some(watched) = checked.receipt.take() else { break };
        let Some(events) = watch(layout, &watched) else {
            return (checked.freshness, None);
        };
        checked = check::check(layout, Holding::Nothing);
        if let Some(armed) = armed(layout, &checked, &watched, events) {
            return (checked.freshness, Some(armed));
        }
    }
    (checked.freshness, None)
}

fn armed(layout: &Layout, checked: &Checked, watched: &Receipt, events: Events) -> Option<Armed> {
    let Freshness::Fresh(artifact) = &checked.freshness else { return None };
    let receipt = checked.receipt.as_ref()?;
    let Outcome::Built(output) = &receipt.head.outcome else { return None };
    // A restored build has other inputs than the receipt that was watched.
    let is_same = output.hash == artifact.hash
        && receipt.len() == watched.len()
        && receipt
            .entries()
            .zip(watched.entries())
            .all(|(a, b)| a.path == b.path && a.look == b.look);
    if !is_same {
        return None;
    }
    let store = Store::new(layout.home());
    let stored = lstat(&store.path(output.hash, &layout.options.binary)).ok()??;
    let target = stat(&output.target_path).ok()??;
    let linked = receipt
        .entries()
        .filter(|entry| matches!(entry.look, Look::File | Look::Followed))
        .filter_map(|entry| {
            let path = entry.absolute(layout.root());
            let links = rustix::fs::stat(&path).map_or(2, |stat| stat.st_nlink);
            let state = entry.stat.try_into().ok()?;
            (links > 1).then_some((path, state))
        })
        .collect();
    Some(Armed {
        events,
        artifact: artifact.clone(),
        output: Output { stored, target, ..output.clone() },
        linked,
        since: Instant::now(),
    })
}

/// Watches whatever can make an entry of `receipt` something else.
fn watch(layout: &Layout, receipt: &Receipt) -> Option<Events> {
    let mut events = Events::new()?;
    for entry in receipt.entries() {
        let path = entry.absolute(layout.root());
        if matches!(entry.look, Look::Listing | Look::PackageListing) {
            events.watch_all(&path)?;
        }
        watch_path(&mut events, &path)?;
        if matches!(entry.look, Look::Followed | Look::Rules)
            && let Ok(real) = path.canonicalize()
        {
            watch_path(&mut events, &real)?;
        }
    }
    Some(events)
}

/// Watches the name of `path`, and the name of each folder on the way to it.
fn watch_path(events: &mut Events, path: &Path) -> Option<()> {
    let mut below = path;
    while let (Some(dir), Some(name)) = (below.parent(), below.file_name()) {
        match events.watch_name(dir, name)? {
            inotify::Watched::Before => return Some(()),
            inotify::Watched::Now => {
                if let Ok(real) = dir.canonicalize()
                    && real != dir
                {
                    watch_path(events, &real.join(name))?;
                }
            }
            // What is not there appears in a folder further up.
            inotify::Watched::NotThere => {}
        }
        below = dir;
    }
    Some(())
}
