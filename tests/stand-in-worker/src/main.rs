//! A worker without a model: the same flags, socket, lease and life as the real one, and OpenAI's
//! stream with the words of the prompt for tokens.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use axum::{
    Json, Router,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
    routing::{delete, get, post},
};
use clap::Parser;
use daemon_lifecycle::{Daemon, Identity};
use job_server::{
    JobId, JobServer, JobWriter, Limits,
    sse::{SseOptions, last_event_id, sse_response},
};
use rbee_api::{Continuation, HEADER_JOB, Health};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, watch};

/// Between two words, so that a stream can be watched, cut and replaced under way.
const WORD_INTERVAL: Duration = Duration::from_millis(20);

/// How long a stream waits for its hive to come back, or for another.
const RECONNECT_GRACE: Duration = Duration::from_secs(15);

#[derive(Debug, Parser)]
struct Args {
    #[arg(long)]
    model: PathBuf,
    #[arg(long)]
    name: String,
    #[arg(long)]
    socket: PathBuf,
    #[arg(long)]
    device: String,
    #[arg(long)]
    parallel: u32,
    #[arg(long)]
    lease: u64,
    #[arg(long)]
    model_state: Option<String>,
    #[arg(long)]
    settings: Option<PathBuf>,
}

#[derive(Debug, Clone)]
struct Worker {
    name: String,
    identity: Identity,
    since: Instant,
    jobs: JobServer,
    /// Streams are answered so many at once, as a worker does.
    slots: Arc<Semaphore>,
    /// Told each time that the lease begins anew.
    renewed: watch::Sender<()>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    chain_daemon::init_tracing(None, drop);
    let daemon = Daemon::attach("llamacpp-worker")?;
    let model = tokio::fs::metadata(&args.model).await.context("cannot open the model")?;
    tracing::info!(bytes = model.len(), device = args.device, "a stand-in loads nothing");
    let listener = daemon.listen_unix(&args.socket).await?;
    let identity = daemon.identity().clone();
    let jobs = JobServer::new(Limits::default());
    let (since, renewed) = (Instant::now(), watch::Sender::new(()));
    let slots = Arc::new(Semaphore::new(args.parallel.try_into()?));
    let worker = Worker { name: args.name, identity, since, jobs, slots, renewed };
    let routes = Router::new()
        .route("/health", get(health))
        .route("/v1/models", get(models))
        .route("/v1/lease", post(renew_lease))
        .route("/v1/chat/completions", post(chat))
        .route("/v1/continuations", post(go_on))
        .route("/v1/jobs/{id}", delete(cancel))
        .route("/v1/jobs/{id}/stream", get(resume))
        .with_state(worker.clone());
    daemon.ready(args.socket.display()).await?;
    tokio::select! {
        served = daemon.serve(listener, routes) => served?,
        () = lease_ended(&worker, Duration::from_secs(args.lease)) => {}
    }
    Ok(())
}

async fn renew_lease(State(worker): State<Worker>) -> Json<Value> {
    worker.renewed.send_replace(());
    Json(json!({"lease_s": 1.0, "active_requests": worker.jobs.running()}))
}

/// A stream keeps the lease, and a renewal or a stream's end begins it anew.
async fn lease_ended(worker: &Worker, lease: Duration) {
    let mut renewed = worker.renewed.subscribe();
    loop {
        worker.jobs.idle().await;
        let waited = tokio::time::timeout(lease, renewed.changed()).await;
        if waited.is_err() && worker.jobs.running() == 0 {
            return;
        }
    }
}

async fn health(State(worker): State<Worker>) -> Json<Health> {
    Json(chain_daemon::health(&worker.identity, worker.since))
}

async fn models(State(worker): State<Worker>) -> Json<Value> {
    Json(json!({"object": "list", "data": [{"id": worker.name, "object": "model"}]}))
}

/// The last message.
fn prompt(request: &Value) -> &str {
    let messages = request["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
    messages.last().and_then(|message| message["content"].as_str()).unwrap_or("")
}

/// The last message's words, one a chunk.
async fn chat(State(worker): State<Worker>, Json(request): Json<Value>) -> Response {
    let prompt = prompt(&request);
    if request["stream"] != json!(true) {
        let message = json!({"role": "assistant", "content": prompt});
        let choice = json!({"index": 0, "message": message, "finish_reason": "stop"});
        return Json(json!({"object": "chat.completion", "choices": [choice]})).into_response();
    }
    stream(&worker, prompt, 0).await
}

/// The words behind those that another worker has said.
async fn go_on(State(worker): State<Worker>, Json(asked): Json<Continuation>) -> Response {
    let Ok(request) = serde_json::from_str::<Value>(asked.request.get()) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    stream(&worker, prompt(&request), asked.delivered.len()).await
}

/// The words behind the first `said`.
async fn stream(worker: &Worker, prompt: &str, said: usize) -> Response {
    let words = prompt.split_inclusive(' ').skip(said).map(str::to_owned).collect();
    let job = match worker.jobs.create("completion") {
        Ok(job) => job,
        Err(error) => return (StatusCode::TOO_MANY_REQUESTS, error.to_string()).into_response(),
    };
    let id = job.id();
    let (slots, renewed) = (Arc::clone(&worker.slots), worker.renewed.clone());
    tokio::spawn(async move {
        speak(job, words, slots).await;
        renewed.send_replace(());
    });
    let headers = [(HEADER_JOB, id.to_string())];
    (headers, events(worker, id, None).await).into_response()
}

async fn speak(job: JobWriter, words: Vec<String>, slots: Arc<Semaphore>) {
    let _slot = tokio::select! {
        () = job.cancelled() => return job.cancelled_end(),
        slot = slots.acquire_owned() => slot,
    };
    let mut interval = tokio::time::interval(WORD_INTERVAL);
    let deltas = words.into_iter().map(|word| (json!({"content": word}), Value::Null));
    let deltas = deltas.chain([(json!({}), json!("stop"))]);
    for (delta, finish) in deltas {
        let turn = async {
            job.room().await;
            interval.tick().await;
        };
        tokio::select! {
            () = job.cancelled() => return job.cancelled_end(),
            () = turn => {}
        }
        let choice = json!({"index": 0, "delta": delta, "finish_reason": finish});
        let chunk = json!({"object": "chat.completion.chunk", "choices": [choice]});
        job.emit(None, chunk.to_string());
    }
    job.emit(None, "[DONE]");
    job.complete();
}

async fn resume(
    State(worker): State<Worker>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    match (id.parse(), last_event_id(&headers)) {
        (Ok(id), Ok(after)) => events(&worker, id, after).await,
        _ => StatusCode::BAD_REQUEST.into_response(),
    }
}

async fn events(worker: &Worker, id: JobId, after: Option<u64>) -> Response {
    match worker.jobs.subscribe(&id, after) {
        Ok(events) => sse_response(events.cancel_on_drop(RECONNECT_GRACE), SseOptions::named()),
        Err(error) => (StatusCode::NOT_FOUND, error.to_string()).into_response(),
    }
}

async fn cancel(State(worker): State<Worker>, Path(id): Path<String>) -> StatusCode {
    match id.parse().map(|id| worker.jobs.cancel(&id, None)) {
        Ok(Ok(())) => StatusCode::NO_CONTENT,
        _ => StatusCode::NOT_FOUND,
    }
}
