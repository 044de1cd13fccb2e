//! A hive on a machine whose workers are scripts in this process.

use std::{
    io,
    ops::Deref,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::{IntoResponse as _, Response},
};
use chain_daemon::InstanceName;
use chain_level::Metrics;
use daemon_lifecycle::{Daemon, Identity, Outcome, Waits};
use futures::{StreamExt as _, future::BoxFuture, stream};
use job_server::{JobServer, Limits};
use rbee_api::{EngineLost, Part, Sampling};
use rbee_config::{Environment, LiveConfig, Overrides, RbeeConfig};
use rbee_hive::{Hive, Host, router};
use router_client::{Answer, RouterClient};
use serde_json::Value;
use tokio::{net::UnixListener, sync::watch};
use worker_lifecycle::{Error, WorkerClient, WorkerConfig, WorkerHandle, worker_id};

use crate::process::Process;

pub(crate) const CHUNKS: &str = "data: {\"n\":1}\n\ndata: [DONE]\n\n";

pub(crate) struct World {
    pub(crate) machine: Machine,
    pub(crate) hive: Hive,
    daemon: Daemon,
    client: RouterClient,
    live: LiveConfig,
    config: Arc<RbeeConfig>,
    home: tempfile::TempDir,
}

/// The machine, as the test says that it is.
#[derive(Debug, Clone)]
pub(crate) struct Machine(Arc<Mutex<State>>);

#[derive(Debug)]
pub(crate) struct State {
    identity: Identity,
    pub(crate) available: u64,
    /// How many processes were ended for want of memory.
    pub(crate) kills: u64,
    /// Whether it is for want of memory that workers crash of requests.
    pub(crate) starves: bool,
    /// How often it was asked what is available.
    looks: watch::Sender<usize>,
    pub(crate) resident: u64,
    /// Whether a worker takes its memory from what is available.
    pub(crate) is_tight: bool,
    pub(crate) current: bool,
    /// The models for whose workers the binary was built ahead.
    pub(crate) built: Vec<String>,
    pub(crate) spawned: Vec<String>,
    /// Which part of its model each of these is.
    pub(crate) parts: Vec<Option<Part>>,
    /// Which of these had a worker before them that would go on.
    pub(crate) beside: Vec<bool>,
    /// Whether a worker ends as it starts.
    pub(crate) refuses: bool,
    /// From which binary workers are started.
    pub(crate) binary: &'static str,
    /// In which slots which binary was to count as bad.
    pub(crate) distrusted: Vec<(u8, String)>,
    /// Whether a worker would go on with an engine that runs.
    pub(crate) shares: bool,
    /// Why engines were said to be lost.
    pub(crate) lost: Vec<String>,
    pub(crate) stopped: Vec<String>,
    /// How many were ended because they hung.
    ended: watch::Sender<usize>,
    /// Workers that nobody in this process has spawned.
    pub(crate) strangers: Vec<WorkerConfig>,
    /// Models whose workers are alive, whether or not they answer.
    pub(crate) silent: Vec<String>,
    pub(crate) answer: &'static str,
    /// What a worker says of its state.
    pub(crate) status: &'static str,
    /// Lets streams that wait go on to their ends.
    released: watch::Sender<bool>,
    processes: Vec<Arc<Process>>,
    /// Those of workers that nobody has stopped, by the workers' ids.
    unstopped: Vec<(String, Arc<Process>)>,
    /// The requests that are on each worker, by what they ask for.
    under_way: watch::Sender<Vec<(String, String)>>,
    /// What a worker says that is to go on with another one's answer.
    pub(crate) continues: Continues,
    /// What workers were asked to go on with.
    pub(crate) continuations: Vec<Value>,
    /// What workers were asked, in the order in which it came to them.
    pub(crate) asked: Vec<String>,
    /// What was on each worker when it crashed.
    pub(crate) crashes: Vec<Vec<String>>,
}

