//! Jobs: work with an ordered log of events that many can read, from any point, and cancel.
//!
//! A handler asks the [`JobServer`] for a [`JobWriter`] and gives it to whatever does the work.
//! The writer appends events to the job's log and ends it, once. Anybody who knows the job's id
//! reads the log through a [`Subscription`]: first what is already there, then what comes, then
//! the end. A writer that can put off its next event waits for readers that are far behind; one that the
//! bounded log has overtaken is told so.
//!
//! A server that is given a [`Journal`] tells it of its jobs, and asks it for those that it does not have.
//!
//! [`frames_response`] turns a subscription into a response in whatever an [`Encoder`] writes, [`sse`]
//! into server-sent events. Nothing here knows what the work is.

mod event; // what a log holds
mod id; // names of jobs
mod new_job; // what a job begins with
mod error; // what cannot be done
mod log; // the bounded log of one job, as plain data
mod journal; // what outlives the process
mod job; // a log with the people around it: writer, readers, canceller
mod table; // all jobs, within limits
mod server; // what is done with them
mod snapshot; // a job on its way to another process
mod writer; // the side that works
mod subscription; // the side that watches
mod frames; // a subscription as an HTTP response
pub mod sse; // the same as server-sent events

pub use crate::{
    error::Error,
    event::{End, Event, JobInfo, JobState},
    frames::{Encoder, Ends, frames_response}, // (Subscription, content type, Encoder) -> Response
    id::{JobId, ParseJobIdError},
    journal::{Found, Journal},
    new_job::NewJob,
    server::JobServer,
    snapshot::Snapshot,
    subscription::Subscription,
    table::Limits,
    writer::{JobEmitter, JobWriter, STALL},
};
