use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use serde_json::Value;
use tokio::net::TcpListener;

use crate::keeper::{Keeper, Output};

/// One line of the report.
struct Line {
    verdict: String,
    found: String,
    remedy: String,
}

impl Line {
    /// Panics unless it has this verdict, has found this, and advises this; each in part.
    #[track_caller]
    fn is(&self, verdict: &str, found: &str, remedy: &str) {
        let Self { verdict: has, found: says, remedy: advises } = self;
        let fits = has == verdict && says.contains(found) && advises.contains(remedy);
        assert!(fits, "{has}: {says} -> {advises}");
    }
}

#[track_caller]
fn line(output: &Output, what: &str) -> Line {
    let report: Value = serde_json::from_str(&output.stdout).unwrap();
    let checks = report["checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["what"] == what);
    let check = check.unwrap_or_else(|| panic!("no line for {what}: {report:#}"));
    let text = |field: &str| check[field].as_str().unwrap_or_default().to_owned();
    Line { verdict: text("verdict"), found: text("found"), remedy: text("remedy") }
}

/// A keeper with a source tree of its own, from which nothing is built.
fn keeper() -> Keeper {
    let keeper = Keeper::alone();
    keeper.write("tree/Cargo.toml", "").write("tree/bin/10_queen_rbee/Cargo.toml", "");
    let tree = keeper.home().join("tree").display().to_string();
    keeper.with("RBEE_SOURCE_ROOT", &tree).with("HF_ENDPOINT", "http://127.0.0.1:1")
}

async fn doctor(keeper: &Keeper, code: i32) -> Output {
    keeper.run(&["doctor", "--json"]).await.exits(code)
}

fn program(keeper: &Keeper, path: &str, script: &str) -> PathBuf {
    keeper.write(path, &format!("#!/bin/sh\n{script}\n"));
    let path = keeper.home().join(path);
    set_mode(&path, 0o755);
    path
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[tokio::test]
async fn a_wrong_configuration_is_a_finding() {
    let keeper = keeper();
    keeper.write("config.toml", "[queen]\nprot = 1\n");
    line(&doctor(&keeper, 1).await, "configuration").is("fail", "did you mean", "mend it");
    keeper.write("config.toml", "[queen]\n");
    line(&doctor(&keeper, 0).await, "configuration").is("ok", "config.toml", "");
    let keeper = keeper.with("RBEE_QUEEN_PROT", "1");
    line(&doctor(&keeper, 0).await, "configuration").is("ok", "config.toml", "");
    let report = doctor(&keeper, 0).await.stdout;
    assert!(report.contains("RBEE_QUEEN_PROT"), "{report}");
}

#[tokio::test]
async fn a_stranger_on_a_port_is_found() {
    let stranger = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = stranger.local_addr().unwrap().port();
    // Accepts, and hangs up without a word.
    let hang_up = async {
        loop {
            drop(stranger.accept().await.unwrap());
        }
    };
    let keeper = keeper();
    keeper.write("config.toml", &format!("[[hive]]\nalias = \"h\"\nport = {port}\n"));
    let output = tokio::select! {
        output = doctor(&keeper, 1) => output,
        () = hang_up => unreachable!(),
    };
    let what = format!("port {port} (hive `h`)");
    line(&output, &what).is("fail", "taken by another program", "change the hive's `port`");
}

#[tokio::test]
async fn a_hub_that_cannot_be_reached_is_warned_of_and_a_proxy_is_taken_at_its_word() {
    let keeper = keeper();
    let output = doctor(&keeper, 0).await;
    line(&output, "models' hub").is(
        "warn",
        "http://127.0.0.1:1 cannot be reached: ",
        "HF_ENDPOINT",
    );
    let hub = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", hub.local_addr().unwrap());
    let keeper = keeper.with("HF_ENDPOINT", &endpoint);
    line(&doctor(&keeper, 0).await, "models' hub").is("ok", &endpoint, "");
    let keeper =
        keeper.with("HF_ENDPOINT", "http://127.0.0.1:1").with("HTTPS_PROXY", "http://p:3128");
    line(&doctor(&keeper, 0).await, "models' hub").is("ok", "through a proxy", "");
}

#[tokio::test]
async fn a_free_port_is_well_and_people_get_a_table() {
    let keeper = keeper();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    keeper.write("config.toml", &format!("[[hive]]\nalias = \"h\"\nport = {port}\n"));
    let output = keeper.run(&["doctor"]).await.exits(0);
    let line = output.stdout.lines().find(|line| line.contains(&port.to_string())).unwrap();
    assert!(line.starts_with("ok") && line.ends_with("free"), "{line}");
}

#[tokio::test]
async fn what_others_may_write_fails_and_what_they_may_read_is_warned_of() {
    let keeper = keeper();
    keeper.write("state/token", "secret");
    keeper.write("config.toml", "");
    set_mode(&keeper.home().join("state"), 0o700);
    let token = keeper.home().join("state/token");
    set_mode(&token, 0o644);
    let output = doctor(&keeper, 0).await;
    line(&output, "permissions").is("ok", "nobody else may write", "");
    let what = format!("permissions of {}", token.display());
    line(&output, &what).is("warn", "(mode 644)", &format!("`chmod go-rwx {}`", token.display()));
    set_mode(&token, 0o600);
    assert!(!doctor(&keeper, 0).await.stdout.contains(&what));

    set_mode(&keeper.home().join("config.toml"), 0o666);
    line(&doctor(&keeper, 1).await, "permissions").is("fail", "can be written by others", "");
}

#[tokio::test]
async fn a_home_whose_path_leaves_no_room_for_sockets_is_found() {
    let home = tempfile::tempdir().unwrap();
    for (bytes, code, verdict, found) in [
        (40, 0, "ok", "/run"),
        (47, 0, "warn", "too many for other engines"),
        (90, 1, "fail", "would be too long"),
    ] {
        let room = bytes - "/run".len() - home.path().as_os_str().len() - 1;
        let path = home.path().join("x".repeat(room));
        let keeper = keeper().with("RBEE_HOME", path.to_str().unwrap());
        let line = line(&doctor(&keeper, code).await, "run directory");
        line.is(verdict, found, if verdict == "ok" { "" } else { "set RBEE_HOME" });
    }
}

#[tokio::test]
async fn the_tools_of_a_build_are_looked_for_where_something_is_built() {
    let keeper = keeper();
    line(&doctor(&keeper, 0).await, "build tools").is("ok", "nothing is built here", "");
    let path = keeper.home().join("path").display().to_string();
    for name in ["cargo", "c++", "cmake", "python3"] {
        program(&keeper, &format!("path/{name}"), &format!("echo {name} 1.2.3"));
    }
    let keeper = keeper.with("RBEE_AUTO_UPDATE_ENABLED", "true").with("PATH", &path);
    let output = keeper.run(&["doctor", "--json"]).await;
    line(&output, "Rust toolchain").is("ok", "cargo 1.2.3", "");
    line(&output, "cmake").is("ok", "cmake 1.2.3", "");
    fs::remove_file(keeper.home().join("path/cargo")).unwrap();
    program(&keeper, "path/cmake", "echo 'cmake: no such file' >&2; exit 127");
    let output = doctor(&keeper, 1).await;
    line(&output, "Rust toolchain").is("fail", "`cargo` cannot be run", "rustup");
    line(&output, "cmake").is("fail", "cmake: no such file", "`./rbee setup`");
    line(&output, "C++ compiler").is("ok", "c++ 1.2.3", "");
}

#[tokio::test]
async fn vllm_is_looked_at_without_being_loaded() {
    let keeper = keeper();
    line(&doctor(&keeper, 0).await, "engine vllm").is("ok", "not installed; only models in", "");
    // A folder is for vLLM by its format.
    keeper.write("model/config.json", "{}");
    let model = keeper.home().join("model");
    keeper.write("config.toml", &format!("[model.m]\nsource = {model:?}\n"));
    let output = doctor(&keeper, 1).await;
    line(&output, "engine vllm").is("fail", "the model `m` needs it", "`./rbee setup --vllm`");

    let folder = keeper.home().join("venv");
    let named = |folder: &Path| format!("[worker.vllm]\ncommand = {folder:?}\n");
    keeper.write("config.toml", &named(&folder));
    let output = doctor(&keeper, 1).await;
    line(&output, "engine vllm").is("fail", "venv is not there", "mend `worker.vllm.command`");
    let vllm = program(&keeper, "venv/bin/vllm", "exit 1");
    let output = doctor(&keeper, 0).await;
    line(&output, "engine vllm").is("ok", &format!("{}; in no environment", vllm.display()), "");
    program(&keeper, "venv/bin/python", "echo 0.32.0+cpu");
    let output = doctor(&keeper, 0).await;
    line(&output, "engine vllm").is("ok", &format!("0.32.0+cpu, {}", vllm.display()), "");
    let trace = "Traceback (most recent call last):\\n  File\\nNo package vllm";
    program(&keeper, "venv/bin/python", &format!("printf '{trace}' >&2; exit 1"));
    let output = doctor(&keeper, 1).await;
    line(&output, "engine vllm").is("fail", "No package vllm", "install vLLM there anew");
    // As the system's upgrade leaves it.
    fs::remove_file(folder.join("bin/python")).unwrap();
    std::os::unix::fs::symlink("/not/there/python3", folder.join("bin/python")).unwrap();
    line(&doctor(&keeper, 1).await, "engine vllm").is("fail", "cannot be run", "anew");
}

#[tokio::test]
async fn an_external_server_that_is_not_there_fails_when_a_model_has_it() {
    let keeper = keeper();
    let table = "[worker.external.mine]\ncommand = [\"some-server\", \"{port}\"]\n";
    keeper.write("config.toml", table);
    let output = doctor(&keeper, 0).await;
    line(&output, "engine mine").is("warn", "`some-server` is no program", "install it, or mend");
    let model = "[model.m]\nworker = \"mine\"\nsource = \"/not/there.gguf\"\n";
    keeper.write("config.toml", &format!("{table}{model}"));
    let output = doctor(&keeper, 1).await;
    line(&output, "engine mine").is("fail", "`some-server` is no program", "install it");
    line(&output, "model m").is(
        "warn",
        "/not/there.gguf is not there",
        "mend `model.\"m\".source`",
    );
    let server = program(&keeper, "path/some-server", "exit 0");
    let path = keeper.home().join("path").display().to_string();
    let keeper = keeper.with("PATH", &path);
    let shown = server.display().to_string();
    line(&doctor(&keeper, 0).await, "engine mine").is("ok", &shown, "");
}

#[tokio::test]
async fn devices_are_named_with_what_they_are_good_for() {
    let keeper = keeper();
    let output = doctor(&keeper, 0).await;
    line(&output, "device cpu").is("ok", "memory: ", "");
    assert!(!output.stdout.contains("device cuda"), "{}", output.stdout);
    program(&keeper, "path/nvidia-smi", "echo 'NVIDIA H200, 143771 MiB, 580.65.06'");
    let path = keeper.home().join("path").display().to_string();
    let keeper = keeper.with("PATH", &path);
    line(&doctor(&keeper, 0).await, "device cuda").is("ok", "NVIDIA H200, 143771 MiB", "");
}
