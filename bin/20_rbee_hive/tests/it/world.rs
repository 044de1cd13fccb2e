//! A hive on a machine whose workers are scripts in this process.

use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Extension, Router,
    body::Body,
    http::{HeaderMap, Method, Request, StatusCode, Uri, header},
    response::{IntoResponse as _, Response},
};
use daemon_lifecycle::{Daemon, Identity, Outcome, Waits};
use futures::future::BoxFuture;
use http_body_util::BodyExt as _;
use http_guard::Peer;
use job_server::{JobServer, Limits};
use rbee_api::ErrorBody;
use rbee_config::{Environment, LiveConfig, Overrides, RbeeConfig};
use rbee_hive::{Hive, Host, router};
use serde_json::Value;
use tokio::net::UnixListener;
use tower::ServiceExt as _;
use worker_lifecycle::{Error, WorkerClient, WorkerConfig, WorkerHandle, worker_id};

pub(crate) const CHUNKS: &str = "data: {\"n\":1}\n\ndata: [DONE]\n\n";
const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) struct World {
    pub(crate) machine: Machine,
    pub(crate) hive: Hive,
    pub(crate) token: String,
    config: Arc<RbeeConfig>,
    router: Router,
    home: tempfile::TempDir,
}

/// The machine, as the test says that it is.
#[derive(Debug, Clone)]
pub(crate) struct Machine(Arc<Mutex<State>>);

