//! OpenAI's format at the rim.
//!
//! A handler turns a body into an engine's request and writes down the events that come back. A
//! client that goes away drops its response, which cancels the stream's job, which drops the events'
//! receiver, which ends the request in the engine.

mod answer; // events to a response, whole or streamed
mod chat; // POST /v1/chat/completions
mod completions; // POST /v1/completions
mod error; // refusals
mod fields; // the fields of a body
mod grammar; // response_format
mod messages; // a chat's messages
mod params; // what both have in common
mod tools; // tools and tool_choice
mod wire; // the JSON that is sent

use std::{
    fmt,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, State},
    routing::{get, post},
};
use http_guard::{ApiError, fallbacks};
use rbee_api::{Health, paths};
use worker_service::{Lease, WorkerService};

use self::{
    error::engine_failed,
    wire::{ModelMeta, Models, ServedModel},
};
use crate::Engine;

/// Bytes of a request's body at most.
const BODY_MAX: usize = 16 * 1024 * 1024;

/// What the handlers share.
#[derive(Clone)]
pub struct Service {
    engine: Engine,
    name: Arc<str>,
    /// Lease, streams and health.
    worker: WorkerService,
    /// Seconds since 1970.
    loaded_at: u64,
}

impl Service {
    /// `name` is the model's name in answers; `health` is asked at every `GET /health`.
    pub fn new(
        engine: Engine,
        name: &str,
        lease: Lease,
        health: impl Fn() -> Health + Send + Sync + 'static,
    ) -> Self {
        let worker = WorkerService::new(lease, health);
        Self { engine, name: name.into(), worker, loaded_at: now() }
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Every route of the worker.
pub fn router(service: Service) -> Router {
    let common = service.worker.routes();
    let routes = Router::new()
        .route(paths::MODELS, get(models))
        .route(paths::CHAT_COMPLETIONS, post(chat::create))
        .route(paths::COMPLETIONS, post(completions::create))
        .with_state(service)
        .merge(common);
    fallbacks(routes).layer(DefaultBodyLimit::max(BODY_MAX))
}

async fn models(State(service): State<Service>) -> Json<Models> {
    let (facts, config) = (service.engine.model().facts(), service.engine.config());
    let meta = ModelMeta {
        n_ctx: config.context,
        n_ctx_train: facts.context_train,
        n_vocab: facts.vocabulary,
        n_embd: facts.embedding,
        n_params: facts.parameters,
        size: facts.size_bytes,
        parallel: config.parallel,
    };
    let (id, created) = (service.name.to_string(), service.loaded_at);
    let model = ServedModel { id, object: "model", created, owned_by: "rbee", meta };
    Json(Models { object: "list", data: [model] })
}

/// Runs what takes long where blocking is allowed.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => {
            tracing::error!(%error, "a request could not be prepared");
            Err(engine_failed("the request could not be prepared"))
        }
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
