use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;
use daemon_lifecycle::Waits;
use job_server::JobEmitter;
use rbee_api::{Continuation, KeepAlive, ModelReach, paths};
use reqwest::{Method, header::HeaderValue};
use serde_json::value::RawValue;

use crate::suspect::Suspect;

/// What a request wants of the process that answers it.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Whether a process that runs a stale binary will not do.
    pub fresh: bool,
    /// Whether the process that is remembered has failed this request already.
    pub distrust: bool,
    /// Set where it is to be a process that answers nobody but such suspects meanwhile.
    pub suspect: Option<Suspect>,
    /// Who waits for it to be built, if it must.
    pub waits: Waits,
    /// Which models whoever asks may name.
    pub reach: ModelReach,
    /// Whose turn it has to be; `None` for what waits behind nobody's requests.
    pub caller: Option<Arc<str>>,
    /// Told of downloads.
    pub job: Option<JobEmitter>,
}

impl Default for Wanted {
    /// What a program wants of whatever runs.
    fn default() -> Self {
        let (waits, reach) = (Waits::Program, ModelReach::Any);
        let caller = None;
        Self { fresh: false, distrust: false, suspect: None, waits, reach, caller, job: None }
    }
}

impl Wanted {
    /// A request that only fresh processes may answer is a person's.
    pub fn of(fresh: bool, distrust: bool) -> Self {
        let waits = if fresh { Waits::Person } else { Waits::Program };
        Self { fresh, distrust, waits, ..Self::default() }
    }
}

/// A completion, or something else that a model's worker answers, to be had from some process of the
/// next level.
#[derive(Debug, Clone)]
pub struct Completion {
    pub method: Method,
    /// The endpoint's, with the query that it is asked with.
    pub path: Cow<'static, str>,
    pub model: String,
    /// Whether only processes with fresh binaries may answer.
    pub fresh: bool,
    /// Whether the answer is to be a stream, with narration and progress.
    pub events: bool,
    /// Which models the client may name.
    pub reach: ModelReach,
    /// Who asks, as far as turns go.
    pub caller: Arc<str>,
    /// How long the model is to stay loaded afterwards, where the client says it.
    pub keep_alive: Option<KeepAlive>,
    /// What the request is called in logs.
    pub id: Option<HeaderValue>,
    /// The client's body, passed on as it came.
    pub body: Bytes,
}

impl Completion {
    /// A request for the rest of its answer, behind what was `delivered`.
    ///
    /// # Errors
    ///
    /// When the body is no JSON.
    pub(crate) fn continued(self, delivered: Vec<Box<RawValue>>) -> serde_json::Result<Self> {
        let request = serde_json::from_slice(&self.body)?;
        let continuation = Continuation { path: self.path.into_owned(), request, delivered };
        let body = serde_json::to_vec(&continuation)?.into();
        let (method, path) = (Method::POST, paths::CONTINUATIONS.into());
        Ok(Self { method, path, body, ..self })
    }
}