#[derive(Debug)]
pub(crate) struct State {
    identity: Identity,
    pub(crate) available: u64,
    pub(crate) resident: u64,
    pub(crate) current: bool,
    /// The models for whose workers the binary was built ahead.
    pub(crate) built: Vec<String>,
    pub(crate) spawned: Vec<String>,
    pub(crate) stopped: Vec<String>,
    /// How many were ended because they hung.
    pub(crate) ended: usize,
    /// Workers that nobody in this process has spawned.
    pub(crate) strangers: Vec<WorkerConfig>,
    pub(crate) answer: &'static str,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: String,
    pub(crate) cut: bool,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::configured(|_| String::new())
    }

    /// One whose configuration is what `file` says, told the home.
    pub(crate) fn configured(file: impl Fn(&Path) -> String) -> Self {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("config.toml"), file(home.path())).unwrap();
        // There is no Python, so nothing is ever downloaded.
        let variables =
            [("RBEE_HOME", home.path().as_os_str().to_owned()), ("PATH", "/none".into())];
        let environment: Environment = variables.into_iter().collect();
        let overrides = Overrides::default();
        let config = RbeeConfig::resolve(&overrides, &environment, None).unwrap();
        config.paths.create().unwrap();
        let daemon = Daemon::attach("rbee-hive").unwrap();
        let machine = Machine(Arc::new(Mutex::new(State {
            identity: daemon.identity().clone(),
            available: 64 << 30,
            resident: 1 << 30,
            current: true,
            built: Vec::new(),
            spawned: Vec::new(),
            stopped: Vec::new(),
            ended: 0,
            strangers: Vec::new(),
            answer: CHUNKS,
        })));
        let live = LiveConfig::from_now_on(config, overrides);
        let (config, jobs) = (live.current(), JobServer::new(Limits::default()));
        let hive = Hive::on(Arc::new(machine.clone()), "h", live, jobs, daemon).unwrap();
        let token = std::fs::read_to_string(&config.paths.token).unwrap().trim().to_owned();
        // Every request comes from the same user.
        let router = router(hive.clone(), 8600).layer(Extension(Peer::SameUser));
        Self { machine, router, hive, token, config, home }
    }

    /// A model's file of that name; its path is what requests call it.
    pub(crate) fn model(&self, name: &str) -> String {
        let path = self.home.path().join(format!("{name}.gguf"));
        std::fs::write(&path, gguf()).unwrap();
        path.display().to_string()
    }

    /// A worker that runs before the hive knows of it.
    pub(crate) fn stranger(&self, model: &str, slot: u8) {
        let worker = WorkerConfig {
            rbee: Arc::clone(&self.config),
            hive: "h".to_owned(),
            model: model.to_owned(),
            model_path: model.into(),
            device: "cpu".to_owned(),
            slot,
            waits: Waits::Nobody,
        };
        self.machine.state(|state| state.strangers.push(worker));
    }

    /// Asks, as who may manage, for a streamed completion of that model.
    pub(crate) async fn complete(&self, model: &str, fresh: bool) -> Answer {
        let bearer = format!("Bearer {}", self.token);
        let fresh = if fresh { "1" } else { "0" };
        self.complete_with(model, &[("authorization", &bearer), ("x-rbee-fresh", fresh)]).await
    }

    /// The same with these headers.
    pub(crate) async fn complete_with(&self, model: &str, headers: &[(&str, &str)]) -> Answer {
        let body = serde_json::json!({"model": model, "stream": true}).to_string();
        self.ask("POST", "/v1/completions", headers, &body).await
    }

    /// Puts a whole model into the store, as a pull does.
    pub(crate) fn store(&self, name: &str, folder: &str) {
        let folder = self.config.paths.models.join(folder);
        std::fs::create_dir_all(&folder).unwrap();
        let bytes = gguf();
        let record = serde_json::json!({
            "name": name, "source": "a test", "sha256": "", "size": bytes.len(), "pulled_at": 0,
        });
        std::fs::write(folder.join("model.gguf"), bytes).unwrap();
        std::fs::write(folder.join("model.json"), record.to_string()).unwrap();
    }

    pub(crate) async fn pull(&self, model: &str) -> Answer {
        let body = serde_json::json!({"model": model}).to_string();
        self.manage("POST", "/v1/models/pull", &body).await
    }

    /// Everything below the folder of models but the folder of locks.
    pub(crate) fn files_of_the_store(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.config.paths.models).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
        names.filter(|name| name != ".locks").collect()
    }

    pub(crate) async fn manage(&self, method: &str, path: &str, body: &str) -> Answer {
        let bearer = format!("Bearer {}", self.token);
        self.ask(method, path, &[("authorization", &bearer)], body).await
    }

    pub(crate) async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let mut request =
            Request::builder().method(method).uri(path).header("host", "127.0.0.1:8600");
        if !body.is_empty() {
            request = request.header("content-type", "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let answered = async {
            let response = self.router.clone().oneshot(request).await.unwrap();
            let (parts, mut body) = response.into_parts();
            let (mut read, mut cut) = (Vec::new(), false);
            while let Some(frame) = body.frame().await {
                match frame {
                    Ok(frame) => read.extend_from_slice(&frame.into_data().unwrap()),
                    Err(_) => cut = true,
                }
            }
            Answer { status: parts.status, body: String::from_utf8(read).unwrap(), cut }
        };
        tokio::time::timeout(DEADLINE, answered).await.expect("an answer in time")
    }
}

