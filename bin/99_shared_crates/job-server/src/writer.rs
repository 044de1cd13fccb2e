use std::{
    future::poll_fn,
    sync::{Arc, Weak},
    time::Duration,
};

use bytes::Bytes;
use http_guard::ApiError;
use rbee_api::{ErrorBody, StreamEvent};
use serde::Serialize;
use tokio::time::timeout;

use crate::{
    event::{Event, JobState},
    id::JobId,
    job::Job,
    snapshot::Snapshot,
};

/// How long a writer waits for a reader that is too far behind to have read half of that.
pub const STALL: Duration = Duration::from_secs(30);

/// The side of a job that does the work; there is one.
///
/// Dropping it before it has ended the job ends it: as cancelled if that was asked for, else as
/// failed.
#[derive(Debug)]
pub struct JobWriter {
    job: Arc<Job>,
}

impl JobWriter {
    pub(crate) fn new(job: Arc<Job>) -> Self {
        Self { job }
    }

    pub fn id(&self) -> JobId {
        self.job.id
    }

    pub(crate) fn last_event_id(&self) -> u64 {
        self.job.info().last_event_id
    }

    /// Waits while a reader is so far behind that another event would push out what it has not read. For
    /// whoever can put off the next event; a reader that gets nowhere for [`STALL`] is waited for no more.
    pub async fn room(&self) {
        if self.job.has_room() {
            return;
        }
        let caught_up = poll_fn(|cx| self.job.poll_caught_up(cx));
        if timeout(STALL, caught_up).await.is_err() {
            self.job.give_up_readers();
        }
    }

    /// Appends an event and returns its id.
    ///
    /// Never waits for a reader: see [`Self::room`]. `data` is UTF-8 and is kept as it is, so a slice of a large buffer
    /// keeps that buffer.
    pub fn emit(&self, name: Option<&'static str>, data: impl Into<Bytes>) -> u64 {
        self.job.emit(name, data.into()).expect("only the writer ends a job, and it is consumed")
    }

    /// Appends one of rbee's own events and returns its id.
    pub fn send(&self, event: StreamEvent) -> u64 {
        let (name, data) = event.encode();
        self.emit(name, data)
    }

    /// Every event so far, from the first; `None` where the bounded log no longer holds them all.
    pub fn events(&self) -> Option<Vec<Event>> {
        self.job.events()
    }

    /// Writes down what another process would need to go on with the job, should this one die: `text`
    /// makes it of the job as it is now. Nothing is done where the job is not kept.
    pub fn note(&self, text: impl FnOnce(Snapshot) -> Option<String>) {
        if self.job.kept
            && let Some(journal) = self.job.journal()
            && let Some(note) = text(self.job.snapshot())
        {
            journal.notes(self.job.id, note);
        }
    }

    /// Lets others add events to the job while it runs.
    pub fn emitter(&self) -> JobEmitter {
        JobEmitter::new(&self.job)
    }

    /// Resolves once somebody has asked for the job to end.
    pub fn cancelled(&self) -> impl Future<Output = ()> + Send + 'static {
        self.job.cancel.clone().cancelled_owned()
    }

    pub fn is_cancelled(&self) -> bool {
        self.job.cancel.is_cancelled()
    }

    pub fn complete(self) {
        self.job.end(JobState::Completed);
    }

    pub fn fail(self, why: impl Into<String>) {
        self.job.end(JobState::Failed { why: why.into() });
    }

    /// Ends the job here, so that another server can go on with it: its readers here are told
    /// nothing of an end, and find the rest of the events there.
    #[must_use = "a job whose snapshot is dropped is lost"]
    pub fn depart(self) -> Snapshot {
        self.job.depart()
    }

    /// Ends the job with its result, or with the error that kept it from having one.
    pub fn finish(self, outcome: Result<impl Serialize, ErrorBody>) {
        let event = outcome.and_then(|result| {
            StreamEvent::result(&result).map_err(|error| ApiError::internal(error).into())
        });
        match event {
            Ok(result) => {
                self.send(result);
                self.complete();
            }
            Err(body) => self.fail_with(body),
        }
    }

    /// Ends the job with an error, as an event and as its state.
    pub fn fail_with(self, body: ErrorBody) {
        let why = body.error.message.clone();
        self.send(StreamEvent::Error(body));
        self.fail(why);
    }

    /// Ends the job as cancelled.
    pub fn cancelled_end(self) {
        self.job.end(JobState::Cancelled);
    }
}

impl Drop for JobWriter {
    fn drop(&mut self) {
        // Changes nothing where the job has ended.
        self.job.end(if self.is_cancelled() {
            JobState::Cancelled
        } else {
            JobState::Failed { why: "abandoned: the work stopped without a result".to_owned() }
        });
    }
}

/// Adds events to a job from beside its writer.
///
/// It keeps neither the job running nor its log in memory.
#[derive(Debug, Clone)]
pub struct JobEmitter {
    id: JobId,
    job: Weak<Job>,
}

impl JobEmitter {
    pub(crate) fn new(job: &Arc<Job>) -> Self {
        Self { id: job.id, job: Arc::downgrade(job) }
    }

    pub fn id(&self) -> JobId {
        self.id
    }

    /// Says what the job is about, once.
    pub fn about(&self, subject: &str) {
        if let Some(job) = self.job.upgrade() {
            // Said before: it is about the same.
            drop(job.subject.set(subject.into()));
        }
    }

    /// Appends an event and returns its id, or `None` where the job has ended.
    pub fn emit(&self, name: Option<&'static str>, data: impl Into<Bytes>) -> Option<u64> {
        self.job.upgrade()?.emit(name, data.into())
    }

    /// The same for one of rbee's own events.
    pub fn send(&self, event: StreamEvent) -> Option<u64> {
        let (name, data) = event.encode();
        self.emit(name, data)
    }
}
