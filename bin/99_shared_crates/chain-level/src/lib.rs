//! Passes a completion through one level of the chain.
//!
//! Queen and hive do the same with a request for a completion: make a job of it, find a process
//! of the next level, pass the body on and the events back. [`Relays`] does the job's side and
//! [`respond`] the client's. The body and the chunks are bytes here; only the worker knows what
//! they mean. [`Slot`] remembers the process that a level has found, so that a warm request goes
//! straight to it.
//!
//! Each level's events have ids, so a stream that breaks goes on behind the last one that was seen.
//! That is how a job outlives the process that relays it: a later generation fetches the job, with
//! the id of the next level's job, and goes on reading there.

mod head; // what a level reads of a request
mod next; // who does the work
mod relay; // one response of the next level into the job
mod drive; // a job from its request to its end
mod transfer; // a job on its way to a later generation
mod relays; // all of a process's jobs
mod routes; // what can be asked about them
mod narration; // what is narrated on behalf of a job
mod slot; // the process of the next level that is in use
mod respond; // the job's events to the client
mod serve; // routes on a daemon's listener

pub use crate::{
    drive::Attempt,
    head::Head,
    narration::narrate_into, // (JobServer) -> sink
    next::NextLevel,
    relays::Relays,
    respond::{Form, respond}, // (&JobServer, JobId, Form) -> Response
    routes::job_routes,       // (Relays) -> Router
    serve::serve,             // (&Daemon, listener, Router)
    slot::{Busy, Running, Slot},
    transfer::Transfer,
};
