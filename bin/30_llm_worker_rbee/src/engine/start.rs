//! A thread that computes, from its start to its end.

use std::{fmt, thread::JoinHandle};

use tokio::sync::{mpsc, oneshot};

use crate::model::LoadError;

/// To a thread that computes.
pub(super) enum Message<J> {
    Job(Box<J>),
    /// Take nothing more and end.
    Stop,
}

/// A thread that computes, to wait for.
pub struct EngineThread {
    handle: JoinHandle<()>,
    stop: Box<dyn FnOnce() + Send>,
}

/// Starts a thread that `run` keeps going for as long as there are senders, and waits until that says
/// that it is ready; with room for `places` jobs.
pub(super) async fn start<J: Send + 'static>(
    places: usize,
    run: impl FnOnce(mpsc::Receiver<Message<J>>, oneshot::Sender<Result<(), LoadError>>)
    + Send
    + 'static,
) -> Result<(mpsc::Sender<Message<J>>, EngineThread), LoadError> {
    // A message for each place, and the last one.
    let (jobs, incoming) = mpsc::channel(places + 1);
    let (ready, started) = oneshot::channel();
    let handle = std::thread::Builder::new()
        .name("engine".to_owned())
        .spawn(move || run(incoming, ready))
        .map_err(|source| LoadError::Thread { source })?;
    started.await.map_err(|_ended| LoadError::Died)??;
    let last = jobs.downgrade();
    let stop = move || {
        if let Some(jobs) = last.upgrade() {
            // Fails only when the thread has ended.
            drop(jobs.try_send(Message::Stop));
        }
    };
    Ok((jobs, EngineThread { handle, stop: Box::new(stop) }))
}

impl EngineThread {
    /// Has requests refused from now on, and waits until those under way have ended.
    pub fn join(self) {
        (self.stop)();
        if self.handle.join().is_err() {
            tracing::error!("the engine's thread panicked");
        }
    }
}

impl fmt::Debug for EngineThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineThread").field("handle", &self.handle).finish_non_exhaustive()
    }
}
