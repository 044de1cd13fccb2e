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
mod jobs; // streams that can be resumed
mod messages; // a chat's messages
mod params; // what both have in common
mod wire; // the JSON that is sent

use std::{
    fmt,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, FromRequest, Request, State, rejection::BytesRejection},
    http::{Method, StatusCode, Uri},
    routing::{delete, get, post},
};
use job_server::JobServer;
use rbee_api::Health;
use serde_json::{Value, json};

use self::error::ApiError;
use crate::{Engine, Lease};

/// Bytes of a request's body at most.
const BODY_MAX: usize = 16 * 1024 * 1024;

/// What the handlers share.
#[derive(Clone)]
pub struct Service {
    engine: Engine,
    name: Arc<str>,
    lease: Lease,
    /// The streams.
    jobs: JobServer,
    health: Arc<dyn Fn() -> Health + Send + Sync>,
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
        let (name, health) = (name.into(), Arc::new(health));
        Self { engine, name, lease, jobs: jobs::server(), health, loaded_at: now() }
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Every route of the worker.
pub fn router(service: Service) -> Router {
    Router::new()
        .route("/health", get(health))
        .route("/v1/models", get(models))
        .route("/v1/lease", post(renew_lease))
        .route("/v1/chat/completions", post(chat::create))
        .route("/v1/completions", post(completions::create))
        .route("/v1/jobs/{id}", delete(jobs::cancel))
        .route("/v1/jobs/{id}/stream", get(jobs::stream))
        .fallback(unknown_path)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .with_state(service)
}

async fn health(State(service): State<Service>) -> Json<Health> {
    Json((service.health)())
}

async fn models(State(service): State<Service>) -> Json<Value> {
    let (facts, config) = (service.engine.model().facts(), service.engine.config());
    Json(json!({
        "object": "list",
        "data": [{
            "id": &*service.name,
            "object": "model",
            "created": service.loaded_at,
            "owned_by": "rbee",
            "meta": {
                "n_ctx": config.context,
                "n_ctx_train": facts.context_train,
                "n_vocab": facts.vocabulary,
                "n_embd": facts.embedding,
                "n_params": facts.parameters,
                "size": facts.size_bytes,
                "parallel": config.parallel,
            },
        }],
    }))
}

async fn renew_lease(State(service): State<Service>) -> Json<Value> {
    service.lease.renew();
    let (lease, requests) = (service.lease.duration(), service.lease.requests());
    Json(json!({ "lease_s": lease.as_secs_f64(), "active_requests": requests }))
}

async fn unknown_path(uri: Uri) -> ApiError {
    ApiError::not_found(uri.path())
}

async fn method_not_allowed(method: Method, uri: Uri) -> ApiError {
    ApiError::method_not_allowed(method.as_str(), uri.path())
}

/// A body in memory, refused in OpenAI's envelope when it is too large or breaks off.
struct Body(Bytes);

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        match Bytes::from_request(request, state).await {
            Ok(bytes) => Ok(Self(bytes)),
            Err(rejection) => Err(refuse(&rejection)),
        }
    }
}

fn refuse(rejection: &BytesRejection) -> ApiError {
    if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
        let message = format!("the body is larger than {BODY_MAX} bytes");
        return ApiError::invalid("body_too_large", message).with_status(rejection.status());
    }
    ApiError::invalid("body_unreadable", rejection.body_text()).with_status(rejection.status())
}

/// Runs what takes long where blocking is allowed.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => {
            tracing::error!(%error, "a request could not be prepared");
            Err(ApiError::engine("the request could not be prepared"))
        }
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
