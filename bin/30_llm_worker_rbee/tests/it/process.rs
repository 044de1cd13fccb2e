//! The binary itself, over its socket.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};

use http_body_util::{BodyExt as _, Full};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    client::conn::http1,
};
use hyper_util::rt::TokioIo;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    net::UnixStream,
    process::{Child, Command},
    time::{sleep, timeout},
};

use llm_worker_rbee::Model;

use crate::support::{DEADLINE, model_path, vectors_path};

const CHAT: &str = "/v1/chat/completions";

pub(crate) struct Worker {
    child: Child,
    socket: PathBuf,
    _folder: TempDir,
}

/// Starts the worker with `model` and `extra` flags.
pub(crate) fn start(model: &Path, extra: &[&str]) -> Worker {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("worker.sock");
    let child = Command::new(env!("CARGO_BIN_EXE_llamacpp-worker"))
        .arg("--model")
        .arg(model)
        .args(["--name", "tiny", "--context", "2048", "--threads", "1", "--socket"])
        .arg(&socket)
        .args(extra)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    Worker { child, socket, _folder: folder }
}

impl Worker {
    /// A connection, once the worker listens.
    async fn connect(&self) -> http1::SendRequest<Full<Bytes>> {
        let connected = timeout(DEADLINE, async {
            loop {
                match UnixStream::connect(&self.socket).await {
                    Ok(stream) => break stream,
                    Err(_) => sleep(Duration::from_millis(20)).await,
                }
            }
        });
        let stream = TokioIo::new(connected.await.expect("the worker listens"));
        let (sender, connection) = http1::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        sender
    }

    pub(crate) async fn send(&self, method: &str, path: &str, body: Value) -> Response<Incoming> {
        let body = Full::new(Bytes::from(body.to_string()));
        let request =
            Request::builder().method(method).uri(path).header("host", "worker").body(body);
        timeout(DEADLINE, self.connect().await.send_request(request.unwrap()))
            .await
            .unwrap()
            .unwrap()
    }

    pub(crate) async fn json(&self, method: &str, path: &str, body: Value) -> Value {
        let body = self.send(method, path, body).await.into_body().collect().await.unwrap();
        serde_json::from_slice(&body.to_bytes()).unwrap()
    }

    /// The folder of its sockets.
    pub(crate) fn folder(&self) -> &Path {
        self.socket.parent().unwrap()
    }

    /// Has it end when it has answered.
    pub(crate) fn terminate(&self) {
        let pid = self.child.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        kill_process(pid.expect("it runs"), Signal::TERM).unwrap();
    }

