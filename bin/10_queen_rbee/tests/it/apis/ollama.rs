use rbee_api::paths::{
    OLLAMA_CHAT, OLLAMA_COPY, OLLAMA_DELETE, OLLAMA_EMBED, OLLAMA_EMBEDDINGS, OLLAMA_GENERATE,
    OLLAMA_PS, OLLAMA_PULL, OLLAMA_SHOW, OLLAMA_TAGS, OLLAMA_VERSION,
};
use serde_json::{Value, json};

use super::{CHAT, half_a_stream, sent, stream, whole};
use crate::world::{Reply, World};

const STREAM: &str = r#"{"model":"m","messages":[{"role":"user","content":"Hi"}]}"#;
const WHOLE: &str = r#"{"model":"m","stream":false,"messages":[{"role":"user","content":"Hi"}]}"#;
const MODELS: &str = "GET /v1/models/store";
const PULL: &str = "POST /v1/models/pull";

fn models() -> Reply {
    let model = |name: &str, local: bool| {
        json!({ "name": name, "size_bytes": 9, "local": local, "path": "/x/a.gguf", "sha256": null,
                "license": "MIT", "description": null })
    };
    let list = json!({ "models": [model("Here:1b", true), model("far:1b", false)] });
    Reply::json(200, &list.to_string())
}

