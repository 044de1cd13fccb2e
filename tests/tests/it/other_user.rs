//! Another user of the machine, whom the test becomes where it may.

use std::{
    fs,
    io::Write as _,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use chain_tests::{Chain, Run};
use serde_json::Value;

const NOBODY: u32 = 65534;

/// Runs `program` as somebody else.
fn as_nobody(program: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.args(arguments).uid(NOBODY).gid(NOBODY).current_dir("/").env_clear();
    command.env("PATH", "/usr/bin:/bin").output().unwrap()
}

/// What a request of somebody else is answered: the status, and the error's code.
fn ask(url: &str, arguments: &[&str]) -> (String, String) {
    let form = ["-s", "-m", "20", "-w", "\n%{http_code}", url];
    let asked = as_nobody("curl", &[&form[..], arguments].concat());
    let said = String::from_utf8_lossy(&asked.stdout).into_owned();
    let (body, status) = said.rsplit_once('\n').unwrap_or_else(|| panic!("{asked:?}"));
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    (status.to_owned(), body["error"]["code"].as_str().unwrap_or_default().to_owned())
}

fn resident_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn another_user_of_the_machine_reads_learns_loads_and_fills_nothing() {
    if !rustix::process::geteuid().is_root() {
        // Only root can become somebody else.
        return;
    }
    let chain = Chain::new();
    chain.succeed(&["infer", "one"]);
    let (queen, health) = (chain.queen(), chain.healths());
    let hives: Value = chain_tests::get(&format!("{queen}/v1/hives"));
    let hive = hives["hives"][0]["base_url"].as_str().unwrap().to_owned();
    let model = Chain::model().display().to_string();

    // Without a key: nothing, of the queen nor past her.
    let body = format!(r#"{{"model":{model:?},"messages":[]}}"#);
    let json = ["-H", "content-type: application/json", "-d", body.as_str()];
    for level in [&queen, &hive] {
        for path in ["/health", "/v1/jobs", "/v1/workers", "/v1/models", "/v1/models/store"] {
            let refused = ask(&format!("{level}{path}"), &[]);
            assert_eq!(refused, ("401".into(), "key_missing".into()), "{level}{path}");
        }
        for path in ["/v1/chat/completions", "/v1/completions", "/v1/jobs", "/v1/models/pull"] {
            let refused = ask(&format!("{level}{path}"), &json);
            assert_eq!(refused, ("401".into(), "key_missing".into()), "{level}{path}");
        }
    }

    // Of the files and sockets: nothing.
    let home = chain.home();
    let worker = worker_folder(home);
    for path in ["state", "state/token", "state/keys.json", "state/logs", "models", "run"] {
        let path = home.join(path).display().to_string();
        let read = as_nobody("ls", &["-l", &path]);
        assert!(!read.status.success(), "{path}: {read:?}");
        assert!(!as_nobody("cat", &[&path]).status.success(), "{path}");
    }
    let socket = worker.join("http.sock").display().to_string();
    let past = as_nobody("curl", &["-s", "--unix-socket", &socket, "http://localhost/health"]);
    assert!(!past.status.success() && past.stdout.is_empty(), "{past:?}");

    // With a key that only chats: the models that are there, and nothing else.
    let key = chain.succeed(&["key", "add", "nobody"]).stdout;
    let bearer = format!("authorization: Bearer {}", key.trim());
    let key = ["-H", bearer.as_str()];
    let chat = format!("{queen}/v1/chat/completions");
    let mut told = Vec::new();
    for name in ["/etc/shadow", "/no/such/file", "hf:some/repository", "https://127.0.0.1:1/m"] {
        let body = format!(r#"{{"model":"{name}","messages":[{{"role":"user","content":"x"}}]}}"#);
        let json = ["-H", "content-type: application/json", "-d", body.as_str()];
        told.push(ask(&chat, &[&key[..], &json].concat()));
    }
    told.dedup();
    assert_eq!(told, [("404".to_owned(), "model_not_found".to_owned())]);
    let asked = r#"{"messages":[{"role":"user","content":"one two"}],"max_tokens":4}"#;
    let json = ["-H", "content-type: application/json", "-d", asked];
    let answered = ask(&chat, &[&key[..], &json].concat());
    assert_eq!(answered, ("200".into(), String::new()), "the model that is configured");
    for path in ["/v1/jobs", "/v1/keys", "/v1/hives", "/v1/workers", "/v1/models/store"] {
        assert_eq!(ask(&format!("{queen}{path}"), &key).0, "401", "{path}");
    }

    // And memory stays what it was, however much is sent.
    let daemons = [chain.pid("queen-rbee"), chain.pid("rbee-hive")];
    let before = daemons.map(resident_kib);
    let body = format!(r#"{{"model":"{}"}}"#, "x".repeat(7 << 20));
    for keyed in [false, true] {
        for _ in 0..20 {
            send(&chat, keyed.then_some(bearer.as_str()), body.as_bytes());
        }
    }
    for (pid, before) in daemons.into_iter().zip(before) {
        let grown = resident_kib(pid).saturating_sub(before) / 1024;
        assert!(grown < 64, "process {pid} grew by {grown} MiB");
    }

    // The owner has noticed nothing.
    chain.succeed(&["infer", "one"]);
    let pids = |healths: [rbee_api::Health; 3]| healths.map(|health| health.pid);
    assert_eq!(pids(chain.healths()), pids(health));
}

/// Sends `body` as somebody else, and does not care for the answer.
fn send(url: &str, header: Option<&str>, body: &[u8]) {
    let mut command = Command::new("curl");
    command.args(["-s", "-m", "20", "-o", "/dev/null", "--data-binary", "@-", url]);
    command.args(["-H", "content-type: application/json", "-H", "expect:"]);
    if let Some(header) = header {
        command.args(["-H", header]);
    }
    command.uid(NOBODY).gid(NOBODY).current_dir("/").env_clear().env("PATH", "/usr/bin:/bin");
    let mut curl = command.stdin(Stdio::piped()).spawn().unwrap();
    // Refused before it has been sent, it is not read to its end.
    drop(curl.stdin.take().unwrap().write_all(body));
    curl.wait().unwrap();
}

fn worker_folder(home: &Path) -> PathBuf {
    let entries = fs::read_dir(home.join("run")).unwrap();
    let mut folders = entries.map(|entry| entry.unwrap().path());
    let is_worker = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("worker-"))
    };
    folders.find(is_worker).expect("a worker runs")
}

#[test]
fn a_worker_is_told_nothing_of_builds_and_downloads_and_no_daemon_a_secret() {
    let chain = Chain::new();
    let mut infer = chain.command(&["infer", "one"]);
    infer.env("CARGO_REGISTRY_TOKEN", "s3cret").env("HF_TOKEN", "s3cret");
    infer.env("PIP_INDEX_URL", "https://user:s3cret@127.0.0.1:1/simple");
    let run = Run::of(infer);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    for name in ["queen-rbee", "rbee-hive", "llamacpp-worker"] {
        let environment = fs::read(format!("/proc/{}/environ", chain.pid(name))).unwrap();
        let environment = String::from_utf8_lossy(&environment).into_owned();
        let names: Vec<&str> =
            environment.split('\0').filter_map(|pair| Some(pair.split_once('=')?.0)).collect();
        assert!(!names.iter().any(|name| name.ends_with("TOKEN")), "{name}: {names:?}");
        if name == "llamacpp-worker" {
            let for_others = |name: &&str| {
                let name = name.to_lowercase();
                ["cargo", "rustup", "pip_"].iter().any(|start| name.starts_with(start))
                    || name.ends_with("_proxy")
            };
            assert!(!names.iter().any(for_others), "{names:?}");
            assert!(!environment.contains("s3cret"));
        }
    }
}