    /// Waits for its end, and gives what it wrote to stderr.
    pub(crate) async fn end(self) -> (ExitStatus, String) {
        let output = timeout(DEADLINE, self.child.wait_with_output())
            .await
            .expect("the worker ends")
            .unwrap();
        (output.status, String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

#[tokio::test]
async fn a_worker_leaves_when_its_lease_ends_but_not_before() {
    let worker = start(&model_path(), &["--lease", "2"]);
    let health = worker.json("GET", "/health", json!({})).await;
    assert_eq!((&health["role"], &health["status"]), (&json!("llamacpp-worker"), &json!("ok")));
    // Renewals keep it, and so does an answer.
    for _ in 0..4 {
        sleep(Duration::from_secs(1)).await;
        assert_eq!(worker.json("POST", "/v1/lease", json!({})).await["lease_s"], 2.0);
    }
    let body = json!({ "messages": [{ "role": "user", "content": "Hi" }], "max_tokens": 60, "ignore_eos": true });
    let answer = worker.json("POST", CHAT, body).await;
    assert_eq!(answer["usage"]["completion_tokens"], 60);
    let answered = Instant::now();
    let (status, log) = worker.end().await;
    assert!(status.success(), "{status}: {log}");
    assert!(log.contains("lease"), "{log}");
    let stayed = answered.elapsed();
    assert!((Duration::from_millis(1500)..Duration::from_secs(8)).contains(&stayed), "{stayed:?}");
}

#[tokio::test]
async fn a_client_that_hangs_up_frees_its_slot_at_once() {
    let worker = start(&model_path(), &["--parallel", "1"]);
    let long = json!({
        "messages": [{ "role": "user", "content": "Tell me a story." }], "ignore_eos": true, "stream": true, "max_tokens": 1900,
    });
    for stream in [true, false] {
        let mut body = long.clone();
        body["stream"] = json!(stream);
        let request = Request::post(CHAT)
            .header("host", "worker")
            .body(Full::new(Bytes::from(body.to_string())));
        let mut sender = worker.connect().await;
        let answer = timeout(Duration::from_secs(2), sender.send_request(request.unwrap())).await;
        assert_eq!(answer.is_ok(), stream, "only a stream answers at once");
        drop((answer, sender));
        let began = Instant::now();
        let body = json!({ "prompt": "Hi", "max_tokens": 1 });
        assert_eq!(
            worker.json("POST", "/v1/completions", body).await["usage"]["completion_tokens"],
            1
        );
        assert!(began.elapsed() < Duration::from_secs(2), "stream {stream}: {:?}", began.elapsed());
    }
}

#[tokio::test]
async fn health_is_answered_while_every_core_computes() {
    let worker = start(&model_path(), &["--parallel", "4"]);
    let mut answers = Vec::new();
    for _ in 0..4 {
        let body = json!({ "prompt": "Hi", "max_tokens": 60, "ignore_eos": true, "stream": true });
        answers.push(worker.send("POST", "/v1/completions", body).await);
    }
    for _ in 0..20 {
        let began = Instant::now();
        assert_eq!(worker.json("GET", "/health", json!({})).await["status"], "ok");
        assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
    }
    for answer in answers {
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert!(body.ends_with(b"data: [DONE]\n\n"));
    }
}

#[tokio::test]
async fn a_file_that_is_no_model_ends_the_worker_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let real = fs::read(model_path()).unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let files = [
        folder.path().join("absent.gguf"),
        folder.path().to_owned(),
        write("empty.gguf", b""),
        write("text.gguf", b"this is no model at all, but long enough to have a header"),
        write("header.gguf", &real[..64]),
        write("tensors.gguf", &real[..3_000_000]),
        write("half.gguf", &real[..real.len() / 2]),
    ];
    for path in files {
        let (status, log) = start(&path, &[]).end().await;
        assert_eq!(status.code(), Some(1), "{}: {log}", path.display());
        let wanted = format!("cannot load model `{}`: ", path.display());
        assert!(log.contains(&wanted), "{log}");
    }
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn every_thread_of_a_worker_is_in_the_sandbox() {
    let worker = start(&model_path(), &[]);
    let health = worker.json("GET", "/health", json!({})).await;
    let pid = health["pid"].as_u64().unwrap();
    let mut threads = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        let status = fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
        for line in ["NoNewPrivs:\t1", "Seccomp:\t2"] {
            assert!(status.lines().any(|found| found == line), "{line}: {status}");
        }
        threads += 1;
    }
    assert!(threads > 1, "{threads}");
}

#[tokio::test]
async fn a_worker_whose_folder_was_removed_leaves_when_it_answers_nobody() {
    let worker = start(&model_path(), &["--lease", "60"]);
    worker.json("GET", "/health", json!({})).await;
    let folder = worker.socket.parent().unwrap().to_owned();
    fs::remove_dir_all(&folder).unwrap();
    let (status, log) = worker.end().await;
    assert!(status.success(), "{status}: {log}");
    assert!(log.contains("the socket is gone"), "{log}");
}

/// `path` leads elsewhere by the time that the file is loaded.
#[test]
fn the_file_that_was_opened_is_the_file_that_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    std::os::unix::fs::symlink(model_path(), &path).unwrap();
    let file = Model::open(&path).unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(&path, "no model").unwrap();
    let model = file.load().unwrap();
    assert!(model.facts().vocabulary > 0);
    assert!(Model::open(&path).unwrap().load().is_err());
}

#[tokio::test]
async fn answers_name_the_build_that_gave_them() {
    let worker = start(&model_path(), &[]);
    let health = worker.json("GET", "/health", json!({})).await;
    let hash = health["exe_hash"].as_str().unwrap();
    let body = json!({ "prompt": "Hi", "max_tokens": 1 });
    let answer = worker.json("POST", "/v1/completions", body).await;
    assert_eq!(answer["system_fingerprint"], format!("rbee-{}", &hash[..12]));
}

#[tokio::test]
async fn a_worker_is_told_of_its_model_s_settings_by_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let template = "{% for m in messages %}({{ m.role }}: {{ m.content }}){% endfor %}";
    let settings = json!({
        "system": "Be brief.", "chat_template": { "text": template }, "members": { "max_tokens": 2 },
    });
    let path = write("settings.json", &settings.to_string());
    let worker = start(&model_path(), &["--settings", &path, "--model-state", "0123"]);
    let body = json!({ "messages": [{ "role": "user", "content": "Hi" }] });
    let text = worker.json("POST", "/apply-template", body.clone()).await;
    assert_eq!(text["prompt"], "(system: Be brief.)(user: Hi)");
    let answer = worker.json("POST", CHAT, body).await;
    assert!(answer["usage"]["completion_tokens"].as_u64().unwrap() <= 2, "{answer}");

    let absent = folder.path().join("absent.json").display().to_string();
    let odd = write("odd.json", r#"{"sistem":"x"}"#);
    let hot = write("hot.json", r#"{"members":{"temperature":9}}"#);
    let broken = write("broken.json", r#"{"chat_template":{"text":"{% for %}"}}"#);
    for (flags, reason) in [
        (["--settings", &absent], "cannot read the settings in"),
        (["--settings", &odd], "is no model's settings"),
        (["--settings", &hot], "`temperature` must be from 0 to 2"),
        (["--settings", &broken], "does not compile"),
        (["--gpu-layers", "9"], "take `gpu_layers` out"),
    ] {
        let (status, log) = start(&model_path(), &flags).end().await;
        assert_eq!(status.code(), Some(1), "{log}");
        assert!(log.contains(reason), "{log}");
    }
}

/// In the sandbox, and under the context of the flags, which is longer than the model's.
#[tokio::test]
async fn what_a_file_says_of_pooling_decides_what_its_worker_makes() {
    let worker = start(&vectors_path(), &[]);
    let made = worker.json("POST", "/v1/embeddings", json!({ "input": vec![7; 512] })).await;
    assert_eq!(made["data"][0]["embedding"].as_array().unwrap().len(), 384, "{made}");
    let refused = worker.json("POST", "/v1/embeddings", json!({ "input": vec![7; 513] })).await;
    assert_eq!(refused["error"]["code"], "context_length_exceeded");

    let mut bytes = fs::read(vectors_path()).unwrap();
    let key = b"bert.pooling_type";
    let at = bytes.windows(key.len()).position(|part| part == key).unwrap() + key.len() + 4;
    bytes[at..at + 4].copy_from_slice(&0_u32.to_le_bytes());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.gguf");
    fs::write(&path, bytes).unwrap();
    let (status, log) = start(&path, &[]).end().await;
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("say so with `--pooling`"), "{log}");
}
