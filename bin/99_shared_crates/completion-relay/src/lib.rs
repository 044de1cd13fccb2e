//! Passes a completion through one level of the chain.
//!
//! Queen and hive do the same with a request for a completion: make a job of it, find a process
//! of the next level, pass the body on and the events back. [`drive`] does the job's side and
//! [`respond`] the client's. The body and the chunks are bytes here; only the worker knows what
//! they mean. [`Slot`] remembers the process that a level has found, so that a warm request goes
//! straight to it.

mod head; // what a level reads of a request
mod drive; // a job from its request to its end
mod relay; // one response of the next level into the job
mod narration; // what is narrated on behalf of a job
mod slot; // the process of the next level that is in use
mod refusal; // errors as the client is told them
mod respond; // the job's events to the client

pub use crate::{
    drive::{Attempt, attempts, drive}, // (JobWriter, acquire)
    head::Head,
    narration::narrate_into, // (JobServer) -> sink
    refusal::{causes, internal, job_refusal, passed_on}, // errors for clients
    relay::{Failure, relay}, // (RequestBuilder, &JobWriter)
    respond::{Form, respond}, // (&JobServer, JobId, Form) -> Response
    slot::{Busy, Running, Slot},
};
