//! OpenAI's API at the rim: requests go to the engine as they came, answers come back as they are.
//!
//! A client that goes away drops its response, which cancels the stream's job, which closes the
//! connection to the engine, which ends the request there.

mod answer; // from the engine to the client

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode, Uri},
    middleware::from_fn,
    response::Response,
    routing::{delete, get, post},
};
use http_guard::{ApiBytes, ApiError, ApiJson, fallbacks, with_request_id};
use rbee_api::{EngineLost, ErrorCode, Part, paths};
use serde_json::{Value, json};
use tokio::{sync::watch, time::Instant};
use worker_service::{Asked, Defaults, WorkerService};

use crate::{Common, Plan, upstream::Upstream};

/// Bytes of a request's body at most.
const BODY_MAX: usize = 16 * 1024 * 1024;

/// From an engine's not taking a request to its being known to be fit no more.
const LOSS_LIMIT: Duration = Duration::from_secs(10);

/// What the handlers share.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    name: Arc<str>,
    title: Arc<str>,
    part: Option<Part>,
    parallel: u32,
    pub(crate) worker: WorkerService,
    upstream: Arc<Upstream>,
    /// What requests have where they say nothing.
    defaults: Defaults,
    /// Why the engine is fit no more.
    broken: Arc<watch::Sender<Option<String>>>,
    /// When a token of whichever request has last come.
    activity: Arc<watch::Sender<Instant>>,
    silence: Duration,
    /// Seconds since 1970.
    loaded_at: u64,
}

impl Service {
    pub(crate) fn new(
        common: &Common,
        plan: &Plan,
        worker: WorkerService,
        upstream: Arc<Upstream>,
    ) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            name: common.name.as_str().into(),
            title: plan.engine.as_str().into(),
            part: plan.part.clone(),
            parallel: common.parallel,
            worker,
            upstream,
            defaults: Defaults::default(),
            broken: Arc::new(watch::Sender::new(None)),
            activity: Arc::new(watch::Sender::new(Instant::now())),
            silence: common.silence,
            loaded_at: now.map_or(0, |since| since.as_secs()),
        }
    }

    pub(crate) fn with_defaults(self, defaults: Defaults) -> Self {
        Self { defaults, ..self }
    }

    /// Ends every request under way with an error, and each that comes.
    pub(crate) fn break_down(&self, why: String) {
        self.broken.send_if_modified(|broken| {
            let is_first = broken.is_none();
            broken.get_or_insert(why);
            is_first
        });
    }

    /// Whether the engine is known to be fit no more, of which a first sign has been seen.
    pub(crate) async fn is_lost(&self) -> bool {
        tokio::time::timeout(LOSS_LIMIT, self.broken()).await.is_ok()
    }

    /// Resolves once the engine is known to be fit no more.
    pub(crate) async fn broken(&self) -> String {
        let mut broken = self.broken.subscribe();
        // The sender lives in `self`.
        match broken.wait_for(Option::is_some).await.map(|why| why.clone()) {
            Ok(Some(why)) => why,
            _ => std::future::pending().await,
        }
    }
}

/// Every route of the worker.
pub(crate) fn router(service: Service) -> Router {
    let common = service.worker.routes();
    let routes = Router::new()
        .route(paths::MODELS, get(models))
        .route(paths::CHAT_COMPLETIONS, post(complete))
        .route(paths::COMPLETIONS, post(complete))
        .route(paths::EMBEDDINGS, post(complete))
        .route(paths::RERANK, post(complete))
        .route(paths::SCORE, post(complete))
        .route(paths::TOKENIZE, post(complete))
        .route(paths::DETOKENIZE, post(complete))
        .route(paths::ENGINE, delete(give_up))
        .route_layer(from_fn(with_request_id))
        .with_state(service)
        .merge(common);
    fallbacks(routes).layer(DefaultBodyLimit::max(BODY_MAX))
}

async fn models(State(service): State<Service>) -> Json<Value> {
    let model = json!({
        "id": &*service.name,
        "object": "model",
        "created": service.loaded_at,
        "owned_by": "rbee",
        "meta": {
            "engine": &*service.title, "parallel": service.parallel, "part": &service.part,
        },
    });
    Json(json!({ "object": "list", "data": [model] }))
}

/// Ends everything, as when the engine itself had broken down.
async fn give_up(
    State(service): State<Service>,
    ApiJson(EngineLost { why }): ApiJson<EngineLost>,
) -> StatusCode {
    service.break_down(why);
    StatusCode::ACCEPTED
}

async fn complete(
    State(service): State<Service>,
    uri: Uri,
    headers: HeaderMap,
    ApiBytes(body): ApiBytes,
) -> Result<Response, ApiError> {
    if let Some(Part { rank, parts, .. }) = service.part.as_ref().filter(|part| !part.is_head()) {
        let name = &service.name;
        let message = format!(
            "this is part {rank} of the {parts} that compute `{name}` together; their head answers"
        );
        return Err(ApiError::new(ErrorCode::WorkerUnavailable, message));
    }
    let hold = service.worker.hold();
    let path = uri.path();
    let asked = match path {
        paths::CHAT_COMPLETIONS => Some(Asked::Chat),
        paths::COMPLETIONS => Some(Asked::Completion),
        paths::TOKENIZE => Some(Asked::Prompt),
        _ => None,
    };
    let (body, streams) = service.upstream.addressed(&body, asked, &service.defaults)?;
    match streams {
        true => answer::stream(service, path, &headers, body, hold).await,
        false => Ok(answer::whole(&service, path, body, hold).await),
    }
}
