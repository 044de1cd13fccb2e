use std::{fs, path::Path, time::Duration};

use auto_update::{AutoUpdater, BuildEnvironment};
use narration_core::{Narration, lines};
use rbee_api::{ErrorBody, ErrorCode};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    keeper::{Keeper, Running, signal},
    queen::{JOB, JOBS, Queen, Reply, STREAM, Step, end, job_of, named, narrated},
    terminal::{Screen, seen},
};

const DEADLINE: Duration = Duration::from_secs(60);

/// The binaries that are watched, and the folders of their packages.
const LEVELS: [(&str, &str); 3] = [
    ("queen-rbee", "bin/10_queen_rbee"),
    ("rbee-hive", "bin/20_rbee_hive"),
    ("llamacpp-worker", "bin/30_llm_worker_rbee"),
];

/// A workspace of three small binaries, each built, and a keeper that watches it.
async fn keeper(queen: &Queen) -> Keeper {
    let mut keeper = Keeper::of(queen);
    let members = LEVELS.map(|(_, folder)| format!("{folder:?}")).join(",");
    let manifest = format!("[workspace]\nresolver = \"3\"\nmembers = [{members}]\n");
    keeper.write("tree/Cargo.toml", &manifest);
    for (name, folder) in LEVELS {
        let package = format!("[package]\nname = \"{name}\"\nedition = \"2024\"\n");
        keeper.write(&format!("tree/{folder}/Cargo.toml"), &package);
        keeper.write(&format!("tree/{folder}/src/main.rs"), "fn main() {}\n");
    }
    let root = keeper.home().join("tree");
    let target = root.join("target").display().to_string();
    let environment = BuildEnvironment::capture().set("CARGO_TARGET_DIR", &target);
    for (name, value) in environment.vars() {
        if let (Some(name), Some(value)) = (name.to_str(), value.to_str())
            && !name.starts_with("RBEE_")
        {
            keeper = keeper.with(name, value);
        }
    }
    tokio::task::spawn_blocking({
        let root = root.clone();
        move || build(&root, &environment)
    })
    .await
    .unwrap();
    keeper
        .with("RBEE_AUTO_UPDATE_ENABLED", "true")
        .with("RBEE_SOURCE_ROOT", &root.display().to_string())
}

fn build(root: &Path, environment: &BuildEnvironment) {
    for (name, folder) in LEVELS {
        let updater = AutoUpdater::new(name, root.join(folder)).unwrap();
        updater.environment(environment.clone()).ensure_built_with(|_| {}).unwrap();
    }
}

/// A queen that runs alone, and says `steps` for the updates that it is asked for in turn.
async fn queen(updates: Vec<Vec<Step>>) -> Queen {
    let queen = Queen::start().await;
    let health = json!({
        "status": "ok", "role": "queen-rbee", "instance_id": "i", "pid": 4711, "start_time": 1,
        "exe_hash": "0123456789abcdef", "source_root": null, "version": "0.1.0", "uptime_s": 75,
    });
    queen.on("GET /health", Reply::Json(200, health));
    queen.on("GET /v1/hives", Reply::Json(200, json!({ "hives": [] })));
    let created = json!({ "job_id": JOB, "sse_url": "/v1/jobs/job-1/stream" });
    queen.on(JOBS, Reply::Json(201, created));
    for steps in updates {
        queen.on(STREAM, Reply::Events(steps));
    }
    queen
}

fn failure() -> Vec<Step> {
    let body = ErrorBody::new(ErrorCode::BuildFailed, "`rbee-hive` does not build");
    vec![
        narrated(1, &lines::rebuilding("rbee-hive")),
        narrated(2, &Narration::verbatim("dmn-life", "error: expected `;`")),
        narrated(3, &lines::rebuild_failed("rbee-hive")),
        named(4, "error", &serde_json::to_value(body).unwrap()),
        end(5, "failed"),
    ]
}

/// Reads standard error on until it holds `text`, and gives what came.
async fn until(running: &mut Running, text: &str) -> String {
    match timeout(DEADLINE, running.hears(text)).await {
        Ok(heard) => heard,
        Err(_) => panic!("`{text}` was never said"),
    }
}

