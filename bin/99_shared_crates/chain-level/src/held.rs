use std::{future, time::Duration};

use crate::{slot::Busy, suspect::Suspect};

/// How long after its connections a process may end that has ended.
const MOMENT: Duration = Duration::from_millis(200);
const POLL: Duration = Duration::from_millis(10);

/// What is held of a process while it answers a request.
pub trait Hold: Send + Sync {
    /// Something of the answer has come from the process, so it does not hang.
    fn heard(&self) {}

    /// Resolves, with the reason, once the process is given up: what it was answering is not waited for
    /// any more.
    fn given_up(&self) -> impl Future<Output = String> + Send {
        future::pending()
    }

    /// Of a process whose connection broke: set if it has ended, and may have ended because of what it
    /// was answering.
    fn blames(&self) -> impl Future<Output = Option<Suspect>> + Send {
        future::ready(None)
    }

    /// Of a process that has ended: what is told where the system did that because there was no memory
    /// left.
    fn starved(&self) -> Option<String> {
        None
    }
}

impl Hold for () {}

/// A process of a [`crate::Pool`], as a request holds it; see [`crate::Level::hold`].
#[derive(Debug)]
pub struct Held<T> {
    /// `None` for one that the pool does not have.
    busy: Option<Busy<T>>,
    can_be_ended: bool,
}

impl<T> Held<T> {
    /// Held by a request that may be why the process ends if `can_be_ended`; `None` is a process that
    /// no pool has.
    pub(crate) fn new(busy: Option<Busy<T>>, can_be_ended: bool) -> Self {
        Self { busy, can_be_ended }
    }
}

impl<T: Send + Sync> Hold for Held<T> {
    fn heard(&self) {
        if let Some(busy) = &self.busy {
            busy.running().heard();
        }
    }

    async fn given_up(&self) -> String {
        match &self.busy {
            Some(busy) => busy.given_up().await,
            None => future::pending().await,
        }
    }

    async fn blames(&self) -> Option<Suspect> {
        let busy = self.busy.as_ref().filter(|_| self.can_be_ended)?;
        // The kernel closes connections a moment before it says that their process has ended.
        let ended = async {
            while !busy.running().is_lost() {
                tokio::time::sleep(POLL).await;
            }
        };
        tokio::time::timeout(MOMENT, ended).await.ok()?;
        Some(Suspect::one_of(busy.running().active_at_its_end()))
    }

    fn starved(&self) -> Option<String> {
        self.busy.as_ref()?.running().starved()
    }
}
