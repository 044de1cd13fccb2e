use std::{
    collections::{HashMap, VecDeque},
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::{IntoResponse as _, Response},
};
use futures::StreamExt as _;
use narration_core::Narration;
use rbee_api::HEADER_JOB;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Notify, task::JoinHandle, time::timeout};

pub(crate) const JOB: &str = "job-1";
pub(crate) const CHAT: &str = "POST /v1/chat/completions";
pub(crate) const JOBS: &str = "POST /v1/jobs";
pub(crate) const STREAM: &str = "GET /v1/jobs/job-1/stream";
pub(crate) const RESTORE: &str = "PUT /v1/jobs/job-1";
pub(crate) const CANCEL: &str = "DELETE /v1/jobs/job-1";
const DEADLINE: Duration = Duration::from_secs(20);

/// A queen that answers each request with the next of the replies scripted for it; the last one
/// is given again and again.
pub(crate) struct Queen {
    address: SocketAddr,
    script: Arc<Script>,
    server: JoinHandle<()>,
}

#[derive(Default)]
struct Script {
    replies: Mutex<HashMap<String, VecDeque<Reply>>>,
    requests: Mutex<Vec<Request>>,
    arrived: Notify,
}

/// What the keeper sent.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// Method and path, such as `GET /v1/hives`.
    pub(crate) line: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

#[derive(Clone)]
pub(crate) enum Reply {
    Json(u16, Value),
    RetryAfter(u16, Value, u32),
    /// The steps of an event stream.
    Events(Vec<Step>),
    /// No answer, ever.
    Hang,
}

#[derive(Clone)]
pub(crate) enum Step {
    Frame(String),
    /// The same frame without end.
    Forever(String),
    /// Goes on when the test says so.
    Gate(Arc<Notify>),
    /// The connection breaks.
    Break,
    /// Nothing more comes, and the connection stays.
    Hold,
}

impl Queen {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let script = Arc::new(Script::default());
        let app = Router::new().fallback(answer).with_state(Arc::clone(&script));
        let server = tokio::spawn(async { axum::serve(listener, app).await.unwrap() });
        Self { address, script, server }
    }

    /// A queen whose next answer to a chat is `steps`.
    pub(crate) async fn saying(steps: impl IntoIterator<Item = Step>) -> Self {
        let queen = Self::start().await;
        queen.on(CHAT, Reply::Events(steps.into_iter().collect()));
        queen.on(CANCEL, Reply::Json(200, json!({})));
        queen
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Adds a reply to requests such as `GET /v1/hives`.
    pub(crate) fn on(&self, line: &str, reply: Reply) -> &Self {
        let mut replies = self.script.replies.lock().unwrap();
        replies.entry(line.to_owned()).or_default().push_back(reply);
        self
    }

    /// Lets management jobs begin, whose events are `steps`.
    pub(crate) fn on_job(&self, steps: Vec<Step>) -> &Self {
        let created = json!({ "job_id": JOB, "sse_url": "/v1/jobs/job-1/stream" });
        self.on(JOBS, Reply::Json(201, created)).on(STREAM, Reply::Events(steps))
    }

    pub(crate) fn requests(&self, line: &str) -> Vec<Request> {
        let requests = self.script.requests.lock().unwrap();
        requests.iter().filter(|request| request.line == line).cloned().collect()
    }

    /// The first request of that kind, as soon as it is there.
    pub(crate) async fn wait_for(&self, line: &str) -> Request {
        self.wait_for_all(line, 1).await.swap_remove(0)
    }

    /// The requests of that kind, as soon as there are `count`.
    pub(crate) async fn wait_for_all(&self, line: &str, count: usize) -> Vec<Request> {
        let wait = async {
            loop {
                let arrived = self.script.arrived.notified();
                let requests = self.requests(line);
                if requests.len() >= count {
                    return requests;
                }
                arrived.await;
            }
        };
        match timeout(DEADLINE, wait).await {
            Ok(requests) => requests,
            Err(_) => panic!("`{line}` was never asked: {:?}", self.script.requests.lock()),
        }
    }
}

