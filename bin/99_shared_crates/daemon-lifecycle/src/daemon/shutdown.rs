use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::phase::{Phase, Shutdown};

/// After the drain deadline streams have this long to say goodbye before they are cut.
pub(super) const CUT_GRACE: Duration = Duration::from_secs(2);

/// A daemon that has not exited this long after its last stream was cut is killed.
pub(super) const EXIT_GRACE: Duration = Duration::from_secs(10);

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

/// How long an orderly end takes at most from now on.
pub(super) fn end_by(deadline: Instant) -> Instant {
    deadline + CUT_GRACE
}
