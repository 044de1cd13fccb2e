use chain_level::{Metrics, narrate_into};
use http_guard::Peer;
use narration_core::Narration;
use serde_json::Value;

use crate::world::{Reply, World};

const HEALTH: &str = r#"{"status":"ok","role":"rbee-hive","instance_id":"i","pid":7,"start_time":1,"exe_hash":"abc","source_root":null,"version":"0","uptime_s":3}"#;
const WORKERS: &str = r#"{"workers":[{"id":"w","model":"m","kind":"llama_cpp","device":"cpu","state":"ready","active_requests":2,"memory_bytes":9,"detail":null,"health":null}]}"#;
const MODELS: &str = r#"{"models":[]}"#;
const TOLD: &str = "event: narration\ndata: {\"human\":\"a worker is loaded\"}\n\n";

#[tokio::test]
async fn the_page_needs_no_key_and_tells_nothing() {
    let (world, hive) = World::one().await;
    for peer in [Peer::SameUser, Peer::OtherUser { uid: 4242 }, Peer::Unknown] {
        for asset in queen_page::ASSETS {
            let answer = world.ask_as(peer, "GET", asset.path, &[], "").await;
            assert_eq!(
                (answer.status.as_u16(), answer.body),
                (200, asset.body()),
                "{}",
                asset.path
            );
            assert_eq!(answer.headers["x-content-type-options"], "nosniff");
            assert_eq!(answer.headers["cache-control"], "no-cache");
            assert!(answer.headers.contains_key("content-security-policy"));
        }
    }
    assert_eq!(hive.starts(), 0);
}

#[tokio::test]
async fn the_page_is_for_whom_the_listener_is_for() {
    let (world, _) = World::one().await;
    let page = [("origin", "http://evil.example")];
    let answer = world.ask("GET", "/", &page, "").await;
    assert_eq!(answer.refusal(), (403, "origin_not_allowed".into()));
    let frame = [("sec-fetch-site", "cross-site")];
    let answer = world.ask("GET", "/page/main.js", &frame, "").await;
    assert_eq!(answer.refusal(), (403, "site_not_allowed".into()));
    let answer = world.ask("POST", "/", &[], "{}").await;
    assert_eq!(answer.refusal(), (405, "method_not_allowed".into()));
    assert_eq!(world.get("/page/other.js").await.refusal(), (404, "unknown_path".into()));
}

#[tokio::test]
async fn the_page_of_a_name_of_the_queen_s_may_ask_her() {
    let (world, _) = World::one().await;
    for origin in ["http://127.0.0.1:8500", "https://127.0.0.1:8500", "http://localhost:8500"] {
        let page = [("origin", origin), ("sec-fetch-site", "same-origin")];
        assert_eq!(world.ask("GET", "/health", &page, "").await.status, 200, "{origin}");
    }
    for origin in ["https://localhost:8500", "http://127.0.0.1:8501", "null", "127.0.0.1:8500"] {
        let answer = world.ask("GET", "/health", &[("origin", origin)], "").await;
        assert_eq!(answer.refusal(), (403, "origin_not_allowed".into()), "{origin}");
    }
}

#[tokio::test]
async fn what_happens_is_told_to_the_same_user_and_to_who_may_manage() {
    let (world, _) = World::one().await;
    let other = Peer::OtherUser { uid: 4242 };
    let answer = world.ask_as(other, "GET", "/v1/events", &[], "").await;
    assert_eq!(answer.refusal(), (401, "key_missing".into()));
    let made = world.manage("POST", "/v1/keys", r#"{"name":"nas","scope":"chat"}"#).await.json();
    let bearer = format!("Bearer {}", made["key"].as_str().unwrap());
    let key = [("authorization", bearer.as_str())];
    let answer = world.ask_as(other, "GET", "/v1/events", &key, "").await;
    assert_eq!(answer.refusal(), (401, "token_wrong".into()));
}

#[tokio::test]
async fn who_looks_on_is_told_what_is_and_then_what_happens() {
    let (world, hive) = World::one().await;
    hive.runs().on("GET /health", Reply::json(200, HEALTH));
    hive.on("GET /v1/workers", Reply::json(200, WORKERS));
    hive.on("GET /v1/models/store", Reply::json(200, MODELS));
    hive.on("GET /v1/events", Reply::stream(TOLD));
    let mut looking = world.begin("GET", "/v1/events", &[], "").await;
    assert_eq!(looking.answer.headers["content-type"], "text/event-stream");
    looking.says("event: hive\ndata: {\"alias\":\"a\"").await;
    looking.says("\"exe_hash\":\"abc\"").await;
    looking.says(TOLD).await;
    let body = &looking.answer.body;
    let queen = body.split("event: queen\ndata: ").nth(1).unwrap().lines().next().unwrap();
    let queen: Value = serde_json::from_str(queen).unwrap();
    assert_eq!(queen["page"], queen_page::version());
    assert_eq!(queen["health"]["pid"], std::process::id());
    assert!(body.contains("event: hives\ndata: [\"a\"]"), "{body}");
    // A look starts nothing.
    assert_eq!(hive.starts(), 0);
    assert_eq!(
        hive.seen("GET /v1/events")[0].headers["authorization"],
        format!("Bearer {}", world.token)
    );
    // Whoever comes later is told the same.
    let mut second = world.begin("GET", "/v1/events", &[], "").await;
    second.says("\"exe_hash\":\"abc\"").await;

    let narrate = narrate_into(world.jobs.clone(), world.told.clone(), Metrics::default());
    let mut narration = Narration::new("queen", "hive_stop", "stopping `a`");
    narration.job_id = Some("0199f5a0-0000-7000-8000-000000000000".to_owned());
    narrate(narration);
    for looking in [&mut looking, &mut second] {
        looking.says("stopping `a`").await;
        assert!(!looking.answer.body.contains("0199f5a0"), "an id is a right to read");
    }
}

#[tokio::test]
async fn what_is_set_for_models_is_told_by_their_names() {
    let more = "[model.\"a.b:c\"]\ntemperature = 0.5\nsystem = \"Be brief.\"\n";
    let world = World::configured(&["a"], more).await;
    let mut looking = world.begin("GET", "/v1/events", &[], "").await;
    let told =
        "event: settings\ndata: {\"a.b:c\":{\"system\":\"Be brief.\",\"temperature\":\"0.5\"}}";
    looking.says(told).await;
    looking.says("event: leaving\ndata: []").await;
}

#[tokio::test]
async fn requests_under_way_are_named_to_who_may_end_them() {
    let (world, _) = World::one().await;
    let job = world.jobs.create("completion").unwrap();
    job.emitter().about("m");
    job.emit(None, "{}");
    let id = job.id().to_string();
    let bearer = format!("Bearer {}", world.token);
    let mut owner = world.begin("GET", "/v1/events", &[("authorization", &bearer)], "").await;
    let mut user = world.begin("GET", "/v1/events", &[], "").await;
    let told = "\"operation\":\"completion\",\"subject\":\"m\"";
    for (looking, is_named) in [(&mut owner, true), (&mut user, false)] {
        looking.says(told).await;
        assert_eq!(looking.answer.body.contains(&id), is_named, "{}", looking.answer.body);
        assert!(looking.answer.body.contains("\"events\":1"), "{}", looking.answer.body);
    }
    job.complete();
    user.says("event: requests\ndata: []").await;
}
