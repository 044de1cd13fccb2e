use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use crate::{id::JobId, job::Job, journal::Journal};

/// What a server may hold in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Running and ended jobs together.
    pub max_jobs: usize,
    /// How long an ended job can still be read.
    pub retain: Duration,
    /// How long a running job waits for its reader to come back, before it is cancelled.
    pub absence: Duration,
    /// Events of one job; the oldest are dropped first, and the newest is always kept.
    pub event_bytes_per_job: usize,
    /// Events of all running jobs together: beyond that each keeps only its newest.
    pub event_bytes_of_running_jobs: usize,
    /// Events of all ended jobs; those that ended first are forgotten first.
    pub event_bytes_of_ended_jobs: usize,
    /// How long the rest of an ended job is kept for a reader that has left and not said that it has read
    /// all; zero where readers do not say that.
    pub unread: Duration,
    /// Events of those that are kept for nothing else.
    pub event_bytes_of_unread_jobs: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_jobs: 2048,
            retain: Duration::from_mins(10),
            absence: Duration::from_secs(15),
            event_bytes_per_job: 4 << 20,
            event_bytes_of_running_jobs: 64 << 20,
            event_bytes_of_ended_jobs: 8 << 20,
            unread: Duration::ZERO,
            event_bytes_of_unread_jobs: 0,
        }
    }
}

/// What a server and its jobs share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) limits: Limits,
    table: Mutex<Table>,
    pub(crate) running: watch::Sender<usize>,
    /// Told when a job ends, and when the reader of one that has ended leaves or has read all.
    pub(crate) read: Notify,
    /// Of the events of running jobs.
    running_bytes: AtomicUsize,
    pub(crate) journal: OnceLock<Arc<dyn Journal>>,
}

#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) jobs: HashMap<JobId, Arc<Job>>,
    /// In the order in which they ended.
    ended: VecDeque<Ended>,
    ended_bytes: usize,
    /// Those whose time was over before their readers had all.
    unread: VecDeque<Ended>,
    unread_bytes: usize,
}

#[derive(Debug)]
struct Ended {
    id: JobId,
    at: Instant,
    bytes: usize,
}

impl Shared {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            table: Mutex::default(),
            running: watch::Sender::new(0),
            read: Notify::new(),
            running_bytes: AtomicUsize::new(0),
            journal: OnceLock::new(),
        }
    }

    pub(crate) fn ended(&self, id: JobId, bytes: usize) {
        let mut table = self.lock();
        table.note_ended(id, bytes);
        let forgotten = table.forget_before(&self.limits);
        drop(table);
        drop(forgotten);
        self.running.send_modify(|running| *running -= 1);
        self.read.notify_waiters();
    }

    /// A running job's events take `now` bytes and no more `before`. Says whether all of them together
    /// take too many.
    pub(crate) fn takes(&self, before: usize, now: usize) -> bool {
        self.running_bytes.fetch_add(now, Relaxed);
        let all = self.running_bytes.fetch_sub(before, Relaxed) - before;
        all > self.limits.event_bytes_of_running_jobs
    }

    /// Whether the events of running jobs take more than they may.
    pub(crate) fn is_over(&self) -> bool {
        self.running_bytes.load(Relaxed) > self.limits.event_bytes_of_running_jobs
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    pub(crate) fn note_ended(&mut self, id: JobId, bytes: usize) {
        self.ended.push_back(Ended { id, at: Instant::now(), bytes });
        self.ended_bytes += bytes;
    }

    /// Takes out the jobs that have had their time, or more than their share of memory.
    pub(crate) fn forget_before(&mut self, limits: &Limits) -> Vec<Arc<Job>> {
        let mut forgotten = Vec::new();
        while let Some(first) = self.ended.front() {
            let over = self.ended_bytes > limits.event_bytes_of_ended_jobs && self.ended.len() > 1;
            if !over && first.at.elapsed() < limits.retain {
                break;
            }
            let Some(first) = self.pop_ended() else { break };
            if self.jobs.get(&first.id).is_some_and(|job| job.is_unread(limits.unread)) {
                self.unread_bytes += first.bytes;
                self.unread.push_back(first);
            } else {
                forgotten.extend(self.jobs.remove(&first.id));
            }
        }
        self.forget_read(limits, &mut forgotten);
        forgotten
    }

    fn forget_read(&mut self, limits: &Limits, forgotten: &mut Vec<Arc<Job>>) {
        let (jobs, bytes) = (&mut self.jobs, &mut self.unread_bytes);
        self.unread.retain(|one| {
            let is_kept = *bytes <= limits.event_bytes_of_unread_jobs
                && jobs.get(&one.id).is_some_and(|job| job.is_unread(limits.unread));
            if !is_kept {
                *bytes -= one.bytes;
                forgotten.extend(jobs.remove(&one.id));
            }
            is_kept
        });
    }

    pub(crate) fn forget_oldest(&mut self) -> Option<Arc<Job>> {
        let ended = match self.pop_ended() {
            Some(ended) => ended,
            None => {
                let unread = self.unread.pop_front()?;
                self.unread_bytes -= unread.bytes;
                unread
            }
        };
        self.jobs.remove(&ended.id)
    }

    fn pop_ended(&mut self) -> Option<Ended> {
        let ended = self.ended.pop_front()?;
        self.ended_bytes -= ended.bytes;
        Some(ended)
    }
}
