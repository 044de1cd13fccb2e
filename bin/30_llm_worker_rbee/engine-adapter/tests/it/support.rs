use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::Mutex,
    time::Duration,
};

use rbee_api::jobs_socket;
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    process::{Child, Command},
    time::{sleep, timeout},
};

/// Nothing that a test waits for takes longer.
pub(crate) const DEADLINE: Duration = Duration::from_secs(240);

pub(crate) const POLL: Duration = Duration::from_millis(10);
const STAND_IN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/stand_in.py");

/// A folder in which workers share an engine.
pub(crate) struct World {
    pub(crate) home: TempDir,
}

/// A worker's process.
pub(crate) struct Worker {
    pub(crate) child: Child,
    http: reqwest::Client,
    /// Of its own process until that ends, as of one that no starter has numbered.
    own: reqwest::Client,
    /// Those with ids, as their jobs are called.
    streams: Mutex<Vec<String>>,
}

impl World {
    pub(crate) fn new() -> Self {
        let home = tempfile::Builder::new().prefix("ea").tempdir().unwrap();
        fs::create_dir_all(home.path().join("model/marks")).unwrap();
        let vllm = home.path().join("vllm");
        fs::write(&vllm, format!("#!/bin/sh\nexec python3 {STAND_IN} \"$@\"\n")).unwrap();
        fs::set_permissions(&vllm, fs::Permissions::from_mode(0o755)).unwrap();
        Self { home }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Makes a file that the stand-in looks for.
    pub(crate) fn mark(&self, name: &str) {
        fs::write(self.path("model/marks").join(name), "").unwrap();
    }

    pub(crate) fn unmark(&self, name: &str) {
        fs::remove_file(self.path("model/marks").join(name)).unwrap();
    }

    /// Starts a `vllm-worker` on the socket of that name, with more flags.
    pub(crate) fn start(&self, socket: &str, flags: &[&str]) -> Worker {
        let usual = ["model", "vllm", "engine", "orphan"].map(|flag| format!("--{flag}"));
        let values = ["model", "vllm", "e"].map(|name| self.path(name).display().to_string());
        let values = values.into_iter().chain(["1".to_owned()]);
        let mut command = Command::new(env!("CARGO_BIN_EXE_vllm-worker"));
        command.args(["--name", "m", "--lease", "600", "--socket"]).arg(self.path(socket));
        for (flag, value) in usual.iter().zip(values) {
            if !flags.contains(&flag.as_str()) {
                command.args([flag, &value]);
            }
        }
        command.args(flags);
        spawn(command, &self.path(socket))
    }

    /// The same, once it answers.
    pub(crate) async fn ready(&self, socket: &str, flags: &[&str]) -> Worker {
        let mut worker = self.start(socket, flags);
        worker.wait_ready().await;
        worker
    }

    /// What the engine says of itself.
    pub(crate) async fn engine(&self) -> Value {
        let client = reqwest::Client::builder().unix_socket(self.path("e/s.sock")).build().unwrap();
        let said = client.get("http://engine/state").send();
        timeout(DEADLINE, said).await.unwrap().unwrap().json().await.unwrap()
    }

    /// Waits until the engine listens, which it does long before it is ready.
    pub(crate) async fn listens(&self) {
        assert!(comes_to(|| self.path("e/s.sock").exists()).await, "the engine does not listen");
    }

    /// Waits until the engine says what `holds` wants to hear.
    pub(crate) async fn engine_until(&self, holds: impl Fn(&Value) -> bool) -> Value {
        let until = async {
            loop {
                let said = self.engine().await;
                if holds(&said) {
                    break said;
                }
                sleep(POLL).await;
            }
        };
        timeout(DEADLINE, until).await.expect("the engine comes to that")
    }

    /// The pids of the engine's server and of its children.
    pub(crate) fn pids(said: &Value) -> Vec<u64> {
        let children = said["children"].as_object().unwrap().values();
        children.filter_map(Value::as_u64).collect()
    }

    /// Waits until nothing of the engine that said this is left: no process, no file, no shared
    /// memory.
    pub(crate) async fn nothing_left(&self, said: &Value) {
        let left = || {
            let mut left = Self::left_in_memory(said);
            left.extend(["e", "e.lock", "e.owners"].map(|name| self.path(name)));
            left.retain(|path| path.exists());
            left
        };
        wait_until_empty(left).await;
    }

    /// The same where no worker was left to clear away by which files owners meet.
    pub(crate) async fn nothing_runs(&self, said: &Value) {
        let left = || {
            let mut left = Self::left_in_memory(said);
            left.push(self.path("e"));
            left.retain(|path| path.exists());
            left
        };
        wait_until_empty(left).await;
    }

    /// What there is of processes and shared memory of the engine that said this.
    fn left_in_memory(said: &Value) -> Vec<PathBuf> {
        let pids = Self::pids(said).into_iter().chain(said["tracker"].as_u64());
        let alive = pids.filter(|&pid| is_alive(pid));
        let shared = ["shared", "semaphore"].map(|name| said[name].as_str().unwrap());
        alive
            .map(|pid| PathBuf::from(format!("/proc/{pid}")))
            .chain(shared.map(PathBuf::from))
            .collect()
    }
}

async fn wait_until_empty(left: impl Fn() -> Vec<PathBuf>) {
    assert!(comes_to(|| left().is_empty()).await, "{:?} is left", left());
}

/// Whether `holds` in time. Other processes make it so, and tell nobody.
async fn comes_to(holds: impl Fn() -> bool) -> bool {
    let until = async {
        while !holds() {
            sleep(POLL).await;
        }
    };
    timeout(DEADLINE, until).await.is_ok()
}

/// Starts a worker's binary with an environment that the test knows.
pub(crate) fn spawn(mut command: Command, socket: &Path) -> Worker {
    let kept = std::env::vars_os().filter(|(name, _)| name == "PATH" || name == "HOME");
    let child = command
        .env_clear()
        .envs(kept)
        .env("VLLM_SOMETHING", "1")
        .env("SOME_TOKEN", "secret")
        .env("RBEE_HOME", "/nowhere")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let client = |socket| reqwest::Client::builder().unix_socket(socket).build().unwrap();
    let (http, own) = (client(socket.to_owned()), client(jobs_socket(socket, 0)));
    Worker { child, http, own, streams: Mutex::default() }
}

pub(crate) fn is_alive(pid: u64) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

pub(crate) fn signal(pid: u64, signal: &str) {
    let status = std::process::Command::new("kill").args(["-s", signal, &pid.to_string()]).status();
    assert!(status.unwrap().success());
}

impl Worker {
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("http://worker{path}")).timeout(DEADLINE)
    }

    pub(crate) async fn wait_ready(&mut self) {
        let ready = async {
            while self.request(Method::GET, "/health").send().await.is_err() {
                assert!(self.child.try_wait().unwrap().is_none(), "the worker has ended");
                sleep(POLL).await;
            }
        };
        timeout(DEADLINE, ready).await.expect("the worker answers");
    }

    /// Asks for a chat's stream with ids.
    pub(crate) async fn stream(&self, prompt: &str) -> Response {
        let body = json!({"model": "m", "stream": true, "messages": [{"role": "user", "content": prompt}]});
        let request =
            self.request(Method::POST, "/v1/chat/completions").header("x-rbee-events", "1");
        let response = request.json(&body).send().await.unwrap();
        let job = response.headers().get("x-rbee-job");
        let job = job.map(|job| job.to_str().unwrap().to_owned());
        self.streams.lock().unwrap().extend(job);
        response
    }

    /// A request to its own socket.
    pub(crate) fn request_of_its_own(&self, method: Method, path: &str) -> RequestBuilder {
        self.own.request(method, format!("http://worker{path}")).timeout(DEADLINE)
    }

    /// Says, as a hive does, that its streams have been read.
    pub(crate) async fn has_been_read(&self) {
        let streams = std::mem::take(&mut *self.streams.lock().unwrap());
        for job in streams {
            let path = format!("/v1/jobs/{job}");
            // It may have ended.
            drop(self.request_of_its_own(Method::DELETE, &path).send().await);
        }
    }

    pub(crate) async fn complete(&self, prompt: &str) -> Response {
        let body = json!({"model": "m", "messages": [{"role": "user", "content": prompt}]});
        self.request(Method::POST, "/v1/chat/completions").json(&body).send().await.unwrap()
    }

    pub(crate) fn pid(&self) -> u64 {
        self.child.id().expect("the worker runs").into()
    }

    /// Asks it to end, and waits for that.
    pub(crate) async fn stop(self) -> (ExitStatus, String) {
        self.has_been_read().await;
        signal(self.pid(), "TERM");
        self.end().await
    }

    /// Waits for its end, and gives what it wrote to stderr.
    pub(crate) async fn end(self) -> (ExitStatus, String) {
        let output = timeout(DEADLINE, self.child.wait_with_output()).await;
        let output = output.expect("the worker ends").unwrap();
        (output.status, String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// The body up to its end, or up to where it is cut.
pub(crate) async fn read(mut response: Response) -> String {
    let mut bytes = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        bytes.extend_from_slice(&chunk);
    }
    String::from_utf8(bytes).unwrap()
}

/// Reads until `text` has come.
pub(crate) async fn read_until(response: &mut Response, text: &str) -> String {
    let mut read = String::new();
    while !read.contains(text) {
        let chunk = response.chunk().await.unwrap().expect("the stream goes on");
        read.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    read
}
