use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::{
    request::{Event, Request},
    sampler::Sampler,
};

/// A request on its way to the engine's thread.
pub(super) struct Job {
    pub(super) request: Request,
    pub(super) sampler: Sampler,
    pub(super) events: mpsc::Sender<Event>,
    /// Its place among the bounded number of requests, given back when the job is dropped.
    pub(super) _place: OwnedSemaphorePermit,
}
