use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use http_guard::ApiError;
use rbee_api::ErrorCode;
use tokio::{sync::watch, time::Instant};

use crate::{
    event::JobInfo,
    id::JobId,
    job::Job,
    snapshot::Snapshot,
    subscription::Subscription,
    writer::{JobEmitter, JobWriter},
};

/// What a server may hold in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Running and ended jobs together.
    pub max_jobs: usize,
    /// How long an ended job can still be read.
    pub retain: Duration,
    /// Events of one job; the oldest are dropped first, and the newest is always kept.
    pub event_bytes_per_job: usize,
    /// Events of all running jobs together: beyond that each keeps only its newest.
    pub event_bytes_of_running_jobs: usize,
    /// Events of all ended jobs; those that ended first are forgotten first.
    pub event_bytes_of_ended_jobs: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_jobs: 1024,
            retain: Duration::from_mins(10),
            event_bytes_per_job: 4 << 20,
            event_bytes_of_running_jobs: 64 << 20,
            event_bytes_of_ended_jobs: 8 << 20,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("all of the {max_jobs} jobs that there is room for are running")]
    Full { max_jobs: usize },
    #[error("there is no job `{id}`, or it ended too long ago")]
    Unknown { id: JobId },
    #[error("job `{id}` is here already")]
    Present { id: JobId },
    #[error("job `{id}` has already ended")]
    AlreadyEnded { id: JobId },
    /// Whoever asked had the job before another process went on with it.
    #[error("job `{id}` is another process's by now")]
    TakenOver { id: JobId },
    /// A reader asked for events, or was so far behind that it next needed events, that the log
    /// no longer holds.
    #[error("job `{id}` has dropped its events before {oldest}")]
    Gone { id: JobId, oldest: u64 },
    #[error("job `{id}` has no event {after}: its last is {last}")]
    Ahead { id: JobId, after: u64, last: u64 },
}

/// What a client is told to wait when every job that there is room for is running.
const RETRY_AFTER: Duration = Duration::from_secs(1);

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::Full { .. } => {
                Self::new(ErrorCode::TooManyJobs, message).retry_after(RETRY_AFTER)
            }
            Error::Unknown { .. } => Self::new(ErrorCode::JobNotFound, message),
            Error::Present { .. } => Self::new(ErrorCode::JobPresent, message),
            Error::AlreadyEnded { .. } => Self::new(ErrorCode::JobEnded, message),
            Error::TakenOver { .. } => Self::new(ErrorCode::JobTakenOver, message),
            Error::Gone { .. } => Self::new(ErrorCode::EventsGone, message),
            Error::Ahead { .. } => Self::new(ErrorCode::InvalidLastEventId, message),
        }
    }
}

/// All jobs of a process.
///
/// Clones share the jobs. A running job is never forgotten; an ended one is, when it has been
/// retained long enough or when its room is needed.
#[derive(Debug, Clone)]
pub struct JobServer {
    shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    limits: Limits,
    table: Mutex<Table>,
    running: watch::Sender<usize>,
    /// Of the events of running jobs.
    running_bytes: AtomicUsize,
}

#[derive(Debug, Default)]
struct Table {
    jobs: HashMap<JobId, Arc<Job>>,
    /// In the order in which they ended.
    ended: VecDeque<Ended>,
    ended_bytes: usize,
}

#[derive(Debug)]
struct Ended {
    id: JobId,
    at: Instant,
    bytes: usize,
}

impl JobServer {
    pub fn new(limits: Limits) -> Self {
        let running = watch::Sender::new(0);
        Self {
            shared: Arc::new(Shared {
                limits,
                table: Mutex::default(),
                running,
                running_bytes: AtomicUsize::new(0),
            }),
        }
    }

    /// Starts a job, which ends when its writer says so or is dropped.
    ///
    /// Fails with [`Error::Full`] where as many jobs as the limits allow are running.
    pub fn create(&self, operation: &str) -> Result<JobWriter, Error> {
        let max_bytes = self.shared.limits.event_bytes_per_job;
        let server = Arc::downgrade(&self.shared);
        self.insert(Job::new(JobId::generate(), operation, max_bytes, server))
    }

    /// Goes on with a job that another server has let go, under its id and with its events.
    ///
    /// Where it had readers without whom it need not go on, they have `grace` to come here.
    ///
    /// Fails with [`Error::Present`] where the job is here, and with [`Error::Full`].
    pub fn adopt(&self, snapshot: &Snapshot, grace: Duration) -> Result<JobWriter, Error> {
        let max_bytes = self.shared.limits.event_bytes_per_job;
        let writer =
            self.insert(Job::restored(snapshot, max_bytes, Arc::downgrade(&self.shared)))?;
        if snapshot.watched {
            drop(self.subscribe(&snapshot.id, Some(writer.last_event_id()))?.cancel_on_drop(grace));
        }
        Ok(writer)
    }

