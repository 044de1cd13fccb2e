//! A worker without a model: the same flags, socket, lease and life as the real one, and OpenAI's
//! stream with the words of the prompt for tokens.

use std::{
    convert::Infallible,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use axum::{
    Json, Router,
    body::Body,
    extract::State,
    http::{HeaderValue, header},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use bytes::Bytes;
use clap::Parser;
use daemon_lifecycle::{Daemon, Identity};
use futures::{StreamExt as _, stream};
use rbee_api::Health;
use serde_json::{Value, json};

/// Between two words, so that a stream can be watched, cut and replaced under way.
const WORD_INTERVAL: Duration = Duration::from_millis(20);

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
}

#[derive(Debug, Clone)]
struct Worker {
    name: String,
    identity: Identity,
    since: Instant,
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
    let worker = Worker { name: args.name, identity, since: Instant::now() };
    let routes = Router::new()
        .route("/health", get(health))
        .route("/v1/models", get(models))
        .route("/v1/lease", post(async || Json(json!({"active_requests": 0}))))
        .route("/v1/chat/completions", post(chat))
        .with_state(worker);
    daemon.ready(args.socket.display()).await?;
    daemon.serve(listener, routes).await?;
    Ok(())
}

async fn health(State(worker): State<Worker>) -> Json<Health> {
    Json(chain_daemon::health(&worker.identity, worker.since))
}

async fn models(State(worker): State<Worker>) -> Json<Value> {
    Json(json!({"object": "list", "data": [{"id": worker.name, "object": "model"}]}))
}

/// The last message's words, one a chunk.
async fn chat(Json(request): Json<Value>) -> Response {
    let messages = request["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let prompt = messages.last().and_then(|message| message["content"].as_str()).unwrap_or("");
    let words: Vec<String> = prompt.split_inclusive(' ').map(str::to_owned).collect();
    if request["stream"] != json!(true) {
        let message = json!({"role": "assistant", "content": prompt});
        let choice = json!({"index": 0, "message": message, "finish_reason": "stop"});
        return Json(json!({"object": "chat.completion", "choices": [choice]})).into_response();
    }
    let mut interval = tokio::time::interval(WORD_INTERVAL);
    let deltas = words.into_iter().map(|word| (json!({"content": word}), Value::Null));
    let deltas = deltas.chain([(json!({}), json!("stop"))]);
    let chunks = deltas.map(|(delta, finish)| {
        let choice = json!({"index": 0, "delta": delta, "finish_reason": finish});
        json!({"object": "chat.completion.chunk", "choices": [choice]}).to_string()
    });
    let frames = stream::iter(chunks.chain(["[DONE]".to_owned()]));
    let paced = frames.zip(stream::poll_fn(move |cx| interval.poll_tick(cx).map(Some)));
    let body = paced.map(|(data, _)| Ok::<_, Infallible>(Bytes::from(format!("data: {data}\n\n"))));
    let event_stream = HeaderValue::from_static("text/event-stream");
    ([(header::CONTENT_TYPE, event_stream)], Body::from_stream(body)).into_response()
}