#[track_caller]
fn lines(body: &str) -> Vec<Value> {
    body.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn a_stream_is_lines_of_json_and_belongs_to_a_job() {
    let (world, hive) = World::one().await;
    hive.on(CHAT, stream(&["Hel", "lo"]));
    let answer = world.post(OLLAMA_CHAT, &[], STREAM).await;
    assert_eq!((answer.status.as_u16(), answer.cut), (200, false), "{answer:?}");
    assert_eq!(answer.headers["content-type"], "application/x-ndjson");
    assert!(answer.headers.contains_key("x-rbee-job"));
    let lines = lines(&answer.body);
    let said: Vec<_> = lines.iter().map(|line| &line["message"]["content"]).collect();
    assert_eq!(said, ["Hel", "lo", ""]);
    assert_eq!((&lines[1]["done"], &lines[2]["done"]), (&json!(false), &json!(true)));
    assert_eq!(sent(&hive, CHAT)["stream_options"], json!({ "include_usage": true }));
}

#[tokio::test]
async fn a_whole_answer_is_one_object() {
    let (world, hive) = World::one().await;
    hive.on(CHAT, whole("Hello"));
    let answer = world.post(OLLAMA_CHAT, &[], WHOLE).await;
    assert_eq!(answer.headers["content-type"], "application/json");
    assert_eq!(answer.json()["message"]["content"], "Hello");
    let answer =
        world.post(OLLAMA_GENERATE, &[], r#"{"model":"m","prompt":"Hi","stream":false}"#).await;
    assert_eq!(
        (&answer.json()["response"], &answer.json()["done"]),
        (&json!("Hello"), &json!(true))
    );
}

#[tokio::test]
async fn raw_prompts_are_plain_completions() {
    let (world, hive) = World::one().await;
    let body = json!({ "choices": [{ "text": "Hello", "finish_reason": "stop" }] });
    hive.on("POST /v1/completions", Reply::json(200, &body.to_string()));
    let asked = r#"{"model":"m","prompt":"Hi","stream":false,"raw":true}"#;
    assert_eq!(world.post(OLLAMA_GENERATE, &[], asked).await.json()["response"], "Hello");
}

#[tokio::test]
async fn a_refusal_is_ollama_s_error_with_its_status() {
    for body in [STREAM, WHOLE] {
        let (world, hive) = World::one().await;
        let refusal =
            r#"{"error":{"message":"no such model","type":"t","code":"model_not_found"}}"#;
        hive.on(CHAT, Reply::json(404, refusal));
        let answer = world.post(OLLAMA_CHAT, &[], body).await;
        assert_eq!(answer.status, 404);
        assert_eq!(answer.json(), json!({ "error": "no such model" }));
    }
}

#[tokio::test]
async fn half_an_answer_ends_with_an_error_and_is_cut_off() {
    let (world, hive) = World::one().await;
    hive.on(CHAT, half_a_stream());
    let answer = world.post(OLLAMA_CHAT, &[], STREAM).await;
    assert!(answer.cut, "{answer:?}");
    let lines = lines(&answer.body);
    assert_eq!(lines[0]["message"]["content"], "Hel");
    assert!(lines[1]["error"].is_string() && lines.len() == 2, "{lines:?}");
}

#[tokio::test]
async fn the_version_and_the_models_are_told() {
    let (world, hive) = World::one().await;
    hive.on(MODELS, models());
    let version = world.get(OLLAMA_VERSION).await.json();
    assert!(version["version"].as_str().unwrap().split('.').count() == 3, "{version}");
    let tags = world.get(OLLAMA_TAGS).await.json();
    assert_eq!(tags["models"].as_array().unwrap().len(), 1);
    assert_eq!(tags["models"][0]["name"], "Here:1b");
    let shown = world.post(OLLAMA_SHOW, &[], r#"{"model":"here:1B"}"#).await;
    assert_eq!(shown.json()["license"], "MIT");
    let unknown = world.post(OLLAMA_SHOW, &[], r#"{"model":"none"}"#).await;
    assert_eq!(unknown.status, 404);
    assert!(unknown.json()["error"].as_str().unwrap().contains("none"));
}

#[tokio::test]
async fn what_is_loaded_is_told() {
    let (world, hive) = World::one().await;
    let worker = json!({ "id": "w", "model": "m", "kind": "llama_cpp", "device": "cpu", "state": "ready",
        "active_requests": 0, "memory_bytes": 5, "detail": null, "health": null });
    hive.runs();
    hive.on("GET /health", Reply::json(200, &crate::hung::health("ok")));
    hive.on("GET /v1/workers", Reply::json(200, &json!({ "workers": [worker] }).to_string()));
    let loaded = world.get(OLLAMA_PS).await.json();
    assert_eq!(
        (&loaded["models"][0]["name"], &loaded["models"][0]["size"]),
        (&json!("m"), &json!(5))
    );
}

#[tokio::test]
async fn a_request_that_keeps_nothing_unloads_the_model_in_the_hives_that_run() {
    let (world, hive) = World::one().await;
    let body = r#"{"model":"m","messages":[],"keep_alive":0}"#;
    // Nothing is started in order to stop something.
    let answer = world.post(OLLAMA_CHAT, &[], body).await.json();
    assert_eq!((&answer["done_reason"], hive.starts()), (&json!("unload"), 0));
    hive.runs();
    let unloaded = r#"{"name":"m","was_loaded":true}"#;
    hive.on("POST /v1/models/unload", Reply::json(200, unloaded));
    let body = r#"{"model":"m","keep_alive":0}"#;
    let answer = world.post(OLLAMA_GENERATE, &[], body).await.json();
    assert_eq!((&answer["done_reason"], &answer["response"]), (&json!("unload"), &json!("")));
    assert_eq!(sent(&hive, "POST /v1/models/unload"), json!({ "model": "m" }));
}

#[tokio::test]
async fn how_long_a_model_stays_goes_to_the_hive_with_the_request() {
    let (world, hive) = World::one().await;
    hive.on(CHAT, whole("Hello"));
    let body = r#"{"model":"m","stream":false,"keep_alive":"1m","messages":[{"role":"user","content":"Hi"}]}"#;
    assert_eq!(world.post(OLLAMA_CHAT, &[], body).await.status, 200);
    assert_eq!(sent(&hive, CHAT)["keep_alive"], json!(60.0));
}

#[tokio::test]
async fn a_copy_is_a_name_in_the_configuration_and_is_deleted_from_there() {
    let (world, hive) = World::one().await;
    let model = json!({ "name": "m:1b", "size_bytes": 9, "local": true, "path": "/x", "sha256": null,
                        "license": null, "description": null });
    hive.on("GET /v1/models/store/m", Reply::json(200, &model.to_string()));
    let none = r#"{"error":{"message":"none","type":"t","code":"model_not_found"}}"#;
    hive.on("GET /v1/models/store/mine", Reply::json(404, none));
    let body = r#"{"source":"m","destination":"mine"}"#;
    assert_eq!(world.post(OLLAMA_COPY, &[], body).await.status, 401);
    let copied = world.manage("POST", OLLAMA_COPY, body).await;
    assert_eq!(copied.status, 200, "{copied:?}");
    let file = || std::fs::read_to_string(world.home().join("config.toml")).unwrap();
    assert!(file().contains("[model.mine]\nsource = \"m:1b\"\n"), "{}", file());

    let body = r#"{"model":"mine"}"#;
    assert_eq!(world.ask("DELETE", OLLAMA_DELETE, &[], body).await.status, 401);
    assert_eq!(world.manage("DELETE", OLLAMA_DELETE, body).await.status, 200);
    assert!(!file().contains("mine"), "{}", file());
    // What is no second name is the hive's to remove.
    let removed = r#"{"name":"m:1b","freed_bytes":9}"#;
    hive.on("DELETE /v1/models/store/m:1b", Reply::json(200, removed));
    assert_eq!(world.manage("DELETE", OLLAMA_DELETE, r#"{"name":"m:1b"}"#).await.status, 200);
    assert_eq!(hive.seen("DELETE /v1/models/store/m:1b").len(), 1);
}

#[tokio::test]
async fn a_copy_takes_no_name_that_there_is_and_is_of_nothing_unknown() {
    let (world, hive) = World::one().await;
    let model = json!({ "name": "m:1b", "size_bytes": 9, "local": true, "path": "/x", "sha256": null,
                        "license": null, "description": null });
    hive.on("GET /v1/models/store/m", Reply::json(200, &model.to_string()));
    let taken = world.manage("POST", OLLAMA_COPY, r#"{"source":"m","destination":"m"}"#).await;
    assert_eq!(taken.status, 400);
    assert!(taken.json()["error"].as_str().unwrap().contains("`m:1b` already"), "{taken:?}");
    let none = r#"{"error":{"message":"none","type":"t","code":"model_not_found"}}"#;
    hive.on("GET /v1/models/store/x", Reply::json(404, none));
    let unknown = world.manage("POST", OLLAMA_COPY, r#"{"source":"x","destination":"y"}"#).await;
    assert_eq!(unknown.status, 404);
}

#[tokio::test]
async fn a_pull_is_for_who_may_manage_and_tells_its_progress() {
    let (world, hive) = World::one().await;
    let answer = world.post(OLLAMA_PULL, &[], r#"{"model":"m"}"#).await;
    assert_eq!(answer.status, 401, "{answer:?}");
    assert!(answer.json()["error"].is_string());
    assert_eq!(hive.starts(), 0);
    let events = "event: narration\ndata: {\"human\":\"getting `m`\"}\n\n\
                  event: progress\ndata: {\"target\":\"m\",\"done_bytes\":1,\"total_bytes\":2}\n\n\
                  event: result\ndata: {}\n\nevent: end\ndata: {\"state\":\"completed\"}\n\n";
    hive.on(PULL, Reply::stream(events));
    let answer = world.manage("POST", OLLAMA_PULL, r#"{"name":"m"}"#).await;
    let told = lines(&answer.body);
    assert!(told.contains(&json!({ "status": "getting `m`" })), "{told:?}");
    assert_eq!(
        told[told.len() - 2],
        json!({ "status": "pulling m", "digest": "m", "total": 2, "completed": 1 })
    );
    assert_eq!(told[told.len() - 1], json!({ "status": "success" }));
    let answer = world.manage("POST", OLLAMA_PULL, r#"{"model":"m","stream":false}"#).await;
    assert_eq!(answer.json(), json!({ "status": "success" }));
    assert_eq!(sent(&hive, PULL), json!({ "model": "m" }));
}

#[tokio::test]
async fn a_pull_that_fails_says_why_in_either_form() {
    let failed = "event: error\ndata: {\"error\":{\"message\":\"no such model\",\"type\":\"t\",\
                  \"code\":\"model_not_found\",\"status\":404}}\n\n\
                  event: end\ndata: {\"state\":\"failed\"}\n\n";
    let told = "event: narration\ndata: {\"human\":\"getting `m`\"}\n\n";
    let (world, hive) = World::one().await;
    hive.on(PULL, Reply::stream(&format!("{told}{failed}")));
    let answer = world.manage("POST", OLLAMA_PULL, r#"{"model":"m"}"#).await;
    assert!(answer.cut);
    assert_eq!(lines(&answer.body).pop().unwrap(), json!({ "error": "no such model" }));
    // Where nothing has been told yet it has a status of its own.
    let (world, hive) = World::one().await;
    hive.on(PULL, Reply::stream(failed));
    let answer = world.manage("POST", OLLAMA_PULL, r#"{"model":"m"}"#).await;
    assert_eq!((answer.status.as_u16(), answer.json()), (404, json!({ "error": "no such model" })));
    let answer = world.manage("POST", OLLAMA_PULL, r#"{"model":"m","stream":false}"#).await;
    assert_eq!((answer.status.as_u16(), answer.json()), (404, json!({ "error": "no such model" })));
}

#[tokio::test]
async fn vectors_are_made_by_the_model_s_worker() {
    let (world, hive) = World::one().await;
    let made = r#"{"data":[{"embedding":[0.5,1]}],"usage":{"prompt_tokens":2}}"#;
    hive.on("POST /v1/embeddings", Reply::json(200, made));
    let vectors = world.post(OLLAMA_EMBED, &[], r#"{"model":"m","input":"a"}"#).await.json();
    assert_eq!((&vectors["embeddings"], &vectors["model"]), (&json!([[0.5, 1]]), &json!("m")));
    let one = world.post(OLLAMA_EMBEDDINGS, &[], r#"{"model":"m","prompt":"a"}"#).await.json();
    assert_eq!(one, json!({ "embedding": [0.5, 1] }));
    assert_eq!(sent(&hive, "POST /v1/embeddings")["input"], "a");
}