impl Machine {
    pub(crate) fn state<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.0.lock().unwrap())
    }

    /// Serves the worker on its socket.
    fn serve(&self, worker: WorkerConfig) -> Result<WorkerHandle, Error> {
        let id = worker_id(&worker);
        let folder = worker.rbee.paths.run.join(&id);
        std::fs::create_dir_all(&folder).unwrap();
        let socket = folder.join("http.sock");
        drop(std::fs::remove_file(&socket));
        let listener = UnixListener::bind(&socket).unwrap();
        let (machine, model) = (self.clone(), worker.model.clone());
        let answer = move |method: Method, uri: Uri| {
            let (machine, model) = (machine.clone(), model.clone());
            async move { machine.answer(&format!("{method} {uri}"), &model) }
        };
        let routes = Router::new().fallback(answer);
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Ok(WorkerHandle {
            client: WorkerClient::new(&socket)?,
            id,
            model: worker.model,
            slot: worker.slot,
            identity: self.state(|state| state.identity.clone()),
            outcome: Outcome::Started,
        })
    }

    fn answer(&self, line: &str, model: &str) -> Response {
        let json = |body: String| ([(header::CONTENT_TYPE, "application/json")], body);
        match line {
            "GET /health" => json(HEALTH.to_owned()).into_response(),
            "GET /v1/models" => json(format!(r#"{{"data":[{{"id":"{model}"}}]}}"#)).into_response(),
            "POST /v1/lease" => {
                json(r#"{"lease_s":1.0,"active_requests":0}"#.to_owned()).into_response()
            }
            "POST /v1/completions" => {
                let body = self.state(|state| state.answer);
                ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response()
            }
            _ => (StatusCode::NOT_IMPLEMENTED, HeaderMap::new()).into_response(),
        }
    }
}

const HEALTH: &str = r#"{"status":"ok","role":"llamacpp-worker","instance_id":"i","pid":1,"start_time":1,"exe_hash":"","source_root":null,"version":"0","uptime_s":1}"#;

impl Host for Machine {
    fn build(&self, worker: WorkerConfig) -> BoxFuture<'static, Result<(), Error>> {
        self.state(|state| state.built.push(worker.model));
        Box::pin(async { Ok(()) })
    }

    fn spawn(&self, worker: WorkerConfig) -> BoxFuture<'static, Result<WorkerHandle, Error>> {
        self.state(|state| {
            state.spawned.push(worker_id(&worker));
            state.current = true;
        });
        let handle = self.serve(worker);
        Box::pin(async { handle })
    }

    fn is_current<'a>(&'a self, _: &'a WorkerConfig, _: &'a Identity) -> BoxFuture<'a, bool> {
        Box::pin(async { self.state(|state| state.current) })
    }

    fn running<'a>(
        &'a self,
        _: &'a RbeeConfig,
        _: &'a str,
        known: Vec<String>,
    ) -> BoxFuture<'a, Result<Vec<WorkerHandle>, Error>> {
        let mut found = self.state(|state| std::mem::take(&mut state.strangers));
        found.retain(|worker| !known.contains(&worker_id(worker)));
        Box::pin(async move { found.into_iter().map(|worker| self.serve(worker)).collect() })
    }

    fn stop<'a>(
        &'a self,
        _: &'a RbeeConfig,
        id: &'a str,
        _: Duration,
    ) -> BoxFuture<'a, Result<(), Error>> {
        self.state(|state| {
            state.stopped.push(id.to_owned());
            state.available += state.resident;
        });
        Box::pin(async { Ok(()) })
    }

    fn end<'a>(&'a self, _: &'a Identity) -> BoxFuture<'a, ()> {
        self.state(|state| state.ended += 1);
        Box::pin(async {})
    }

    fn is_taken(&self, config: &RbeeConfig, id: &str) -> bool {
        Path::new(&config.paths.run).join(id).exists()
    }

    fn available_memory(&self) -> Option<u64> {
        Some(self.state(|state| state.available))
    }

    fn memory_of(&self, _: &Identity) -> Option<u64> {
        Some(self.state(|state| state.resident))
    }
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Status and code of a refusal, after checking that its body says the same.
    #[track_caller]
    pub(crate) fn refusal(&self) -> (u16, String) {
        let body: ErrorBody =
            serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"));
        assert_eq!(body.error.status, Some(self.status.as_u16()), "{self:?}");
        (self.status.as_u16(), body.error.code.to_string())
    }
}

/// The smallest whole file: an architecture and one tensor of eight numbers.
fn gguf() -> Vec<u8> {
    let text = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
    let mut file = b"GGUF".to_vec();
    file.extend(3_u32.to_le_bytes());
    file.extend([1_u64.to_le_bytes(), 1_u64.to_le_bytes()].concat());
    file.extend(text("general.architecture"));
    file.extend(8_u32.to_le_bytes());
    file.extend(text("llama"));
    file.extend(text("a.weight"));
    file.extend(1_u32.to_le_bytes());
    file.extend(8_u64.to_le_bytes());
    file.extend(0_u32.to_le_bytes());
    file.extend(0_u64.to_le_bytes());
    file.resize(file.len().next_multiple_of(32) + 32, 0);
    file
}
