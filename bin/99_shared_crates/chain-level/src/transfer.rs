use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use job_server::{JobId, Snapshot};
use rbee_api::{ModelReach, Origin};
use reqwest::Method;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use crate::wanted::Completion;

/// A stream stops between two events, so this is for a machine that is busy.
const LIMIT: Duration = Duration::from_secs(5);

/// A completion on its way to the process that takes this one's place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    pub job: Snapshot,
    /// Where the rest of its events comes from.
    pub upstream: Origin,
    /// What was asked, should whoever answers end; `None` where that is not to be asked again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) asked: Option<Asked>,
    /// Whether nothing of its answer has come, so that it can be begun anew where the rest is lost.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unanswered: bool,
}

/// A [`Completion`] of a stream, on that way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Asked {
    path: String,
    model: String,
    fresh: bool,
    reach: ModelReach,
    /// What the request is called in logs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    body: String,
}

impl Asked {
    /// `None` for a body that is no text, which no worker could read.
    pub(crate) fn of(completion: &Completion) -> Option<Self> {
        let Completion { path, model, fresh, reach, id, body, .. } = completion;
        let body = str::from_utf8(body).ok()?.to_owned();
        let (path, model) = (path.clone().into_owned(), model.clone());
        let id = id.as_ref().and_then(|id| id.to_str().ok()).map(str::to_owned);
        Some(Self { path, model, fresh: *fresh, reach: *reach, id, body })
    }
}

impl From<Asked> for Completion {
    fn from(Asked { path, model, fresh, reach, id, body }: Asked) -> Self {
        let (method, path, body) = (Method::POST, path.into(), body.into());
        let id = id.and_then(|id| id.try_into().ok());
        // The one before has told its process already; and it waits for nobody's turn.
        let (keep_alive, caller) = (None, "".into());
        Self { method, path, model, fresh, events: true, reach, caller, keep_alive, id, body }
    }
}

pub(crate) type Reply = oneshot::Sender<Transfer>;

/// The completions of this process that could go on in another one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Transfers(Arc<Mutex<HashMap<JobId, mpsc::Sender<Reply>>>>);

/// Asks one completion to depart; it is known for as long as this lives.
#[derive(Debug)]
pub(crate) struct Departure {
    id: JobId,
    asked: mpsc::Receiver<Reply>,
    transfers: Transfers,
}

impl Transfers {
    pub(crate) fn register(&self, id: JobId) -> Departure {
        let (ask, asked) = mpsc::channel(1);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id, ask);
        Departure { id, asked, transfers: self.clone() }
    }

    pub(crate) fn ids(&self) -> Vec<JobId> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).keys().copied().collect()
    }

    /// `None` for one that is not here, or whose answer has not begun: it could only be repeated.
    pub(crate) async fn release(&self, id: JobId) -> Option<Transfer> {
        let ask = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&id)?.clone();
        let released = async {
            let (reply, transfer) = oneshot::channel();
            ask.send(reply).await.ok()?;
            transfer.await.ok()
        };
        tokio::time::timeout(LIMIT, released).await.ok()?
    }
}

impl Departure {
    /// Resolves when the completion is to go on elsewhere.
    pub(crate) async fn asked(&mut self) -> Reply {
        loop {
            match self.asked.recv().await {
                // Whoever asked may have given up.
                Some(reply) if reply.is_closed() => {}
                Some(reply) => return reply,
                None => std::future::pending().await,
            }
        }
    }
}

impl Drop for Departure {
    fn drop(&mut self) {
        self.transfers.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}