impl Drop for Queen {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn answer(
    State(script): State<Arc<Script>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let line = format!("{method} {uri}");
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let reply = {
        let mut replies = script.replies.lock().unwrap();
        match replies.get_mut(&line) {
            Some(replies) if replies.len() > 1 => replies.pop_front(),
            Some(replies) => replies.front().cloned(),
            None => None,
        }
    };
    script.requests.lock().unwrap().push(Request { line: line.clone(), headers, body });
    script.arrived.notify_waiters();
    match reply {
        Some(Reply::Json(status, value)) => json_response(status, &value),
        Some(Reply::RetryAfter(status, value, seconds)) => {
            let mut response = json_response(status, &value);
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
            response
        }
        Some(Reply::Events(steps)) => events(steps),
        Some(Reply::Hang) => std::future::pending().await,
        None => json_response(404, &error(404, "not_found", &format!("no script for {line}"))),
    }
}

fn json_response(status: u16, value: &Value) -> Response {
    (StatusCode::from_u16(status).unwrap(), axum::Json(value)).into_response()
}

fn events(steps: Vec<Step>) -> Response {
    let frames = futures::stream::iter(steps).flat_map(|step| match step {
        Step::Forever(frame) => {
            futures::stream::repeat_with(move || Ok(Bytes::from(frame.clone()))).boxed()
        }
        step => futures::stream::once(one(step)).filter_map(async |item| item).boxed(),
    });
    let headers = [(header::CONTENT_TYPE.as_str(), "text/event-stream"), (HEADER_JOB, JOB)];
    (headers, Body::from_stream(frames)).into_response()
}

async fn one(step: Step) -> Option<io::Result<Bytes>> {
    match step {
        Step::Frame(frame) => Some(Ok(Bytes::from(frame))),
        Step::Gate(gate) => {
            gate.notified().await;
            None
        }
        Step::Break => {
            // What was given to the connection before is written first.
            tokio::task::yield_now().await;
            Some(Err(io::ErrorKind::ConnectionReset.into()))
        }
        Step::Hold | Step::Forever(_) => {
            std::future::pending::<Option<Infallible>>().await.map(|never| match never {})
        }
    }
}

pub(crate) fn error(status: u16, code: &str, message: &str) -> Value {
    let kind = "invalid_request_error";
    json!({"error": {"message": message, "type": kind, "code": code, "status": status}})
}

pub(crate) fn token(id: u64, text: &str) -> Step {
    let chunk = json!({ "model": "m", "choices": [{ "delta": { "content": text } }] });
    Step::Frame(format!("id: {id}\ndata: {chunk}\n\n"))
}

pub(crate) fn finish(id: u64, reason: &str) -> Step {
    let choices = json!([{ "delta": {}, "finish_reason": reason }]);
    let chunk = json!({ "model": "m", "choices": choices, "usage": { "total_tokens": 7 } });
    Step::Frame(format!("id: {id}\ndata: {chunk}\n\n"))
}

pub(crate) fn done(id: u64) -> Step {
    Step::Frame(format!("id: {id}\ndata: [DONE]\n\n"))
}

pub(crate) fn end(id: u64, state: &str) -> Step {
    named(id, "end", &json!({ "state": state }))
}

pub(crate) fn named(id: u64, name: &str, data: &Value) -> Step {
    Step::Frame(format!("id: {id}\nevent: {name}\ndata: {data}\n\n"))
}

pub(crate) fn narrated(id: u64, narration: &Narration) -> Step {
    named(id, "narration", &serde_json::to_value(narration).unwrap())
}

pub(crate) fn progress(id: u64, done_bytes: u64) -> Step {
    let data = json!({ "target": "m", "done_bytes": done_bytes, "total_bytes": 1000 });
    named(id, "progress", &data)
}

/// The events of an answer that says `text`, from the id `id` on.
pub(crate) fn answer_of(id: u64, text: &str) -> Vec<Step> {
    vec![token(id, text), finish(id + 1, "stop"), done(id + 2), end(id + 3, "completed")]
}

/// The steps of a management job that ends with `result`.
pub(crate) fn job_of(result: &Value) -> Vec<Step> {
    vec![named(1, "result", result), end(2, "completed")]
}
