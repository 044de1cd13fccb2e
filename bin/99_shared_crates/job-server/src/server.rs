use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio::sync::watch;

use crate::{
    error::Error,
    event::JobInfo,
    id::JobId,
    job::Job,
    snapshot::Snapshot,
    subscription::Subscription,
    table::{Limits, Shared},
    writer::{JobEmitter, JobWriter},
};

/// All jobs of a process.
///
/// Clones share the jobs. A running job is never forgotten; an ended one is, when it has been
/// retained long enough or when its room is needed.
#[derive(Debug, Clone)]
pub struct JobServer {
    shared: Arc<Shared>,
}

impl JobServer {
    pub fn new(limits: Limits) -> Self {
        Self { shared: Arc::new(Shared::new(limits)) }
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

    /// The same, to be told when it changes.
    pub fn running_changes(&self) -> watch::Receiver<usize> {
        self.shared.running.subscribe()
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
