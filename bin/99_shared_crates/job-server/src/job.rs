use std::{
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak, atomic::AtomicU64},
    task::{Context, Poll, Waker},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    error::Error,
    event::{Event, JobInfo, JobState},
    id::JobId,
    journal::Journal,
    log::{Log, Read, widened},
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
    readers: Vec<Reader>,
    /// The writer, while it waits for readers.
    writer: Option<Waker>,
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
    /// When that was.
    left: Option<Instant>,
    /// Whether one of them has said that it needs nothing more.
    has_all: bool,
}

/// Whom a job is kept for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owed {
    Nobody,
    /// It runs, or somebody reads it.
    Somebody,
    /// Whoever has left may have got less than was sent, and may come back until then.
    Until(Instant),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReaderId(u64);

/// How far a reader has come.
#[derive(Debug)]
struct Reader {
    id: ReaderId,
    next: u64,
    /// Of what was ever added to the log, all that this reader has or does not want.
    passed: u64,
    /// Whether the writer waits for it no more.
    given_up: bool,
}

/// Where a new reader begins, and what it has taken on.
#[derive(Debug)]
pub(crate) struct Admission {
    pub(crate) reader: ReaderId,
    pub(crate) next: u64,
    /// The grace of those it joins, or whose place it takes.
    pub(crate) grace: Option<Duration>,
}

/// What a running job keeps of its newest events however many others there are.
const KEPT_BYTES: usize = 32 * 1024;

impl Inner {
    /// Tells `server` what the log takes now; whether all together take too much.
    fn count(&mut self, server: &Shared) -> bool {
        let now = self.log.bytes();
        server.takes(std::mem::replace(&mut self.counted, now), now)
    }

    /// Readers that have more before them than that.
    fn behind(&mut self, bytes: usize) -> impl Iterator<Item = &mut Reader> {
        let added = self.log.added();
        let is_behind = move |reader: &&mut Reader| {
            !reader.given_up && added.saturating_sub(reader.passed) > widened(bytes)
        };
        self.readers.iter_mut().filter(is_behind)
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
                readers: Vec::new(),
                writer: None,
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

    /// What is owed to readers without whom it would not have been done, who have so much time to come
    /// back behind the end.
    pub(crate) fn owed(&self, patience: Duration) -> Owed {
        let inner = self.lock();
        if !inner.log.state().is_ended() {
            return Owed::Somebody;
        }
        let Audience { present, left, has_all, grace, .. } = inner.audience;
        // Who is not waited for at all does not come back.
        if has_all || grace.is_none_or(|grace| grace.is_zero()) {
            return Owed::Nobody;
        }
        let until = left.map(|left| left + patience).filter(|_| present == 0);
        until.map_or(Owed::Somebody, |until| {
            if until > Instant::now() { Owed::Until(until) } else { Owed::Nobody }
        })
    }

    /// Whether it is to be kept behind its end, for as long as that.
    pub(crate) fn is_unread(&self, patience: Duration) -> bool {
        !patience.is_zero() && self.owed(patience) != Owed::Nobody
    }

    /// Its reader needs nothing more of it.
    pub(crate) fn has_been_read(&self) {
        self.lock().audience.has_all = true;
        self.tell_of_reading();
    }

    fn tell_of_reading(&self) {
        if let Some(server) = self.server.upgrade() {
            server.read.notify_waiters();
        }
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.lock().log.state().is_ended()
    }

    pub(crate) fn emit(&self, name: Option<&'static str>, data: Bytes) -> Option<u64> {
        let mut inner = self.lock();
        let added = inner.log.added();
        let id = inner.log.append(name, data)?;
        let cost = inner.log.added() - added;
        // Readers of a job that is behind them have it already.
        inner.readers.iter_mut().filter(|reader| reader.next > id).for_each(|r| r.passed += cost);
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
        let passed = inner.log.added() - inner.log.bytes_from(next);
        inner.readers.push(Reader { id: reader, next, passed, given_up: false });
        // Whoever follows a job that others watch is one of them: it may be one of them come back
        // before its loss was noticed.
        let audience = &mut inner.audience;
        audience.vacant = false;
        audience.has_all = false;
        audience.present += usize::from(audience.grace.is_some());
        Ok(Admission { reader, next, grace: audience.grace })
    }

    /// Reads at `id`, and has `waker` woken when that is worth trying again.
    pub(crate) fn read(&self, reader: ReaderId, id: u64, waker: &Waker) -> Read {
        let mut inner = self.lock();
        let read = inner.log.read(id);
        match &read {
            Read::Pending => match inner.waiting.iter_mut().find(|(waiting, _)| *waiting == reader)
            {
                Some((_, known)) => known.clone_from(waker),
                None => inner.waiting.push((reader, waker.clone())),
            },
            Read::Event(event) => {
                if let Some(reader) = inner.readers.iter_mut().find(|known| known.id == reader) {
                    reader.next = event.id + 1;
                    reader.passed += widened(event.cost());
                }
                let writer = if inner.writer.is_some() && self.has_caught_up(&mut inner) {
                    inner.writer.take()
                } else {
                    None
                };
                drop(inner);
                writer.into_iter().for_each(Waker::wake);
            }
            Read::End(_) | Read::Gone { .. } => {}
        }
        read
    }

    /// Whether no reader that is waited for is so far behind that another event may push out what it has
    /// not read.
    pub(crate) fn has_room(&self) -> bool {
        let mut inner = self.lock();
        let kept = self.kept(&inner);
        inner.behind(kept).next().is_none()
    }

    /// Until readers that were too far behind have caught up by half.
    pub(crate) fn poll_caught_up(&self, cx: &Context<'_>) -> Poll<()> {
        let mut inner = self.lock();
        if self.has_caught_up(&mut inner) {
            return Poll::Ready(());
        }
        inner.writer = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Waits no more for those that have not caught up.
    pub(crate) fn give_up_readers(&self) {
        let mut inner = self.lock();
        let kept = self.kept(&inner) / 2;
        inner.behind(kept).for_each(|reader| reader.given_up = true);
    }

    fn has_caught_up(&self, inner: &mut Inner) -> bool {
        let kept = self.kept(inner) / 2;
        inner.behind(kept).next().is_none()
    }

    /// How much a reader may have before it while another event pushes out nothing of that.
    fn kept(&self, inner: &Inner) -> usize {
        let is_over = self.server.upgrade().is_some_and(|server| server.is_over());
        // The other half is for the event.
        let most = inner.log.max_bytes();
        if is_over { KEPT_BYTES.min(most) / 2 } else { most / 2 }
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
        inner.readers.retain(|known| known.id != reader);
        let writer = inner.writer.take();
        let departure = grace.and_then(|_| inner.last_of_audience_left());
        let is_ended = inner.log.state().is_ended();
        drop(inner);
        if is_ended {
            self.tell_of_reading();
        }
        drop(waker);
        writer.into_iter().for_each(Waker::wake);
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
        if self.audience.present > 0 {
            return None;
        }
        self.audience.left = Some(Instant::now());
        if self.log.state().is_ended() {
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
