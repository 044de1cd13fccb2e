//! A thread that computes, from its start to its end.

use std::{fmt, sync::Arc, thread::JoinHandle};

use tokio::sync::{mpsc, oneshot};

use super::watch::Watch;
use crate::model::LoadError;

/// To a thread that computes.
pub(super) enum Message<J> {
    Job(Box<J>),
    /// Take nothing more and end.
    Stop,
}

/// What a thread that computes is sent.
pub(super) struct Inbox<J> {
    messages: mpsc::Receiver<Message<J>>,
    watch: Arc<Watch>,
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

impl<J> Inbox<J> {
    pub(super) fn new(messages: mpsc::Receiver<Message<J>>, watch: Arc<Watch>) -> Self {
        Self { messages, watch }
    }

    /// What has come, in its order; waits for more where there is nothing to do. `None` when nothing
    /// will come then.
    pub(super) fn receive(&mut self, idle: bool) -> Option<Vec<J>> {
        let mut jobs = Vec::new();
        if idle {
            self.watch.rest();
            let message = self.messages.blocking_recv()?;
            self.take(message, &mut jobs);
        }
        self.watch.beat();
        while let Ok(message) = self.messages.try_recv() {
            self.take(message, &mut jobs);
        }
        Some(jobs)
    }

    fn take(&mut self, message: Message<J>, jobs: &mut Vec<J>) {
        match message {
            Message::Job(job) => jobs.push(*job),
            // What was sent before is still received.
            Message::Stop => self.messages.close(),
        }
    }
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
