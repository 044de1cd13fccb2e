use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::{
    carried::CarryJob,
    request::{Event, Request},
    sampler::Sampler,
};

/// What the engine's thread is sent.
#[expect(clippy::large_enum_variant, reason = "it is sent in a box")]
pub(super) enum Work {
    Job(Job),
    Carry(CarryJob),
}

/// A request on its way to the engine's thread.
pub(super) struct Job {
    pub(super) request: Request,
    pub(super) sampler: Sampler,
    pub(super) events: mpsc::Sender<Event>,
    /// Its place among the bounded number of requests, given back when the job is dropped.
    pub(super) _place: OwnedSemaphorePermit,
}
