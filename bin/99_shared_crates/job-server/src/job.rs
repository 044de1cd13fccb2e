use std::{
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak, atomic::AtomicU64},
    task::Waker,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::{
    error::Error,
    event::{Event, JobInfo, JobState},
    id::JobId,
    journal::Journal,
    log::{Log, Read},
    new_job::NewJob,
    snapshot::Snapshot,
    table::Shared,
};

#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) id: JobId,
    operation: Box<str>,
    pub(crate) subject: OnceLock<Box<str>>,
    created_at: SystemTime,
    pub(crate) cancel: CancellationToken,
    /// The latest of its owners.
    pub(crate) owner: AtomicU64,
    /// Whether it is to outlive this process.
    pub(crate) kept: bool,
    /// Whether readers may have seen more of it than it has.
    behind: bool,
    server: Weak<Shared>,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    log: Log,
    /// Bytes of the log that the server knows of.
    counted: usize,
    /// Readers with nothing to read, each at most once.
    waiting: Vec<(ReaderId, Waker)>,
    last_reader: u64,
    audience: Audience,
}

/// Who would miss the job.
#[derive(Debug, Default)]
struct Audience {
    /// Subscriptions that cancel the job when the last of them leaves.
    present: usize,
    /// Counts the times that the last of them left.
    departures: u64,
    /// How long the last of them to come would be waited for.
    grace: Option<Duration>,
    /// Set from such a departure to the next subscription.
    vacant: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReaderId(u64);

/// Where a new reader begins, and what it has taken on.
#[derive(Debug)]
pub(crate) struct Admission {
    pub(crate) reader: ReaderId,
    pub(crate) next: u64,
    /// The grace of those it joins, or whose place it takes.
    pub(crate) grace: Option<Duration>,
}

/// What a running job keeps of its newest events however many others there are.
const KEPT_BYTES: usize = 64 * 1024;

impl Inner {
    /// Tells `server` what the log takes now; whether all together take too much.
    fn count(&mut self, server: &Shared) -> bool {
        let now = self.log.bytes();
        server.takes(std::mem::replace(&mut self.counted, now), now)
    }
}

impl Job {
    pub(crate) fn new(new: NewJob<'_>, max_bytes: usize, server: Weak<Shared>) -> Self {
        let NewJob { id, operation, kept } = new;
        Self {
            id,
            operation: operation.into(),
            subject: OnceLock::new(),
            created_at: SystemTime::now(),
            cancel: CancellationToken::new(),
            owner: AtomicU64::new(0),
            kept,
            behind: false,
            server,
            inner: Mutex::new(Inner {
                log: Log::new(max_bytes),
                counted: 0,
                waiting: Vec::new(),
                last_reader: 0,
                audience: Audience::default(),
            }),
        }
    }

    pub(crate) fn restored(snapshot: &Snapshot, max_bytes: usize, server: Weak<Shared>) -> Self {
        let Snapshot { id, operation, kept, .. } = snapshot;
        let new = NewJob { id: *id, operation, kept: *kept };
        let mut job = Self::new(new, max_bytes, server);
        job.behind = snapshot.behind;
        job.created_at = snapshot.created_at();
        if let Some(subject) = &snapshot.subject {
            job.subject = OnceLock::from(Box::<str>::from(subject.as_str()));
        }
        job.inner.get_mut().unwrap_or_else(PoisonError::into_inner).log =
            Log::restored(max_bytes, snapshot.last_event_id(), snapshot.events());
        job
    }

    /// The same of one that has ended, before anybody knows of it; says what its events take.
    pub(crate) fn recalled(snapshot: &Snapshot, max_bytes: usize, end: JobState) -> (Self, usize) {
        let mut job = Self::restored(snapshot, max_bytes, Weak::new());
        let log = &mut job.inner.get_mut().unwrap_or_else(PoisonError::into_inner).log;
        log.end(end);
        let bytes = log.bytes();
        (job, bytes)
    }

    pub(crate) fn info(&self) -> JobInfo {
        self.info_within(&self.lock())
    }

    fn info_within(&self, inner: &Inner) -> JobInfo {
        JobInfo {
            id: self.id,
            operation: self.operation.as_ref().to_owned(),
            subject: self.subject.get().map(|subject| subject.as_ref().to_owned()),
            state: inner.log.state().clone(),
            cancel_requested: self.cancel.is_cancelled(),
            last_event_id: inner.log.last_id(),
            created_at: self.created_at,
        }
    }

    pub(crate) fn events(&self) -> Option<Vec<Event>> {
        let inner = self.lock();
        (inner.log.oldest() == 1).then(|| inner.log.events().cloned().collect())
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.lock().log.state().is_ended()
    }

    pub(crate) fn emit(&self, name: Option<&'static str>, data: Bytes) -> Option<u64> {
        let mut inner = self.lock();
        let id = inner.log.append(name, data)?;
        if let Some(server) = self.server.upgrade()
            && inner.count(&server)
        {
            inner.log.shed(KEPT_BYTES);
            inner.count(&server);
        }
        let waiting = std::mem::take(&mut inner.waiting);
        // A waker may run anything, and that may come back here.
        drop(inner);
        wake(waiting);
        Some(id)
    }

    pub(crate) fn end(&self, state: JobState) {
        self.end_within(self.lock(), state);
    }

