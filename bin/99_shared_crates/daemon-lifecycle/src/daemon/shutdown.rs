use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Instant,
};

use tokio::sync::watch;

use super::phase::Phase;

/// Why a daemon is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShutdownReason {
    /// A starter asked for it.
    Stop,
    /// A new generation has taken over.
    Replaced,
    /// SIGTERM or SIGINT.
    Signal,
    /// The starter of this generation went away before the hand-over.
    Abandoned,
}

/// What a daemon is told when it is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shutdown {
    pub reason: ShutdownReason,
    /// When streams that still run should say so and end; a little later they are cut.
    pub drain_deadline: Instant,
}

/// Resolves when the daemon is to end; every clone does.
pub struct ShutdownSignal {
    receiver: watch::Receiver<Phase>,
    waiting: Pin<Box<dyn Future<Output = Shutdown> + Send + Sync>>,
}

impl ShutdownSignal {
    pub(super) fn new(receiver: watch::Receiver<Phase>) -> Self {
        let mut changes = receiver.clone();
        let waiting = Box::pin(async move {
            let ending = changes.wait_for(|phase| phase.end().is_some()).await;
            match ending.map(|phase| phase.end()) {
                Ok(Some(shutdown)) => shutdown,
                _ => std::future::pending().await,
            }
        });
        Self { receiver, waiting }
    }

    /// What has been said so far, without waiting.
    pub fn requested(&self) -> Option<Shutdown> {
        self.receiver.borrow().end()
    }

    /// Resolves at the drain deadline, also when that is brought forward later.
    pub async fn drained(&self) {
        let mut changes = self.receiver.clone();
        loop {
            let deadline = changes.borrow_and_update().end().map(|end| end.drain_deadline);
            let over = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = over => return,
                changed = changes.changed() => if changed.is_err() {
                    std::future::pending::<()>().await;
                },
            }
        }
    }
}

impl Clone for ShutdownSignal {
    fn clone(&self) -> Self {
        Self::new(self.receiver.clone())
    }
}

impl fmt::Debug for ShutdownSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ShutdownSignal").field(&self.requested()).finish()
    }
}

impl Future for ShutdownSignal {
    type Output = Shutdown;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Shutdown> {
        self.waiting.as_mut().poll(context)
    }
}
