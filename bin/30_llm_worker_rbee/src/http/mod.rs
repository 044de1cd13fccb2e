//! OpenAI's format at the rim.
//!
//! A handler turns a body into an engine's request and writes down the events that come back. A
//! client that goes away drops its response, which cancels the stream's job, which drops the events'
//! receiver, which ends the request in the engine.

mod answer; // events to a response, whole or streamed
mod begun; // what has come of an answer
mod chat; // POST /v1/chat/completions
mod completions; // POST /v1/completions
mod continuation; // POST /v1/continuations
mod embeddings; // POST /v1/embeddings
mod error; // refusals
mod fields; // the fields of a body
mod foreign; // fields that only other servers know
mod form; // what an answer must look like
mod messages; // a chat's messages
mod params; // what both have in common
mod plain; // chunks that differ in their text only
mod props; // GET /props
mod rank; // POST /v1/rerank and /v1/score
mod reader; // an answer's text, taken apart
mod reasoning; // reasoning_effort and reasoning_format
mod schema; // tools' JSON schemas to grammars
mod tokens; // texts to tokens and back
mod tools; // tools and tool_choice
mod voice; // one of an answer's choices
mod work; // what a worker does
mod wire; // the JSON that is sent

use std::{
    fmt,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, State},
    middleware::from_fn,
    routing::{get, post},
};
use http_guard::{ApiError, fallbacks, with_request_id};
use rbee_api::{Health, paths};
use worker_service::{Asked, Defaults, Lease, WorkerService};

pub use self::work::Work;
use self::{
    error::{engine_failed, unsupported},
    fields::Fields,
    params::Params,
    wire::{ModelMeta, Models, ServedModel},
};
use crate::{Embedder, Engine, Pooling};

/// What every template writes down, whatever is set.
const SMALLEST_CHAT: &[u8] = br#"{"messages":[{"role":"user","content":"Hi"}]}"#;

/// Bytes of a request's body at most.
const BODY_MAX: usize = 16 * 1024 * 1024;

/// What the handlers share.
#[derive(Clone)]
pub struct Service {
    work: Work,
    name: Arc<str>,
    /// Lease, streams and health.
    worker: WorkerService,
    /// What requests have where they say nothing.
    defaults: Defaults,
    /// Which build answers.
    fingerprint: Arc<str>,
    /// Seconds since 1970.
    loaded_at: u64,
}

impl Service {
    /// `name` is the model's name in answers; `health` is asked at every `GET /health`.
    pub fn new(
        work: impl Into<Work>,
        name: &str,
        lease: Lease,
        health: impl Fn() -> Health + Send + Sync + 'static,
    ) -> Self {
        let fingerprint = fingerprint(&health()).into();
        let worker = WorkerService::new(lease, health);
        let (work, name, defaults) = (work.into(), name.into(), Defaults::default());
        Self { work, name, worker, defaults, fingerprint, loaded_at: now() }
    }

    /// The same with what requests have where they say nothing.
    ///
    /// # Errors
    ///
    /// No request could have that, or the model's template has no place for it.
    pub fn with_defaults(mut self, defaults: Defaults) -> Result<Self, ApiError> {
        if let Work::Text(engine) = &self.work
            && !defaults.settings().is_empty()
        {
            let model = engine.model();
            let fields = Fields::parse_with(SMALLEST_CHAT, &defaults, Asked::Chat)?;
            Params::read(&fields, model.facts.vocabulary, &model.eog)?;
            model.chat_text(&chat::context(&fields, model)?)?;
        }
        self.defaults = defaults;
        Ok(self)
    }

    /// What is answered beside all that is answered here.
    pub fn routes_beside(&self) -> Router {
        self.worker.routes_beside()
    }

    /// What generates text. A model that makes vectors has no such thing.
    fn text(&self) -> Result<&Engine, ApiError> {
        match &self.work {
            Work::Text(engine) => Ok(engine),
            Work::Vectors(embedder) if embedder.pooling() == Pooling::Rank => {
                Err(self.ranks_only())
            }
            Work::Vectors(_) => Err(unsupported(
                "model",
                format!("`{}` makes vectors of texts, and no text: ask for embeddings", self.name),
            )),
        }
    }

    /// What makes vectors. A model that generates text could be served for that instead.
    fn vectors(&self) -> Result<&Embedder, ApiError> {
        match &self.work {
            Work::Vectors(embedder) if embedder.pooling() == Pooling::Rank => {
                Err(self.ranks_only())
            }
            Work::Vectors(embedder) => Ok(embedder),
            Work::Text(_) => Err(unsupported(
                "model",
                format!(
                    "`{}` generates text: its file names no pooling that makes its tokens' vectors \
                     one, and its worker was started without `--pooling`",
                    self.name
                ),
            )),
        }
    }

    /// What says how well one text answers another.
    fn ranks(&self) -> Result<&Embedder, ApiError> {
        match &self.work {
            Work::Vectors(embedder) if embedder.pooling() == Pooling::Rank => Ok(embedder),
            Work::Vectors(_) | Work::Text(_) => Err(unsupported(
                "model",
                format!(
                    "`{}` is no model that ranks: its file does not say `rank` of its pooling",
                    self.name
                ),
            )),
        }
    }

    fn ranks_only(&self) -> ApiError {
        let message = format!(
            "`{}` says how well texts answer a query, and nothing else: ask for `{}`",
            self.name,
            paths::RERANK
        );
        unsupported("model", message)
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
        .route(paths::CONTINUATIONS, post(continuation::create))
        .route(paths::EMBEDDINGS, post(embeddings::create))
        .route(paths::RERANK, post(rank::rerank))
        .route(paths::SCORE, post(rank::score))
        .route(paths::TOKENIZE, post(tokens::tokenize))
        .route(paths::DETOKENIZE, post(tokens::detokenize))
        .route(paths::APPLY_TEMPLATE, post(tokens::apply_template))
        .route(paths::PROPS, get(props::props))
        .route_layer(from_fn(with_request_id))
        .with_state(service)
        .merge(common);
    fallbacks(routes).layer(DefaultBodyLimit::max(BODY_MAX))
}

async fn models(State(service): State<Service>) -> Json<Models> {
    let (facts, config) = (service.work.model().facts(), service.work.config());
    let meta = ModelMeta {
        n_ctx: config.context,
        n_ctx_train: facts.context_train,
        n_vocab: facts.vocabulary,
        n_embd: facts.embedding,
        n_params: facts.parameters,
        size: facts.size_bytes,
        parallel: config.parallel,
        pooling: service.work.pooling().map(Pooling::name),
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

/// Names the build: answers to equal requests with one seed agree only where this does.
fn fingerprint(health: &Health) -> String {
    const DIGITS: usize = 12;
    match health.exe_hash.get(..DIGITS) {
        Some(hash) => format!("rbee-{hash}"),
        None => format!("rbee-{}", env!("CARGO_PKG_VERSION")),
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
