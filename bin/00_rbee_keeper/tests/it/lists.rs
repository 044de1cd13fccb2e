use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::{
    keeper::Keeper,
    queen::{self, JOBS, Queen, Reply, job_of},
};

fn health(role: &str, pid: u32) -> Value {
    json!({
        "status": "ok", "role": role, "instance_id": "i", "pid": pid, "start_time": 1,
        "exe_hash": "0123456789abcdef0123456789abcdef", "source_root": null, "version": "0.1.0",
        "uptime_s": 3700,
    })
}

fn worker() -> Value {
    json!({
        "id": "w-1", "model": "smollm2:135m", "kind": "llama_cpp", "device": "cpu",
        "state": "ready", "active_requests": 2, "memory_bytes": 150_000_000,
        "unloads_in_s": 300, "detail": null,
        "health": health("llamacpp-worker", 13),
    })
}

fn hives() -> Value {
    let ready = json!({
        "alias": "my-hive", "host": "localhost", "port": 8600,
        "base_url": "http://127.0.0.1:8600", "state": "ready", "detail": null,
        "health": health("rbee-hive", 12),
        "capabilities": {
            "devices": [{ "id": "cpu", "name": "A processor", "cores": 2, "memory_bytes": null }],
            "memory_total_bytes": 8_000_000_000u64, "memory_available_bytes": 4_000_000_000u64,
        },
        "workers": { "workers": [worker()] },
        "models": { "models": [] },
    });
    let failed = json!({
        "alias": "broken", "host": "localhost", "port": 8601, "base_url": null,
        "state": "failed", "detail": "died 5 times in 10 minutes", "health": null,
        "capabilities": null, "workers": { "workers": [] }, "models": { "models": [] },
    });
    json!({ "hives": [ready, failed] })
}

async fn queen() -> Queen {
    let queen = Queen::start().await;
    queen.on("GET /health", Reply::Json(200, health("queen-rbee", 11)));
    queen.on("GET /v1/hives", Reply::Json(200, hives()));
    queen.on("GET /v1/workers", Reply::Json(200, json!({ "workers": [worker()] })));
    queen
}

fn json_of(stdout: &str) -> Value {
    serde_json::from_str(stdout).unwrap()
}