#[tokio::test]
async fn each_edit_is_built_once_and_a_failure_does_not_end_the_watch() {
    let queen = queen(vec![job_of(&Value::Null), failure(), job_of(&Value::Null)]).await;
    let keeper = keeper(&queen).await;
    let source = keeper.home().join("tree/bin/20_rbee_hive/src/main.rs");
    let mut running = keeper.spawn(&["dev", "--no-tui"]);
    // Everything is brought up first.
    queen.wait_for_all(JOBS, 1).await;
    until(&mut running, "[keeper] dev: hive is fresh").await;

    fs::write(&source, "fn main() { broken }\n").unwrap();
    let said = until(&mut running, "[keeper] dev: hive is failed").await;
    assert!(said.contains("[keeper] dev: hive is stale"), "{said}");
    assert!(said.contains("[keeper] dev: hive is building"), "{said}");
    assert!(said.contains("error: expected `;`"), "{said}");
    until(&mut running, "error: `rbee-hive` does not build").await;
    assert_eq!(queen.requests(JOBS).len(), 2);

    fs::write(&source, "fn main() { mended() }\nfn mended() {}\n").unwrap();
    queen.wait_for_all(JOBS, 3).await;
    assert_eq!(queen.requests(JOBS)[2].body, json!({ "operation": "chain_update" }));
    running.interrupt();
    let output = running.finish().await.exits(0);
    assert_eq!(output.stdout, "");
    // Leaving takes nothing back.
    assert!(queen.requests(crate::queen::CANCEL).is_empty());
}

#[tokio::test]
async fn a_terminal_gets_a_picture_and_is_given_back_when_q_is_pressed() {
    let queen = queen(vec![job_of(&Value::Null)]).await;
    let keeper = keeper(&queen).await.with("TERM", "xterm");
    let mut screen = Screen::open();
    let mut child = keeper.spawn_on(&["dev"], || screen.stdio());
    let mut pieces = screen.pieces();
    let mut all = Vec::new();
    let watch = async {
        queen.wait_for_all(JOBS, 1).await;
        while !seen(&all).contains("4711") || !seen(&all).contains("? keys | watching") {
            all.extend(pieces.recv().await.expect("the keeper has not left"));
        }
        let picture = seen(&all);
        screen.type_in(b"q");
        while let Some(piece) = pieces.recv().await {
            all.extend(piece);
        }
        (picture, child.wait().await.unwrap().code())
    };
    let (picture, code) = timeout(DEADLINE, watch).await.expect("in time");
    assert_eq!(code, Some(0));
    for expected in ["rbee dev", "4711", "0123456789ab", "what happens"] {
        assert!(picture.contains(expected), "{expected} is not in\n{picture}");
    }
    assert_eq!(seen(&all).trim(), "", "the screen is as it was");
}

#[tokio::test]
async fn a_terminal_is_given_back_when_the_process_is_told_to_end() {
    let queen = queen(vec![job_of(&Value::Null)]).await;
    let keeper = keeper(&queen).await.with("TERM", "xterm");
    let screen = Screen::open();
    let mut child = keeper.spawn_on(&["dev"], || screen.stdio());
    let mut pieces = screen.pieces();
    let mut all = Vec::new();
    let watch = async {
        while !seen(&all).contains("? keys | watching") {
            all.extend(pieces.recv().await.expect("the keeper has not left"));
        }
        signal(&child, Signal::TERM);
        while let Some(piece) = pieces.recv().await {
            all.extend(piece);
        }
        child.wait().await.unwrap().code()
    };
    assert_eq!(timeout(DEADLINE, watch).await.expect("in time"), Some(0));
    assert_eq!(seen(&all).trim(), "", "the screen is as it was");
}

#[tokio::test]
async fn without_sources_there_is_nothing_to_watch() {
    let queen = Queen::start().await;
    let output = Keeper::of(&queen).run(&["dev", "--no-tui"]).await.exits(2);
    insta::assert_snapshot!(output.stderr, @r"
    error: there is nothing to watch: nothing is built from sources here
    hint: `./rbee config` shows `source_root` and `auto_update.enabled`
    ");
}
