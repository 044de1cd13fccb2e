//! How long a model stays loaded, and what loads and unloads one.

use std::time::Duration;

use serde_json::{Value, json};

use crate::world::{CHUNKS, World};

const ROUND: Duration = Duration::from_millis(20);
const DEADLINE: Duration = Duration::from_secs(20);

async fn ask(world: &World, model: &str, keep_alive: Value) -> router_client::Answer {
    let bearer = format!("Bearer {}", world.token);
    let body = json!({ "model": model, "stream": true, "keep_alive": keep_alive }).to_string();
    world.ask("POST", "/v1/completions", &[("authorization", &bearer)], &body).await
}

async fn unloads_in(world: &World) -> Value {
    let workers = world.ask("GET", "/v1/workers", &[], "").await.json();
    workers["workers"][0]["unloads_in_s"].clone()
}

async fn has_stopped(world: &World, count: usize) {
    let stopped = async {
        while world.machine.state(|machine| machine.stopped.len()) < count {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, stopped).await.expect("in time");
}

async fn is_stopped(world: &World) {
    tokio::select! {
        () = has_stopped(world, 1) => {}
        never = world.keep_workers(ROUND) => never,
    }
}

#[tokio::test]
async fn a_request_says_how_long_its_model_stays() {
    let world = World::new();
    let model = world.model("a");
    world.complete(&model, false).await;
    assert!((290..=300).contains(&unloads_in(&world).await.as_u64().unwrap()));
    for (keep_alive, seconds) in [(json!("1h"), 3600), (json!(60), 60)] {
        assert_eq!(ask(&world, &model, keep_alive).await.body, CHUNKS);
        let left = unloads_in(&world).await.as_u64().unwrap();
        assert!((seconds - 10..=seconds).contains(&left), "{left}");
        // Who says nothing changes nothing.
        world.complete(&model, false).await;
        assert!(unloads_in(&world).await.as_u64().unwrap().abs_diff(seconds) < 10);
    }
    ask(&world, &model, json!(-1)).await;
    assert_eq!(unloads_in(&world).await, Value::Null);
    ask(&world, &model, json!(0)).await;
    is_stopped(&world).await;
}

#[tokio::test]
async fn what_a_request_said_outlives_worker_and_hive_and_ends_with_the_model() {
    let world = World::new();
    let model = world.model("a");
    ask(&world, &model, json!(-1)).await;
    world.machine.state(|machine| machine.current = false);
    world.complete(&model, true).await;
    has_stopped(&world, 1).await;
    assert_eq!(unloads_in(&world).await, Value::Null);
    world.machine.crash_all();
    world.complete(&model, false).await;
    assert_eq!(unloads_in(&world).await, Value::Null);
    world.machine.crash_all();
    let world = world.with_the_next_hive();
    world.complete(&model, false).await;
    assert_eq!(unloads_in(&world).await, Value::Null);
    let body = json!({ "model": model }).to_string();
    world.manage("POST", "/v1/models/unload", &body).await;
    world.complete(&model, false).await;
    assert!(unloads_in(&world).await.is_u64());
}

#[tokio::test]
async fn a_time_that_is_none_is_refused_by_name() {
    let world = World::new();
    let model = world.model("a");
    for wrong in [json!("soon"), json!([]), json!(true)] {
        let answer = ask(&world, &model, wrong).await;
        assert_eq!(answer.json()["error"]["param"], "keep_alive");
        assert_eq!(answer.refusal(), (400, "invalid_value".into()));
    }
    assert!(world.machine.state(|machine| machine.spawned.is_empty()));
}

#[tokio::test]
async fn the_configuration_says_it_for_a_model() {
    let world = World::configured(|home| {
        let source = home.join("a.gguf").display().to_string();
        format!("[model.\"a\"]\nsource = \"{source}\"\nkeep_alive = \"0s\"\n")
    });
    world.model("a");
    assert_eq!(world.complete("a", false).await.body, CHUNKS);
    is_stopped(&world).await;
}

#[tokio::test]
async fn a_model_is_loaded_and_unloaded_by_name() {
    let world = World::new();
    let model = world.model("a");
    let body = json!({ "model": model, "keep_alive": "1h" }).to_string();
    let loaded = world.manage("POST", "/v1/models/load", &body).await;
    assert!(loaded.body.ends_with("data: {\"state\":\"completed\"}\n\n"), "{loaded:?}");
    assert!(unloads_in(&world).await.as_u64().unwrap() > 3500);
    assert_eq!(world.machine.state(|machine| machine.spawned.len()), 1);
    let body = json!({ "model": model }).to_string();
    for was_loaded in [true, false] {
        let unloaded = world.manage("POST", "/v1/models/unload", &body).await.json();
        assert_eq!(unloaded, json!({ "name": model, "was_loaded": was_loaded }));
    }
    is_stopped(&world).await;
}

#[tokio::test]
async fn loading_what_is_not_there_and_unloading_what_is_no_name_are_refused() {
    let world = World::new();
    let loaded = world.manage("POST", "/v1/models/load", r#"{"model":"nothing"}"#).await;
    assert!(loaded.body.contains("model_not_found"), "{loaded:?}");
    let unloaded = world.manage("POST", "/v1/models/unload", r#"{"model":"nothing"}"#).await;
    assert_eq!(unloaded.refusal(), (404, "model_not_found".into()));
}

#[tokio::test]
async fn an_unloaded_model_finishes_what_it_has() {
    let world = World::new();
    let model = world.model("a");
    let slow = async { world.ask_for(&model, "slow").await.end().await };
    let unload = async {
        world.machine.has(1).await;
        let body = json!({ "model": model }).to_string();
        let unloaded = world.manage("POST", "/v1/models/unload", &body).await.json();
        assert_eq!(unloaded["was_loaded"], true);
        world.machine.release();
    };
    let (slow, ()) = tokio::join!(slow, unload);
    assert!(!slow.cut && slow.body.contains("[DONE]"), "{slow:?}");
}

#[tokio::test]
async fn what_is_to_be_there_from_the_start_is_loaded_without_a_request() {
    let world = World::configured(|home| {
        let source = home.join("a.gguf").display().to_string();
        format!("[model.\"a\"]\nsource = \"{source}\"\npreload = true\n")
    });
    world.model("a");
    let loaded = async {
        while world.machine.state(|machine| machine.spawned.is_empty()) {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        loaded = tokio::time::timeout(DEADLINE, loaded) => loaded.expect("in time"),
        never = world.keep_workers(ROUND) => never,
    }
}

#[tokio::test]
async fn every_name_of_a_model_is_one_worker() {
    let world = World::configured(|home| {
        let source = home.join("a.gguf").display().to_string();
        format!("[model.\"Mine\"]\nsource = \"{source}\"\naliases = [\"gpt-4o\", \"x\"]\n")
    });
    world.model("a");
    for name in ["Mine", "mine", "gpt-4o", "GPT-4O", "x"] {
        assert_eq!(world.complete(name, false).await.body, CHUNKS, "{name}");
    }
    assert_eq!(world.machine.state(|machine| machine.spawned.len()), 1);
    let shown = world.ask("GET", "/v1/models/store/gpt-4o", &[], "").await.json();
    assert_eq!((&shown["name"], &shown["local"]), (&json!("Mine"), &json!(true)));
    assert!(shown["memory_bytes"].as_u64().unwrap() > shown["size_bytes"].as_u64().unwrap());
    let catalogue = world.ask("GET", "/v1/models/store/Qwen3-8B", &[], "").await.json();
    assert_eq!((&catalogue["name"], &catalogue["local"]), (&json!("qwen3:8b"), &json!(false)));
    let unknown = world.ask("GET", "/v1/models/store/hf:a%2Fb", &[], "").await;
    assert_eq!(unknown.refusal(), (404, "model_not_found".into()));
}