#[tokio::test]
async fn status_shows_every_level() {
    let queen = queen().await;
    let keeper = Keeper::of(&queen);
    // One of them has failed.
    let output = keeper.run(&["status"]).await.exits(1);
    let port = format!("{:<5}", queen.port());
    assert_snapshot!(output.stdout.replace(&port, "PORT "), @r"
    LEVEL   NAME          STATE   PID  PORT   BUILD         AGE    FRESH  DETAIL
    queen   queen         ready   11   PORT   0123456789ab  1h 1m
    hive    my-hive       ready   12   8600   0123456789ab  1h 1m
    worker  smollm2:135m  ready   13          0123456789ab  1h 1m
    hive    broken        failed       8601                               died 5 times in 10 minutes
    ");
}

#[tokio::test]
async fn status_as_json_has_whole_hashes_and_plain_numbers() {
    let queen = queen().await;
    let output = Keeper::of(&queen).run(&["status", "--json"]).await.exits(1);
    let status = json_of(&output.stdout);
    assert_eq!(status["running"], true);
    assert_eq!(status["levels"][0]["port"], queen.port());
    assert_eq!(status["levels"][1]["exe_hash"], "0123456789abcdef0123456789abcdef");
    assert_eq!(status["levels"][2]["age_s"], 3700);
    assert_eq!(status["levels"][3]["detail"], "died 5 times in 10 minutes");
}

#[tokio::test]
async fn status_where_no_queen_runs_is_exit_code_4() {
    let keeper = Keeper::alone().with("RBEE_QUEEN_URL", "http://127.0.0.1:1");
    let output = keeper.run(&["status"]).await.exits(4);
    assert_eq!(output.stdout, "");
    assert_snapshot!(output.stderr, @"No queen answers at `http://127.0.0.1:1`, which `queen.url` or `--queen-url` names");
    let output = keeper.run(&["status", "--json"]).await.exits(4);
    assert_eq!(json_of(&output.stdout)["running"], false);
    let output = Keeper::alone().run(&["status"]).await.exits(4);
    assert_snapshot!(output.stderr, @"No queen runs; `./rbee serve` or a first prompt starts the chain");
    Keeper::alone().run(&["queen", "status"]).await.exits(4);
}

#[tokio::test]
async fn status_of_a_chain_that_serves_is_exit_code_0() {
    let queen = Queen::start().await;
    queen.on("GET /health", Reply::Json(200, health("queen-rbee", 11)));
    let mut hives = hives();
    hives["hives"].as_array_mut().unwrap().truncate(1);
    queen.on("GET /v1/hives", Reply::Json(200, hives));
    Keeper::of(&queen).run(&["status"]).await.exits(0);
}

#[tokio::test]
async fn where_nothing_was_ever_started_a_look_starts_and_writes_nothing() {
    let keeper = Keeper::alone();
    for (arguments, code) in [
        (&["status"][..], 4),
        (&["queen", "status"], 4),
        (&["worker", "list"], 0),
        (&["ps"], 0),
        (&["hive", "list"], 0),
    ] {
        keeper.run(arguments).await.exits(code);
    }
    let output = keeper.run(&["queen", "stop", "--json"]).await.exits(0);
    assert_eq!(json_of(&output.stdout), json!({ "stopped": [] }));
    assert_snapshot!(output.stderr, @"[keeper] queen_stop: Nothing was running");
    assert_eq!(std::fs::read_dir(keeper.home()).unwrap().count(), 0);
}

#[tokio::test]
async fn status_of_the_queen_is_one_row() {
    let queen = queen().await;
    let output = Keeper::of(&queen).run(&["queen", "status", "--json"]).await.exits(0);
    let status = json_of(&output.stdout);
    assert_eq!(status["levels"].as_array().unwrap().len(), 1);
    assert_eq!(status["levels"][0]["pid"], 11);
    assert!(queen.requests("GET /v1/hives").is_empty());
}

#[tokio::test]
async fn hives_are_listed() {
    let queen = queen().await;
    let keeper = Keeper::of(&queen);
    let output = keeper.run(&["hive", "list"]).await.exits(0);
    assert_snapshot!(output.stdout, @r"
    ALIAS    HOST       PORT  STATE   WORKERS  DETAIL
    my-hive  localhost  8600  ready   1
    broken   localhost  8601  failed  0        died 5 times in 10 minutes
    ");
    let output = keeper.run(&["hive", "list", "--json"]).await.exits(0);
    assert_eq!(json_of(&output.stdout), hives());
}

#[tokio::test]
async fn without_a_queen_the_configured_hives_are_listed() {
    let keeper = Keeper::alone();
    keeper.write("config.toml", "[[hive]]\nalias = \"a\"\n[[hive]]\nalias = \"b\"\nport = 9000\n");
    let keeper = keeper.with("RBEE_QUEEN_URL", "http://127.0.0.1:1");
    let output = keeper.run(&["hive", "list"]).await.exits(0);
    assert_snapshot!(output.stdout, @r"
    ALIAS  HOST       PORT  STATE    WORKERS  DETAIL
    a      localhost  8600  stopped  0        not known: no queen runs
    b      localhost  9000  stopped  0        not known: no queen runs
    ");
}

#[tokio::test]
async fn one_hive_is_described() {
    let queen = queen().await;
    let keeper = Keeper::of(&queen);
    let output = keeper.run(&["hive", "status", "my-hive"]).await.exits(0);
    assert_snapshot!(output.stdout, @r"
    alias    my-hive
    state    ready
    address  http://127.0.0.1:8600
    pid      12
    build    0123456789ab
    age      1h 1m
    device   cpu: A processor, 2 cores
    memory   4.0 GB free of 8.0 GB

    ID   MODEL         STATE  DEVICE  PID  MEMORY    AGE    BUSY  DETAIL
    w-1  smollm2:135m  ready  cpu     13   150.0 MB  1h 1m  2
    ");
    let output = keeper.run(&["hive", "status", "nobody"]).await.exits(2);
    assert_snapshot!(output.stderr, @r"
    error: the queen knows no hive `nobody`
    hint: `./rbee hive list` shows the hives
    ");
}

#[tokio::test]
async fn workers_are_listed() {
    let queen = queen().await;
    let keeper = Keeper::of(&queen);
    let output = keeper.run(&["worker", "list"]).await.exits(0);
    assert_snapshot!(output.stdout, @r"
    ID   MODEL         STATE  DEVICE  PID  MEMORY    AGE    BUSY  DETAIL
    w-1  smollm2:135m  ready  cpu     13   150.0 MB  1h 1m  2
    ");
    let output = keeper.run(&["worker", "list", "--json"]).await.exits(0);
    assert_eq!(json_of(&output.stdout), json!({ "workers": [worker()] }));
}

#[tokio::test]
async fn models_are_listed_and_removed() {
    let model = json!({
        "name": "smollm2:135m", "size_bytes": 98_123_456, "local": true, "path": "/m", "sha256": null,
        "license": "Apache-2.0", "description": "small", "is_approximate": false,
        "memory_bytes": 386_000_000,
    });
    let queen = Queen::start().await;
    let list = json!({ "models": [model] });
    queen.on_job(job_of(&json!(null)));
    queen.on("GET /v1/models/store?hive=b", Reply::Json(200, list.clone()));
    let removed = json!({ "name": "smollm2:135m", "freed_bytes": 98_123_456 });
    queen.on("DELETE /v1/models/store/smollm2:135m", Reply::Json(200, removed.clone()));
    let keeper = Keeper::of(&queen);
    let output = keeper.run(&["model", "list", "--hive", "b"]).await.exits(0);
    assert_snapshot!(output.stdout, @r"
    NAME          SIZE     MEMORY    HERE  LICENCE     DESCRIPTION
    smollm2:135m  98.1 MB  386.0 MB  yes   Apache-2.0  small
    ");
    let output = keeper.run(&["model", "list", "--hive", "b", "--json"]).await.exits(0);
    assert_eq!(json_of(&output.stdout), list);
    let output = keeper.run(&["model", "rm", "smollm2:135m", "--json"]).await.exits(0);
    assert_eq!(json_of(&output.stdout), removed);
    assert_snapshot!(output.stderr, @"[keeper] model_rm: Removed smollm2:135m, 98.1 MB are free again");
    // The hive is made sure of in a job, which tells what it takes.
    let started = queen.requests(JOBS);
    assert_eq!(started[0].body, json!({ "operation": "hive_start", "alias": "b" }));
    assert_eq!(started[2].body, json!({ "operation": "hive_start", "alias": null }));
}

fn model(name: &str, description: &str) -> Value {
    json!({
        "name": name, "size_bytes": 5_030_000_000_u64, "is_approximate": true,
        "memory_bytes": 6_300_000_000_u64, "local": false, "path": null, "sha256": null,
        "license": "Apache-2.0", "description": description,
    })
}

#[tokio::test]
async fn models_are_searched_by_words() {
    let queen = Queen::start().await;
    let list = [model("qwen3:8b", "thinks"), model("gemma3:4b", "Text only")];
    queen.on_job(job_of(&json!(null)));
    queen.on("GET /v1/models/store", Reply::Json(200, json!({ "models": list })));
    let keeper = Keeper::of(&queen);
    let output = keeper.run(&["model", "search", "text", "GEMMA"]).await.exits(0);
    assert_snapshot!(output.stdout, @r"
    NAME       SIZE     MEMORY  HERE  LICENCE     DESCRIPTION
    gemma3:4b  ~5.0 GB  6.3 GB  no    Apache-2.0  Text only
    ");
    let output = keeper.run(&["model", "search", "nothing", "--json"]).await.exits(0);
    assert_eq!(json_of(&output.stdout), json!({ "models": [] }));
    keeper.run(&["model", "search"]).await.exits(2);
}

#[tokio::test]
async fn a_model_is_shown_with_its_settings_and_where_it_is_loaded() {
    let queen = Queen::start().await;
    queen.on_job(job_of(&json!(null)));
    queen.on("GET /v1/models/store/Qwen3-8B", Reply::Json(200, model("qwen3:8b", "thinks")));
    let mut loaded = worker();
    loaded["model"] = json!("qwen3:8b");
    (loaded["active_requests"], loaded["unloads_in_s"]) = (json!(0), json!(240));
    queen.on("GET /v1/workers", Reply::Json(200, json!({ "workers": [loaded] })));
    let keeper = Keeper::of(&queen);
    keeper.write("config.toml", "[model.\"qwen3:8b\"]\ncontext = 4096\n");
    let output = keeper.run(&["model", "show", "Qwen3-8B"]).await.exits(0);
    for line in ["qwen3:8b", "~5.0 GB", "about 6.3 GB", "yes, for 4m 0s more", "4096"] {
        assert!(output.stdout.contains(line), "{line}: {}", output.stdout);
    }
    let output = keeper.run(&["model", "show", "Qwen3-8B", "--json"]).await.exits(0);
    let shown = json_of(&output.stdout);
    assert_eq!(
        (&shown["settings"]["context"], &shown["name"]),
        (&json!("4096"), &json!("qwen3:8b"))
    );
    queen
        .on("GET /v1/models/store/x", Reply::Json(404, queen::error(404, "model_not_found", "no")));
    let output = keeper.run(&["model", "show", "x"]).await.exits(2);
    assert_snapshot!(output.stderr, @r"
    error: no model is called `x`
    hint: `./rbee model list` shows the names
    ");
}

#[tokio::test]
async fn what_is_loaded_is_listed_with_how_long_it_stays() {
    let queen = queen().await;
    let keeper = Keeper::of(&queen);
    let output = keeper.run(&["model", "ps"]).await.exits(0);
    assert_snapshot!(output.stdout, @r"
    NAME          MEMORY    DEVICE  BUSY  UNTIL
    smollm2:135m  150.0 MB  cpu     2     answering
    ");
    let output = Keeper::alone().run(&["model", "ps"]).await.exits(0);
    assert_snapshot!(output.stderr, @"No queen runs, so no model is loaded");
}

#[tokio::test]
async fn a_model_is_unloaded() {
    let queen = queen().await;
    let unloaded = json!({ "name": "m:1b", "was_loaded": true });
    queen.on("POST /v1/models/unload", Reply::Json(200, unloaded.clone()));
    let keeper = Keeper::of(&queen);
    let output = keeper.run(&["model", "unload", "M", "--json"]).await.exits(0);
    assert_eq!(queen.requests("POST /v1/models/unload")[0].body, json!({ "model": "M" }));
    assert_eq!(json_of(&output.stdout), unloaded);
    assert_snapshot!(output.stderr, @"[keeper] model_unload: Unloaded m:1b");
}

#[tokio::test]
async fn settings_of_a_model_are_written_and_unknown_ones_refused() {
    let keeper = Keeper::alone();
    keeper.write("config.toml", "# mine\n[model.\"Writer\"]\ncontext = 1 # few\n");
    let set = ["model", "set", "writer", "context=4096", "pinned=true", "--json"];
    let output = keeper.run(&set).await.exits(0);
    assert_eq!(
        json_of(&output.stdout),
        json!({ "name": "Writer", "set": { "context": "4096", "pinned": "true" }, "unset": [] })
    );
    let file = || std::fs::read_to_string(keeper.home().join("config.toml")).unwrap();
    let written = "# mine\n[model.\"Writer\"]\ncontext = 4096 # few\npinned = true\n";
    assert_eq!(file(), written);
    let output = keeper.run(&["model", "set", "Writer", "contxt=1"]).await.exits(2);
    assert!(
        output.stderr.contains("did you mean `model.\"Writer\".context`?"),
        "{}",
        output.stderr
    );
    keeper.run(&["model", "set", "Writer", "nothing"]).await.exits(2);
    keeper.run(&["model", "set", "Writer"]).await.exits(2);
    let output = keeper.run(&["model", "set", "Writer", "--unset", "system"]).await.exits(2);
    assert!(output.stderr.contains("`system` is not set for `Writer`"), "{}", output.stderr);
    assert_eq!(file(), written);
    keeper.run(&["model", "set", "Writer", "--unset", "pinned"]).await.exits(0);
    assert!(!file().contains("pinned"));
}

#[tokio::test]
async fn management_jobs_name_their_operation_and_print_their_result() {
    for (arguments, body) in [
        (&["hive", "start", "h", "--json"][..], json!({ "operation": "hive_start", "alias": "h" })),
        (
            &["hive", "stop", "--json"],
            json!({ "operation": "hive_stop", "alias": null, "now": false }),
        ),
        (
            &["hive", "stop", "h", "--now", "--json"],
            json!({ "operation": "hive_stop", "alias": "h", "now": true }),
        ),
        (&["hive", "update", "h", "--json"], json!({ "operation": "hive_update", "alias": "h" })),
        (&["hive", "install", "--json"], json!({ "operation": "hive_install", "alias": null })),
        (
            &["hive", "uninstall", "h", "--json"],
            json!({ "operation": "hive_uninstall", "alias": "h", "models": false }),
        ),
        (
            &["model", "pull", "m", "--hive", "h", "--json"],
            json!({ "operation": "model_pull", "hive": "h", "model": "m" }),
        ),
        (
            &["model", "load", "m", "--json"],
            json!({ "operation": "model_load", "hive": null, "model": "m" }),
        ),
        (
            &["model", "load", "m", "--keep-alive", "-1", "--json"],
            json!({ "operation": "model_load", "hive": null, "model": "m", "keep_alive": -1 }),
        ),
    ] {
        let queen = Queen::start().await;
        queen.on_job(job_of(&json!({ "fine": true })));
        let output = Keeper::of(&queen).run(arguments).await.exits(0);
        assert_eq!(queen.requests(JOBS)[0].body, body);
        assert_eq!(json_of(&output.stdout), json!({ "fine": true }));
    }
}

#[tokio::test]
async fn an_update_asks_for_the_whole_chain_and_shows_it() {
    let queen = queen().await;
    queen.on_job(job_of(&hives()));
    let output = Keeper::of(&queen).run(&["update", "--json"]).await.exits(0);
    assert_eq!(queen.requests(JOBS)[0].body, json!({ "operation": "chain_update" }));
    assert_eq!(json_of(&output.stdout)["levels"].as_array().unwrap().len(), 4);
}

#[tokio::test]
async fn an_unknown_alias_names_the_known_ones_before_anything_starts() {
    let keeper = Keeper::alone();
    keeper.write("config.toml", "[[hive]]\nalias = \"my-hive\"\n");
    let output = keeper.run(&["hive", "start", "my-hvie"]).await.exits(2);
    assert_snapshot!(output.stderr, @r"
    error: no hive is called `my-hvie`; did you mean `my-hive`?; configured: `my-hive`
    hint: `./rbee hive list` shows the hives
    ");
    assert!(!keeper.home().join("run").exists());
}

#[tokio::test]
async fn an_alias_that_nobody_configured_comes_with_the_lines_to_add() {
    let keeper = Keeper::alone();
    let home = keeper.home().display().to_string();
    let output = keeper.run(&["hive", "start", "my-hive"]).await.exits(2);
    assert_snapshot!(output.stderr.replace(&home, "HOME"), @r#"
    error: no hive is called `my-hive`; configured: `localhost`
    hint: `./rbee hive list` shows the hives
    hint: `./rbee hive add my-hive` writes this into `HOME/config.toml`:
      [[hive]]
      alias = "my-hive"
      port = 8601
    "#);
}

#[tokio::test]
async fn a_hive_elsewhere_is_written_with_its_host_and_brought_there() {
    let keeper = Keeper::alone();
    keeper.write("config.toml", "[[hive]]\nalias = \"a\"\n");
    keeper.run(&["hive", "add", "gpu-box", "--host", "me@gpu-box"]).await.exits(0);
    let text = std::fs::read_to_string(keeper.home().join("config.toml")).unwrap();
    assert!(text.ends_with("[[hive]]\nalias = \"gpu-box\"\nhost = \"me@gpu-box\"\n"), "{text}");
    let output = keeper.run(&["hive", "add", "b", "--host=-v"]).await.exits(2);
    assert!(output.stderr.contains("what `ssh` calls another machine"), "{}", output.stderr);

    let queen = queen().await;
    let installed =
        json!({ "alias": "gpu-box", "host": "me@gpu-box", "pushed_bytes": 187_000_000_u64 });
    queen.on_job(job_of(&installed));
    let output = Keeper::of(&queen).run(&["hive", "install", "gpu-box"]).await.exits(0);
    let request = json!({ "operation": "hive_install", "alias": "gpu-box" });
    assert_eq!(queen.requests(JOBS)[0].body, request);
    assert!(output.stdout.starts_with("`gpu-box` is on `me@gpu-box`: "), "{}", output.stdout);
    assert!(output.stdout.contains(" brought there"), "{}", output.stdout);
}

#[tokio::test]
async fn hives_are_written_into_the_configuration_and_taken_out_of_it() {
    let keeper = Keeper::alone();
    keeper.write("config.toml", "# mine\n[models]\ndefault = \"m\"\n");
    keeper.run(&["hive", "add", "my-hive"]).await.exits(0);
    let text = || std::fs::read_to_string(keeper.home().join("config.toml")).unwrap();
    assert_snapshot!(text(), @r#"
    # mine
    [models]
    default = "m"

    [[hive]]
    alias = "localhost"
    port = 8600

    [[hive]]
    alias = "my-hive"
    port = 8601
    "#);
    let output = keeper.run(&["hive", "list"]).await.exits(0);
    assert!(output.stdout.contains("my-hive"), "{}", output.stdout);
    let output = keeper.run(&["hive", "add", "my-hive"]).await.exits(2);
    assert_eq!(output.stderr, "error: two hives are called `my-hive` (flag ALIAS)\n");
    let output = keeper.run(&["hive", "add", "b", "--port", "8601"]).await.exits(2);
    assert!(output.stderr.contains("are both 8601"), "{}", output.stderr);

    keeper.run(&["hive", "remove", "localhost"]).await.exits(0);
    assert!(!text().contains("localhost") && text().contains("# mine"), "{}", text());
    keeper.run(&["hive", "remove", "localhost"]).await.exits(2);
    keeper.run(&["hive", "remove", "my-hive"]).await.exits(0);
    let output = keeper.run(&["hive", "remove", "localhost"]).await.exits(2);
    assert!(output.stderr.contains("names no other"), "{}", output.stderr);
}

#[tokio::test]
async fn the_hives_of_somebody_elses_queen_are_not_configured_here() {
    let queen = queen().await;
    let keeper = Keeper::of(&queen);
    keeper.write("config.toml", "[[hive]]\nalias = \"my-hive\"\n");
    // Whose hives these are, the other one's configuration says.
    let output = keeper.run(&["hive", "remove", "my-hive"]).await.exits(2);
    assert!(output.stderr.contains("not this keeper's to configure"), "{}", output.stderr);
    assert!(keeper.run(&["hive", "add", "b"]).await.exits(2).stdout.is_empty());
}

#[tokio::test]
async fn short_words_do_what_the_long_ones_do() {
    for (short, long) in [
        (&["pull", "m", "--json"][..], &["model", "pull", "m", "--json"][..]),
        (&["list"], &["model", "list"]),
        (&["ls", "--json"], &["model", "list", "--json"]),
        (&["rm", "m"], &["model", "rm", "m"]),
        (&["ps"], &["model", "ps"]),
        (&["show", "m"], &["model", "show", "m"]),
        (&["stop", "m"], &["model", "unload", "m"]),
        (&["stop", "m", "--hive", "b"], &["model", "unload", "m", "--hive", "b"]),
        (&["stop"], &["queen", "stop"]),
        (&["stop", "--now"], &["queen", "stop", "--now"]),
        (&["run", "m", "hello", "you"], &["infer", "-m", "m", "hello you"]),
    ] {
        let told = async |arguments| {
            let queen = queen().await;
            queen.on_job(job_of(&json!({ "fine": true })));
            queen.on("GET /v1/models/store", Reply::Json(200, json!({ "models": [] })));
            queen.on("GET /v1/models/store/m", Reply::Json(200, model("m", "thinks")));
            let unloaded = json!({ "name": "m", "was_loaded": true });
            queen.on("POST /v1/models/unload", Reply::Json(200, unloaded));
            let removed = json!({ "name": "m", "freed_bytes": 1 });
            queen.on("DELETE /v1/models/store/m", Reply::Json(200, removed));
            queen.on(queen::CHAT, Reply::Events(queen::answer_of(1, "hi")));
            let keeper = Keeper::of(&queen);
            let output = keeper.run(arguments).await;
            let asked = [JOBS, queen::CHAT, "POST /v1/models/unload"];
            let asked = asked.map(|path| queen.requests(path)).concat();
            let asked: Vec<_> = asked.into_iter().map(|request| request.body).collect();
            (output.stderr_of(&keeper, &queen), output.stdout, output.code, asked)
        };
        assert_eq!(told(short).await, told(long).await, "{short:?}");
    }
}

#[tokio::test]
async fn serve_says_that_the_chain_stays_and_how_it_ends() {
    let queen = queen().await;
    let output = Keeper::of(&queen).run(&["serve"]).await.exits(0);
    assert!(output.stderr.contains("`./rbee stop` ends it"), "{}", output.stderr);
}

#[tokio::test]
async fn a_refused_list_is_told_as_the_queen_tells_it() {
    let queen = Queen::start().await;
    queen.on("GET /health", Reply::Json(200, health("queen-rbee", 11)));
    let refusal = queen::error(401, "unauthorized", "this needs the token");
    queen.on("GET /v1/hives", Reply::Json(401, refusal));
    let output = Keeper::of(&queen).run(&["hive", "list"]).await.exits(1);
    assert_snapshot!(output.stderr, @r"
    error: this needs the token
    hint: the token of this `RBEE_HOME` is not that queen's
    ");
}

#[tokio::test]
async fn a_queen_that_somebody_else_runs_is_not_stopped() {
    let queen = queen().await;
    let keeper = Keeper::of(&queen);
    let output = keeper.run(&["queen", "stop"]).await.exits(2);
    assert_snapshot!(output.stderr_of(&keeper, &queen), @r"
    error: the queen at `http://127.0.0.1:PORT` is not this keeper's to stop
    hint: `queen.url` says that somebody else runs it; stop it there
    ");
}