/// What comes of a continuation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Continues {
    Whole,
    /// It cannot be done, and this is said with that status.
    Refused(u16, &'static str),
    /// Something of it comes, and then the worker crashes.
    Crashes,
    /// Something of it comes, and no more until the streams that wait go on.
    Waits,
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
            kills: 0,
            starves: false,
            looks: watch::Sender::new(0),
            resident: 1 << 30,
            is_tight: false,
            current: true,
            built: Vec::new(),
            spawned: Vec::new(),
            refuses: false,
            binary: "",
            distrusted: Vec::new(),
            parts: Vec::new(),
            beside: Vec::new(),
            shares: false,
            lost: Vec::new(),
            stopped: Vec::new(),
            ended: watch::Sender::new(0),
            strangers: Vec::new(),
            silent: Vec::new(),
            answer: CHUNKS,
            status: "ok",
            released: watch::Sender::new(false),
            processes: Vec::new(),
            unstopped: Vec::new(),
            under_way: watch::Sender::default(),
            continues: Continues::Whole,
            continuations: Vec::new(),
            asked: Vec::new(),
            crashes: Vec::new(),
        })));
        let live = LiveConfig::from_now_on(config, overrides);
        let config = live.current();
        let (hive, client) = hive(&machine, &live, &daemon);
        Self { machine, hive, daemon, client, live, config, home }
    }

    /// The same machine and files with the hive's next process.
    pub(crate) fn with_the_next_hive(self) -> Self {
        let (hive, client) = hive(&self.machine, &self.live, &self.daemon);
        Self { hive, client, ..self }
    }

    /// Looks after the workers every `round`; to be raced against what comes of it.
    pub(crate) async fn keep_workers(&self, round: Duration) -> ! {
        // There is no generation before, so it serves from here on.
        self.daemon.ready("nowhere").await.unwrap();
        self.hive.keep_workers(round).await
    }

    /// A model's file of that name; its path is what requests call it.
    pub(crate) fn model(&self, name: &str) -> String {
        let path = self.home.path().join(format!("{name}.gguf"));
        std::fs::write(&path, gguf()).unwrap();
        path.display().to_string()
    }

    /// The folder of the worker with that id.
    pub(crate) fn folder_of(&self, worker: &str) -> PathBuf {
        self.config.paths.run.join(worker)
    }

    /// A worker that runs before the hive knows of it.
    pub(crate) fn stranger(&self, model: &str, slot: u8) {
        let worker = WorkerConfig {
            rbee: Arc::clone(&self.config),
            hive: "h".to_owned(),
            model: model.to_owned(),
            model_path: model.into(),
            sampling: Sampling::default(),
            device: "cpu".to_owned(),
            slot,
            part: None,
            goes_on: false,
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

    /// Begins, as who may manage, a streamed completion of that model for `prompt`.
    pub(crate) async fn ask_for(&self, model: &str, prompt: &str) -> router_client::Begun {
        let bearer = format!("Bearer {}", self.token);
        let body = serde_json::json!({"model": model, "stream": true, "prompt": prompt});
        let headers = [("authorization", bearer.as_str()), ("x-rbee-events", "1")];
        self.begin("POST", "/v1/completions", &headers, &body.to_string()).await
    }
}

fn hive(machine: &Machine, live: &LiveConfig, daemon: &Daemon) -> (Hive, RouterClient) {
    let (host, jobs) = (Arc::new(machine.clone()), JobServer::new(Limits::default()));
    let (metrics, daemon) = (Metrics::default(), daemon.clone());
    let hive = Hive::on(host, "h", live.clone(), jobs, metrics, daemon).unwrap();
    let token = std::fs::read_to_string(&live.current().paths.token).unwrap();
    let client = RouterClient::new(router(hive.clone(), 8600), 8600, &token);
    (hive, client)
}

impl Deref for World {
    type Target = RouterClient;

    fn deref(&self) -> &RouterClient {
        &self.client
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
        let identity = self.state(|state| {
            let exe_hash = state.binary.to_owned();
            Identity { exe_hash, ..state.identity.clone() }
        });
        let process = Arc::new(Process::start(&identity));
        self.state(|state| {
            state.processes.push(Arc::clone(&process));
            state.unstopped.push((id.clone(), Arc::clone(&process)));
        });
        let served = Served {
            machine: self.clone(),
            id: id.clone(),
            model: worker.model.clone(),
            process: Arc::clone(&process),
        };
        let answer = move |method: Method, uri: Uri, body: Bytes| {
            let served = served.clone();
            async move { served.answer(&format!("{method} {uri}"), &body) }
        };
        let routes = Router::new().fallback(answer);
        let server = tokio::spawn(async move { axum::serve(listener, routes).await });
        process.serves(server.abort_handle());
        Ok(WorkerHandle {
            client: WorkerClient::new(&socket)?,
            id,
            model: worker.model,
            slot: worker.slot,
            part: worker.part,
            identity: process.identity.clone(),
            outcome: Outcome::Started,
        })
    }

    /// Lets streams that wait go on.
    pub(crate) fn release(&self) {
        self.state(|state| state.released.send_replace(true));
    }

    /// Waits until `count` requests are on workers.
    pub(crate) async fn has(&self, count: usize) {
        let mut under_way = self.state(|state| state.under_way.subscribe());
        let come = under_way.wait_for(|under_way| under_way.len() >= count);
        drop(tokio::time::timeout(Duration::from_secs(20), come).await.expect("in time").unwrap());
    }

    /// Waits until `count` requests are on one other worker.
    pub(crate) async fn has_on_another_than(&self, id: &str, count: usize) {
        let mut under_way = self.state(|state| state.under_way.subscribe());
        let come = under_way.wait_for(|under_way| {
            let others = || under_way.iter().map(|(on, _)| on).filter(|on| *on != id);
            others().any(|one| others().filter(|on| *on == one).count() >= count)
        });
        drop(tokio::time::timeout(Duration::from_secs(20), come).await.expect("in time").unwrap());
    }

    /// Waits until it was asked `times` more what memory is available.
    pub(crate) async fn is_asked_for_memory(&self, times: usize) {
        let mut looks = self.state(|state| state.looks.subscribe());
        let enough = *looks.borrow() + times;
        let asked = looks.wait_for(|looks| *looks >= enough);
        drop(tokio::time::timeout(Duration::from_secs(20), asked).await.expect("in time").unwrap());
    }

    /// Waits until no request is on any worker.
    pub(crate) async fn has_none(&self) {
        let mut under_way = self.state(|state| state.under_way.subscribe());
        let gone = under_way.wait_for(Vec::is_empty);
        drop(tokio::time::timeout(Duration::from_secs(20), gone).await.expect("in time").unwrap());
    }

    /// Waits until a worker was ended because it hung.
    pub(crate) async fn has_ended_one(&self) {
        let mut ended = self.state(|state| state.ended.subscribe());
        let one = ended.wait_for(|ended| *ended > 0);
        drop(tokio::time::timeout(Duration::from_secs(20), one).await.expect("in time").unwrap());
    }

    /// Ends every worker that there is, without a word.
    pub(crate) fn crash_all(&self) {
        self.state(|state| state.processes.clone()).iter().for_each(|process| process.crash());
    }

    /// Waits until that many workers have crashed, of those that were started first.
    pub(crate) async fn has_crashed(&self, count: usize) {
        for process in self.state(|state| state.processes[..count].to_vec()) {
            process.crashed().await;
        }
    }

    /// Ends the process without a word.
    pub(crate) fn crash(&self, process: &Identity) {
        let processes = self.state(|state| state.processes.clone());
        processes.iter().find(|one| one.identity == *process).unwrap().crash();
    }
}

/// One worker, as those see it who ask it.
#[derive(Debug, Clone)]
struct Served {
    machine: Machine,
    id: String,
    model: String,
    process: Arc<Process>,
}

impl Served {
    fn answer(&self, line: &str, body: &[u8]) -> Response {
        let json = |body: String| ([(header::CONTENT_TYPE, "application/json")], body);
        match line {
            "GET /health" => {
                let status = self.machine.state(|state| state.status);
                json(HEALTH.replace("STATUS", status)).into_response()
            }
            "GET /v1/models" => {
                json(format!(r#"{{"data":[{{"id":"{}"}}]}}"#, self.model)).into_response()
            }
            "POST /v1/lease" => {
                json(r#"{"lease_s":1.0,"active_requests":0}"#.to_owned()).into_response()
            }
            "DELETE /v1/engine" => {
                let EngineLost { why } = serde_json::from_slice(body).unwrap();
                self.machine.state(|state| state.lost.push(why));
                let process = Arc::clone(&self.process);
                tokio::task::spawn_blocking(move || process.crash());
                StatusCode::ACCEPTED.into_response()
            }
            "POST /v1/completions" => self.complete(&String::from_utf8_lossy(body)),
            "POST /v1/continuations" => self.go_on(body),
            _ => (StatusCode::NOT_IMPLEMENTED, HeaderMap::new()).into_response(),
        }
    }

    /// A prompt says what becomes of it: `poison` crashes the worker, `slow` has half an answer and
    /// waits, `silent` waits for all of it, and every other is answered at once.
    fn complete(&self, body: &str) -> Response {
        self.machine.state(|state| state.asked.push(body.to_owned()));
        let kinds = ["poison", "slow", "silent"];
        let Some(kind) = kinds.into_iter().find(|kind| body.contains(kind)) else {
            let body = self.machine.state(|state| state.answer);
            return ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response();
        };
        let beginning = if kind == "slow" { "data: {\"n\":1}\n\n" } else { ":\n\n" };
        let rest = if kind == "slow" { "data: [DONE]\n\n" } else { CHUNKS };
        self.say(kind, beginning, rest, kind == "poison")
    }

    /// Goes on with what another worker has begun.
    fn go_on(&self, body: &[u8]) -> Response {
        let continuation = serde_json::from_slice(body).unwrap();
        let continues = self.machine.state(|state| {
            state.continuations.push(continuation);
            state.continues
        });
        let (beginning, rest) = ("data: {\"n\":2}\n\n", "data: {\"n\":3}\n\ndata: [DONE]\n\n");
        match continues {
            Continues::Whole => {
                let body = format!("{beginning}{rest}");
                ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response()
            }
            Continues::Refused(status, code) => {
                let body = format!(r#"{{"error":{{"message":"no","type":"t","code":"{code}"}}}}"#);
                let json = [(header::CONTENT_TYPE, "application/json")];
                (StatusCode::from_u16(status).unwrap(), json, body).into_response()
            }
            Continues::Crashes => self.say("continuation", beginning, rest, true),
            Continues::Waits => self.say("continuation", beginning, rest, false),
        }
    }

    /// A stream that waits before its rest, or has none because the worker `crashes`.
    fn say(
        &self,
        kind: &'static str,
        beginning: &'static str,
        rest: &'static str,
        crashes: bool,
    ) -> Response {
        let on = OnWorker::new(&self.machine, &self.id, kind);
        if crashes {
            let (machine, id) = (self.machine.clone(), self.id.clone());
            machine.state(|state| {
                let on_it = state.under_way.borrow();
                let on_it = on_it.iter().filter(|(on, _)| *on == id).map(|(_, kind)| kind.clone());
                let on_it = on_it.collect();
                state.crashes.push(on_it);
                state.kills += u64::from(state.starves);
            });
            let process = Arc::clone(&self.process);
            tokio::task::spawn_blocking(move || process.crash());
        }
        let beginning = stream::iter([Ok(beginning.to_owned())]);
        let mut released = self.machine.state(|state| state.released.subscribe());
        let process = Arc::clone(&self.process);
        let rest = stream::once(async move {
            let _on = on;
            tokio::select! {
                biased;
                () = process.crashed() => Err(io::Error::other("crashed")),
                _ = released.wait_for(|released| *released), if !crashes => Ok(rest.to_owned()),
            }
        });
        let body = Body::from_stream(beginning.chain(rest));
        let named = [(header::CONTENT_TYPE.as_str(), "text/event-stream"), ("x-rbee-job", "j")];
        (named, body).into_response()
    }
}

/// A request that is on a worker.
struct OnWorker(Machine, (String, String));

impl OnWorker {
    fn new(machine: &Machine, id: &str, kind: &str) -> Self {
        let on = (id.to_owned(), kind.to_owned());
        machine.state(|state| state.under_way.send_modify(|under_way| under_way.push(on.clone())));
        Self(machine.clone(), on)
    }
}

impl Drop for OnWorker {
    fn drop(&mut self) {
        self.0.state(|state| {
            state.under_way.send_modify(|under_way| {
                let place = under_way.iter().position(|on| *on == self.1);
                under_way.swap_remove(place.unwrap());
            });
        });
    }
}

const HEALTH: &str = r#"{"status":"STATUS","role":"llamacpp-worker","instance_id":"i","pid":1,"start_time":1,"exe_hash":"","source_root":null,"version":"0","uptime_s":1}"#;

impl Host for Machine {
    fn build(&self, worker: WorkerConfig) -> BoxFuture<'static, Result<(), Error>> {
        self.state(|state| state.built.push(worker.model));
        Box::pin(async { Ok(()) })
    }

    fn spawn(&self, worker: WorkerConfig) -> BoxFuture<'static, Result<WorkerHandle, Error>> {
        let refuses = self.state(|state| {
            state.spawned.push(worker_id(&worker));
            state.parts.push(worker.part.clone());
            state.beside.push(worker.goes_on);
            if state.refuses {
                return true;
            }
            state.current = true;
            if state.is_tight {
                state.available = state.available.checked_sub(state.resident).expect("it fits");
            }
            false
        });
        if refuses {
            let why = "exit status: 43".to_owned();
            return Box::pin(async { Err(Error::FailedBefore { model: worker.model, why }) });
        }
        let handle = self.serve(worker);
        Box::pin(async { handle })
    }

    fn is_current<'a>(&'a self, _: &'a WorkerConfig, _: &'a Identity) -> BoxFuture<'a, bool> {
        Box::pin(async { self.state(|state| state.current) })
    }

    fn distrust(&self, worker: &WorkerConfig, bad: &Identity, good: &Path, _: &str) {
        assert_eq!(good, Path::new("/good"));
        self.state(|state| state.distrusted.push((worker.slot, bad.exe_hash.clone())));
    }

    fn executable(&self, _: &Identity) -> Option<PathBuf> {
        Some("/good".into())
    }

    fn ended<'a>(&'a self, process: &'a Identity) -> BoxFuture<'a, ()> {
        let processes = self.state(|state| state.processes.clone());
        let process = processes.into_iter().find(|one| one.identity == *process).unwrap();
        Box::pin(async move { process.crashed().await })
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
        let mut under_way = self.state(|state| {
            state.stopped.push(id.to_owned());
            state.unstopped.retain(|(one, _)| one != id);
            state.under_way.subscribe()
        });
        Box::pin(async move {
            // It finishes what it has.
            let has_none = |all: &Vec<(String, String)>| all.iter().all(|(on, _)| on != id);
            drop(under_way.wait_for(has_none).await);
            self.state(|state| state.available += state.resident);
            Ok(())
        })
    }

    fn stop_all_of<'a>(
        &'a self,
        config: &'a RbeeConfig,
        hive: &'a str,
        model: &'a str,
        drain: Duration,
    ) -> BoxFuture<'a, Result<(), Error>> {
        let spawned = self.state(|state| state.spawned.clone());
        Box::pin(async move {
            for id in spawned.iter().filter(|id| is_of(id, model, hive)) {
                self.stop(config, id, drain).await?;
            }
            Ok(())
        })
    }

    fn shares_engine(&self, _: &WorkerConfig) -> bool {
        self.state(|state| state.shares)
    }

    fn end<'a>(&'a self, process: &'a Identity) -> BoxFuture<'a, ()> {
        self.state(|state| state.ended.send_modify(|ended| *ended += 1));
        self.crash(process);
        Box::pin(async {})
    }

    fn is_taken(&self, config: &RbeeConfig, id: &str) -> bool {
        Path::new(&config.paths.run).join(id).join("http.sock").exists()
    }

    fn is_alive_for(&self, _: &RbeeConfig, hive: &str, model: &str, but: Option<&str>) -> bool {
        self.state(|state| {
            let is_one = |(id, process): &(String, Arc<Process>)| {
                is_of(id, model, hive) && but != Some(id) && process.identity.is_alive()
            };
            state.unstopped.iter().any(is_one) || state.silent.iter().any(|silent| silent == model)
        })
    }

    fn available_memory(&self) -> Option<u64> {
        Some(self.state(|state| {
            state.looks.send_modify(|looks| *looks += 1);
            state.available
        }))
    }

    fn memory_kills(&self) -> u64 {
        self.state(|state| state.kills)
    }

    fn memory_of(&self, _: &Identity) -> Option<u64> {
        Some(self.state(|state| state.resident))
    }
}

/// Whether it is a worker of the model.
fn is_of(id: &str, model: &str, hive: &str) -> bool {
    (0..8).any(|slot| InstanceName::worker(model, slot, hive).to_string() == id)
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
