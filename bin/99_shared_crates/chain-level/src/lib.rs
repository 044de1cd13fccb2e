//! What one level of the chain does with the next.
//!
//! Queen and hive do the same: make a job of a request, find a process of the next level, bring it up
//! where need be, pass the body on and the events back, and see to it that it is fresh and does not
//! hang. What differs is a [`Level`]: the queen's next one is of hives, a hive's of workers. [`Pool`] has
//! the processes that are in use, so that a warm request goes straight to one; [`Relays`] does the job's
//! side of a request and [`respond`] the client's. The body and the chunks are bytes here; only the
//! worker knows what they mean.
//!
//! Each level's events have ids, so a stream that breaks goes on behind the last one that was seen.
//! That is how a job outlives the process that relays it: a later generation fetches the job, with
//! the id of the next level's job, and goes on reading there.

mod wanted; // what a request asks for
mod memory; // where there is none left
mod level; // what is known of the next level
mod gate; // who is let to a process, and in what order
mod slot; // the place of one process
mod places; // those of all processes
mod suspect; // who is tried again beside whom after a process has ended
mod held; // a process, as a request holds it
mod pool; // the processes in use
mod metrics; // what is counted
mod keep; // leases, idle processes, processes that hang
mod head; // what a level reads of a request
mod completion; // a request that the next level answers
mod attempt; // one try of a request
mod next; // who does the work
mod relay; // one response of the next level into the job
mod drive; // a job from its request to its end
mod transfer; // a job on its way to a later generation
mod start; // how a job begins
mod relays; // all of a process's jobs
mod routes; // what can be asked about them
mod live; // events for whoever looks on
mod narration; // what is narrated, into jobs and to whoever listens
mod respond; // the job's events to the client
mod serve; // routes on a daemon's listener

pub use crate::{
    attempt::{Again, Attempt},
    completion::completion_routes, // (Relays<Pool<L>>) -> Router
    head::Head,
    held::{Held, Hold},
    keep::LEASE_ROUND,
    level::{Level, Place, Reached, to_its_end},
    live::live, // (&Daemon, frames) -> Response
    metrics::{
        Metrics,
        Why,
        metrics_route, // (Metrics, Token) -> Router
    },
    narration::{
        Told,
        narrate_into, // (JobServer, Told, Metrics) -> sink
        told_routes,  // (Told, Daemon, Token) -> Router
    },
    next::NextLevel,
    places::Places,
    pool::Pool,
    relays::{Relays, ServedAt},
    respond::{
        Beginning,
        Begun,
        Form,
        begun,   // (&JobServer, JobId) -> Begun
        of_job,  // (JobId, Response) -> Response
        respond, // (&JobServer, JobId, Form) -> Response
    },
    routes::job_routes, // (Relays) -> Router
    serve::serve,       // (&Daemon, listener, Router)
    slot::{Busy, Lapse, Renewed, Running, Slot},
    start::Start,
    suspect::Suspect,
    transfer::Transfer,
    wanted::{Completion, Wanted},
};
