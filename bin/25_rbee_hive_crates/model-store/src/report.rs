use std::{
    fmt, thread,
    time::{Duration, Instant},
};

use crate::error::Error;

/// What goes on in a pull, for the person who waits for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PullEvent {
    /// From where the model is being brought now, in words.
    Source { description: String },
    /// At most ten in a second, and always one at the end of a download.
    Progress {
        done: u64,
        /// `None` while the size is unknown.
        total: Option<u64>,
    },
    /// All bytes are there and are being checked.
    Verifying,
    /// The same source is tried again after `after`.
    Retry { why: String, after: Duration },
    /// One source did not work and the next one is tried.
    FellBack { from: String, why: String, to: String },
}

const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);
/// How soon a cancelled pull notices.
pub(crate) const CANCEL_TICK: Duration = Duration::from_millis(100);

/// The caller of a pull: listens, and may cancel.
pub(crate) struct Report<'a> {
    tell: &'a mut dyn FnMut(PullEvent),
    cancel: &'a dyn Fn() -> bool,
    last_progress: Option<Instant>,
    /// Of a download of several files: the bytes before this one, and of all of them.
    part: Option<(u64, u64)>,
}

impl<'a> Report<'a> {
    pub(crate) fn new(tell: &'a mut dyn FnMut(PullEvent), cancel: &'a dyn Fn() -> bool) -> Self {
        Self { tell, cancel, last_progress: None, part: None }
    }

    pub(crate) fn tell(&mut self, event: PullEvent) {
        (self.tell)(event);
    }

    /// From here on progress is that of one file of several.
    pub(crate) fn part_of(&mut self, before: u64, total: u64) {
        self.part = Some((before, total));
    }

    pub(crate) fn whole(&mut self) {
        self.part = None;
    }

    pub(crate) fn progress(&mut self, done: u64, total: Option<u64>) {
        let (done, total) = match self.part {
            Some((before, total)) => (before + done, Some(total)),
            None => (done, total),
        };
        let is_end = total == Some(done);
        let is_due = self.last_progress.is_none_or(|last| last.elapsed() >= PROGRESS_INTERVAL);
        if is_end || is_due {
            self.last_progress = Some(Instant::now());
            self.tell(PullEvent::Progress { done, total });
        }
    }

    /// Is an error once the caller has cancelled.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if (self.cancel)() { Err(Error::Cancelled) } else { Ok(()) }
    }

    /// Waits, unless the caller cancels.
    pub(crate) fn pause(&self, length: Duration) -> Result<(), Error> {
        let end = Instant::now() + length;
        loop {
            self.check()?;
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            thread::park_timeout(left.min(CANCEL_TICK));
        }
    }
}

impl fmt::Debug for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Report").finish_non_exhaustive()
    }
}