    fn insert(&self, job: Job) -> Result<JobWriter, Error> {
        let (job, max_jobs) = (Arc::new(job), self.shared.limits.max_jobs);
        let mut table = self.shared.lock();
        if table.jobs.contains_key(&job.id) {
            return Err(Error::Present { id: job.id });
        }
        // Logs are freed after the lock: they can be megabytes of small pieces.
        let mut forgotten = table.forget_before(&self.shared.limits);
        if table.jobs.len() >= max_jobs {
            forgotten.push(table.forget_oldest().ok_or(Error::Full { max_jobs })?);
        }
        table.jobs.insert(job.id, Arc::clone(&job));
        drop(table);
        self.shared.running.send_modify(|running| *running += 1);
        Ok(JobWriter::new(job))
    }

    pub fn info(&self, id: &JobId) -> Option<JobInfo> {
        Some(self.find(id).ok()?.info())
    }

    /// Every job there is, the oldest first.
    pub fn list(&self) -> Vec<JobInfo> {
        let mut table = self.shared.lock();
        let forgotten = table.forget_before(&self.shared.limits);
        let jobs: Vec<Arc<Job>> = table.jobs.values().cloned().collect();
        drop(table);
        drop(forgotten);
        let mut infos: Vec<JobInfo> = jobs.iter().map(|job| job.info()).collect();
        infos.sort_unstable_by_key(|info| info.id);
        infos
    }

    /// Notes that this owner goes on with the job: an earlier one cannot cancel it any more.
    pub fn own(&self, id: &JobId, owner: u64) -> Result<(), Error> {
        self.find(id)?.owner.fetch_max(owner, Relaxed);
        Ok(())
    }

    /// Asks a job's writer to end it; `owner` is which of its owners asks, if it is one.
    ///
    /// The job runs on until the writer has noticed; asking again until then changes nothing.
    ///
    /// Fails with [`Error::TakenOver`] where a later owner goes on with it.
    pub fn cancel(&self, id: &JobId, owner: Option<u64>) -> Result<(), Error> {
        let job = self.find(id)?;
        if job.is_ended() {
            return Err(Error::AlreadyEnded { id: *id });
        }
        if owner.is_some_and(|owner| owner < job.owner.load(Relaxed)) {
            return Err(Error::TakenOver { id: *id });
        }
        job.cancel.cancel();
        Ok(())
    }

    /// Reads a job's events from the one behind `after`, or from the first.
    ///
    /// Fails with [`Error::Gone`] where the log no longer holds them all, and with
    /// [`Error::Ahead`] where there never was an event `after`.
    pub fn subscribe(&self, id: &JobId, after: Option<u64>) -> Result<Subscription, Error> {
        let job = self.find(id)?;
        let admission = job.admit(after)?;
        Ok(Subscription::new(job, admission))
    }

    /// Lets somebody other than the writer add events, such as a sink of narrations.
    pub fn emitter(&self, id: &JobId) -> Option<JobEmitter> {
        Some(JobEmitter::new(&self.find(id).ok()?))
    }

    /// How many jobs have not ended.
    pub fn running(&self) -> usize {
        *self.shared.running.borrow()
    }

    /// Waits until no job is running.
    pub async fn idle(&self) {
        let mut running = self.shared.running.subscribe();
        // The sender lives in `self`, so the channel cannot close meanwhile.
        drop(running.wait_for(|running| *running == 0).await);
    }

    fn find(&self, id: &JobId) -> Result<Arc<Job>, Error> {
        let mut table = self.shared.lock();
        let forgotten = table.forget_before(&self.shared.limits);
        let job = table.jobs.get(id).cloned();
        drop(table);
        drop(forgotten);
        job.ok_or(Error::Unknown { id: *id })
    }
}

impl Shared {
    pub(crate) fn ended(&self, id: JobId, bytes: usize) {
        let mut table = self.lock();
        table.ended.push_back(Ended { id, at: Instant::now(), bytes });
        table.ended_bytes += bytes;
        let forgotten = table.forget_before(&self.limits);
        drop(table);
        drop(forgotten);
        self.running.send_modify(|running| *running -= 1);
    }

    /// A running job's events take `now` bytes and no more `before`. Says whether all of them together
    /// take too many.
    pub(crate) fn takes(&self, before: usize, now: usize) -> bool {
        self.running_bytes.fetch_add(now, Relaxed);
        let all = self.running_bytes.fetch_sub(before, Relaxed) - before;
        all > self.limits.event_bytes_of_running_jobs
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Takes out the jobs that have had their time, or more than their share of memory.
    fn forget_before(&mut self, limits: &Limits) -> Vec<Arc<Job>> {
        let mut forgotten = Vec::new();
        while let Some(first) = self.ended.front() {
            let over = self.ended_bytes > limits.event_bytes_of_ended_jobs && self.ended.len() > 1;
            if !over && first.at.elapsed() < limits.retain {
                break;
            }
            forgotten.extend(self.forget_oldest());
        }
        forgotten
    }

    fn forget_oldest(&mut self) -> Option<Arc<Job>> {
        let ended = self.ended.pop_front()?;
        self.ended_bytes -= ended.bytes;
        self.jobs.remove(&ended.id)
    }
}
