use std::{
    collections::HashSet,
    future::pending,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use crate::{
    error::Error,
    event::{JobInfo, JobState},
    id::JobId,
    job::{Job, Owed},
    journal::{Found, Journal},
    new_job::NewJob,
    snapshot::Snapshot,
    subscription::Subscription,
    table::{Limits, Shared},
    writer::{JobEmitter, JobWriter},
};

/// How long whoever asks for a job waits that is about to be gone on with.
const BEING_RESUMED: Duration = Duration::from_secs(10);

/// How often it looks meanwhile, should nothing be heard of it.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

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

    /// From now on `journal` is told of the jobs here, and asked for those that are not here. There is
    /// one, and it stays.
    pub fn keep_in(&self, journal: Arc<dyn Journal>) {
        if self.shared.journal.set(journal).is_err() {
            tracing::error!("a second journal is not told of any job");
        }
    }

    /// Starts a job, which ends when its writer says so or is dropped.
    ///
    /// Fails with [`Error::Full`] where as many jobs as the limits allow are running.
    pub fn create(&self, operation: &str) -> Result<JobWriter, Error> {
        self.begin(NewJob::of(operation))
    }

    /// The same under a name that is known already.
    ///
    /// Fails with [`Error::Present`] where the job is here, and with [`Error::Full`].
    pub fn begin(&self, new: NewJob<'_>) -> Result<JobWriter, Error> {
        let max_bytes = self.shared.limits.event_bytes_per_job;
        self.insert(Job::new(new, max_bytes, Arc::downgrade(&self.shared)))
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
        if let Some(journal) = self.shared.journal.get() {
            journal.runs(job.info());
        }
        Ok(JobWriter::new(job))
    }

    /// Brings an ended job here that the journal has, so that it can be read as any other; what else
    /// the journal knows of it is returned.
    pub async fn recall(&self, id: &JobId) -> Option<JobInfo> {
        let journal = self.shared.journal.get()?;
        let deadline = tokio::time::Instant::now() + BEING_RESUMED;
        loop {
            let mut running = self.running_changes();
            if let Some(job) = self.info(id) {
                return Some(job);
            }
            match journal.find(*id).await? {
                Found::Told(job) => return Some(job),
                Found::Whole { job, events } => {
                    self.insert_ended(&events, job.state.clone());
                    return Some(job);
                }
                // Whoever goes on with it begins a job, or says that it has ended.
                Found::Left if tokio::time::Instant::now() < deadline => {
                    drop(tokio::time::timeout(LOOK_AGAIN, running.changed()).await);
                }
                Found::Left => return None,
            }
        }
    }

    fn insert_ended(&self, events: &Snapshot, end: JobState) {
        let limits = &self.shared.limits;
        let (job, bytes) = Job::recalled(events, limits.event_bytes_per_job, end);
        let mut table = self.shared.lock();
        let mut forgotten = table.forget_before(limits);
        if table.jobs.len() >= limits.max_jobs {
            forgotten.extend(table.forget_oldest());
        }
        // Somebody else may have been faster; and where all that there is room for run, it stays away.
        if table.jobs.len() < limits.max_jobs && !table.jobs.contains_key(&job.id) {
            table.note_ended(job.id, bytes);
            table.jobs.insert(job.id, Arc::new(job));
        }
        drop(table);
        drop(forgotten);
    }

    /// Every job that is here, and those that only the journal knows, the oldest first.
    pub async fn history(&self) -> Vec<JobInfo> {
        let mut jobs = match self.shared.journal.get() {
            Some(journal) => journal.list().await,
            None => Vec::new(),
        };
        let here = self.list();
        let known: HashSet<JobId> = here.iter().map(|job| job.id).collect();
        jobs.retain(|job| !known.contains(&job.id));
        jobs.extend(here);
        jobs.sort_unstable_by_key(|job| job.id);
        jobs
    }

    /// What it was made with.
    pub fn limits(&self) -> Limits {
        self.shared.limits
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
    /// The job runs on until the writer has noticed; asking again until then changes nothing. Of one that
    /// has ended it says that whoever asks has read all.
    ///
    /// Fails with [`Error::TakenOver`] where a later owner goes on with it.
    pub fn cancel(&self, id: &JobId, owner: Option<u64>) -> Result<(), Error> {
        let job = self.find(id)?;
        let is_earlier = owner.is_some_and(|owner| owner < job.owner.load(Relaxed));
        if !is_earlier {
            job.has_been_read();
        }
        if job.is_ended() {
            return Err(Error::AlreadyEnded { id: *id });
        }
        if is_earlier {
            return Err(Error::TakenOver { id: *id });
        }
        job.cancel.cancel();
        Ok(())
    }

    /// Waits until no job runs, and nobody is owed a part of one that has ended: each who read it has said,
    /// by asking for its end, that nothing is missing, or has been away for as long as `patience`.
    pub async fn read_out(&self, patience: Duration) {
        loop {
            let changed = self.shared.read.notified();
            let mut next = None::<Instant>;
            let mut is_over = true;
            let jobs: Vec<Arc<Job>> = self.shared.lock().jobs.values().cloned().collect();
            for job in jobs {
                match job.owed(patience) {
                    Owed::Nobody => continue,
                    Owed::Somebody => {}
                    Owed::Until(until) => next = Some(next.map_or(until, |next| next.min(until))),
                }
                is_over = false;
            }
            if is_over {
                return;
            }
            let waits = async {
                match next {
                    Some(next) => sleep_until(next).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                () = changed => {}
                () = waits => {}
            }
        }
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