    /// Nothing can be added between the events that the snapshot has and the end here.
    pub(crate) fn depart(&self) -> Snapshot {
        let inner = self.lock();
        let snapshot = self.snapshot_within(&inner);
        self.end_within(inner, JobState::Moved);
        snapshot
    }

    /// The job as it is now, for whoever may have to go on with it.
    pub(crate) fn snapshot(&self) -> Snapshot {
        self.snapshot_within(&self.lock())
    }

    fn snapshot_within(&self, inner: &Inner) -> Snapshot {
        let (log, watched) = (&inner.log, inner.audience.grace.is_some());
        Snapshot::new(
            self.id,
            &self.operation,
            self.subject.get().map(AsRef::as_ref),
            self.created_at,
            [watched, self.kept],
            log.oldest(),
            log.events(),
        )
    }

    pub(crate) fn journal(&self) -> Option<Arc<dyn Journal>> {
        self.server.upgrade()?.journal.get().cloned()
    }

    fn end_within(&self, mut inner: MutexGuard<'_, Inner>, state: JobState) {
        let has_moved = state == JobState::Moved;
        if !inner.log.end(state) {
            return;
        }
        // Where it goes on it is told of.
        let told = self.journal().filter(|_| !has_moved).map(|journal| {
            let events = self.kept.then(|| self.snapshot_within(&inner));
            (journal, self.info_within(&inner), events)
        });
        let waiting = std::mem::take(&mut inner.waiting);
        let bytes = inner.log.bytes();
        let counted = std::mem::take(&mut inner.counted);
        drop(inner);
        // First the server, so that whoever reads the end finds room for another job.
        if let Some(server) = self.server.upgrade() {
            server.takes(counted, 0);
            server.ended(self.id, bytes);
        }
        if let Some((journal, job, events)) = told {
            journal.ended(job, events);
        }
        wake(waiting);
    }

    pub(crate) fn admit(&self, after: Option<u64>) -> Result<Admission, Error> {
        let mut inner = self.lock();
        let after = after.unwrap_or(0);
        let is_behind = self.behind && !inner.log.state().is_ended();
        if after > inner.log.tail() && !is_behind {
            return Err(Error::Ahead { id: self.id, after, last: inner.log.tail() });
        }
        let next = after + 1;
        if next < inner.log.oldest() {
            return Err(Error::Gone { id: self.id, oldest: inner.log.oldest() });
        }
        inner.last_reader += 1;
        let reader = ReaderId(inner.last_reader);
        // Whoever follows a job that others watch is one of them: it may be one of them come back
        // before its loss was noticed.
        let audience = &mut inner.audience;
        audience.vacant = false;
        audience.present += usize::from(audience.grace.is_some());
        Ok(Admission { reader, next, grace: audience.grace })
    }

    /// Reads at `id`, and has `waker` woken when that is worth trying again.
    pub(crate) fn read(&self, reader: ReaderId, id: u64, waker: &Waker) -> Read {
        let mut inner = self.lock();
        let read = inner.log.read(id);
        if matches!(read, Read::Pending) {
            match inner.waiting.iter_mut().find(|(waiting, _)| *waiting == reader) {
                Some((_, known)) => known.clone_from(waker),
                None => inner.waiting.push((reader, waker.clone())),
            }
        }
        read
    }

    pub(crate) fn state(&self) -> JobState {
        self.lock().log.state().clone()
    }

    /// Counts one more of those without whom the job need not go on, unless it `is_counted`.
    pub(crate) fn arrive(&self, grace: Duration, is_counted: bool) {
        let mut inner = self.lock();
        inner.audience.grace = Some(grace);
        inner.audience.present += usize::from(!is_counted);
    }

    /// Forgets a reader; `grace` is what it brought to [`Job::arrive`] or got from [`Job::admit`].
    pub(crate) fn leave(self: &Arc<Self>, reader: ReaderId, grace: Option<Duration>) {
        let mut inner = self.lock();
        let waiting = inner.waiting.iter().position(|(waiting, _)| *waiting == reader);
        let waker = waiting.map(|index| inner.waiting.swap_remove(index));
        let departure = grace.and_then(|_| inner.last_of_audience_left());
        drop(inner);
        drop(waker);
        let (Some(departure), Some(grace)) = (departure, grace) else { return };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) if !grace.is_zero() => {
                let job = Arc::downgrade(self);
                drop(runtime.spawn(async move {
                    tokio::time::sleep(grace).await;
                    if let Some(job) = job.upgrade() {
                        job.cancel_if_vacant(departure);
                    }
                }));
            }
            // Without a runtime there is no clock to wait with, and nobody to reconnect either.
            _ => self.cancel.cancel(),
        }
    }

    fn cancel_if_vacant(&self, departure: u64) {
        let inner = self.lock();
        let audience = &inner.audience;
        let vacant = audience.vacant && audience.departures == departure;
        if !vacant || inner.log.state().is_ended() {
            return;
        }
        drop(inner);
        self.cancel.cancel();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// The number of this departure, where it was the last of a job that still runs.
    fn last_of_audience_left(&mut self) -> Option<u64> {
        self.audience.present -= 1;
        if self.audience.present > 0 || self.log.state().is_ended() {
            return None;
        }
        self.audience.departures += 1;
        self.audience.vacant = true;
        Some(self.audience.departures)
    }
}

fn wake(waiting: Vec<(ReaderId, Waker)>) {
    for (_, waker) in waiting {
        waker.wake();
    }
}
