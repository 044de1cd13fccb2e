//! What outlives the process, for a server that is given such a thing.

use std::fmt;

use futures::future::BoxFuture;

use crate::{event::JobInfo, id::JobId, snapshot::Snapshot};

/// Told of the jobs of a server, and asked for those that the server does not have.
///
/// What tells it never waits; it must not block, nor come back to the server.
pub trait Journal: fmt::Debug + Send + Sync {
    /// A job runs here from now on: it was begun, or goes on here.
    fn runs(&self, job: JobInfo);

    /// What another process needs to go on with a job that is kept, in the words of who does its work.
    fn notes(&self, id: JobId, note: String);

    /// A job has ended here; its events come along where it is kept.
    fn ended(&self, job: JobInfo, events: Option<Snapshot>);

    fn find(&self, id: JobId) -> BoxFuture<'_, Option<Found>>;

    /// The newest of those that are known, in any order.
    fn list(&self) -> BoxFuture<'_, Vec<JobInfo>>;
}

/// What a journal has of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// It has ended; here is all of it.
    Whole { job: JobInfo, events: Snapshot },
    /// It has ended, and its events are not kept; or another process has it, which lives.
    Told(JobInfo),
    /// The process that had it is no more, and somebody is about to go on with it.
    Left,
}
