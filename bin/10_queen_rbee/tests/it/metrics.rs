//! What the queen counts, and how a request is followed through logs.

use axum::http::StatusCode;
use http_guard::Peer;

use crate::world::{CHUNKS, Reply, World};

const CHAT: &str = "POST /v1/chat/completions";
const PATH: &str = "/v1/chat/completions";
const STREAM: &str = r#"{"model":"m","stream":true}"#;
const OTHER: Peer = Peer::OtherUser { uid: 4242 };

/// The value of the line that begins so.
fn value(text: &str, line: &str) -> f64 {
    let rest = text.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(' '));
    rest.unwrap_or_else(|| panic!("no `{line}` in {text}")).parse().unwrap()
}

#[tokio::test]
async fn requests_tokens_and_hives_are_counted() {
    let (world, hive) = World::one().await;
    let piece = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n";
    let end = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}],\"timings\":{\"cache_n\":2,\
               \"prompt_n\":5,\"predicted_n\":3}}\n\ndata: [DONE]\n\n";
    hive.on(CHAT, Reply::stream(&format!("{piece}{piece}{piece}{end}")));
    let usage = r#"{"usage":{"prompt_tokens":7,"completion_tokens":4}}"#;
    hive.on("POST /v1/completions", Reply::json(200, usage));
    world.post(PATH, &[], STREAM).await;
    world.post("/v1/completions", &[], r#"{"model":"m"}"#).await;
    let answer = world.get("/metrics").await;
    assert_eq!(answer.status, StatusCode::OK);
    let kind = answer.headers["content-type"].to_str().unwrap();
    assert!(kind.starts_with("application/openmetrics-text"), "{kind}");
    let text = answer.body;
    assert!(text.ends_with("# EOF\n"), "{text}");
    for (line, wanted) in [
        (r#"rbee_requests_total{endpoint="/v1/chat/completions",outcome="completed"}"#, 1.0),
        (r#"rbee_requests_total{endpoint="/v1/completions",outcome="completed"}"#, 1.0),
        (r#"rbee_prompt_tokens_total{model="m"}"#, 14.0),
        (r#"rbee_prompt_tokens_cached_total{model="m"}"#, 2.0),
        (r#"rbee_generation_tokens_total{model="m"}"#, 7.0),
        (r#"rbee_time_to_first_token_seconds_count{model="m"}"#, 1.0),
        (r#"rbee_inter_token_latency_seconds_count{model="m"}"#, 2.0),
        (r#"rbee_e2e_request_latency_seconds_count{model="m"}"#, 2.0),
        (r#"rbee_starts_total{level="hive",name="a"}"#, 1.0),
        ("rbee_num_requests_running", 0.0),
        ("rbee_num_requests_waiting", 0.0),
    ] {
        assert_eq!(value(&text, line), wanted, "{line} in {text}");
    }
}

#[tokio::test]
async fn a_failure_is_counted_by_its_code_and_keeps_nothing_of_the_model_s_name() {
    let (world, hive) = World::one().await;
    let refusal = r#"{"error":{"message":"no","type":"t","code":"model_not_found"}}"#;
    hive.on(CHAT, Reply::json(404, refusal));
    world.post(PATH, &[], r#"{"model":"a name from somewhere","stream":true}"#).await;
    let text = world.get("/metrics").await.body;
    let line = r#"rbee_requests_total{endpoint="/v1/chat/completions",outcome="model_not_found"}"#;
    assert_eq!(value(&text, line), 1.0);
    assert!(!text.contains("a name from somewhere"), "{text}");
    let (world, hive) = World::one().await;
    hive.cannot_start();
    world.post(PATH, &[], STREAM).await;
    let text = world.get("/metrics").await.body;
    let line = r#"rbee_replacements_total{level="hive",outcome="failed"}"#;
    assert!(value(&text, line) >= 1.0, "{text}");
}

#[tokio::test]
async fn a_request_without_an_answer_waits_and_one_that_is_left_is_cancelled() {
    let (world, hive) = World::one().await;
    hive.on(CHAT, Reply::stream(CHUNKS));
    world.post(PATH, &[], STREAM).await;
    hive.hangs();
    {
        let mut asked = std::pin::pin!(world.post(PATH, &[], STREAM));
        tokio::select! {
            answer = &mut asked => panic!("{answer:?}"),
            () = hive.has_seen(CHAT, 2) => {}
        }
        let text = world.get("/metrics").await.body;
        assert_eq!(value(&text, "rbee_num_requests_waiting"), 1.0);
    }
    let line = r#"rbee_requests_total{endpoint="/v1/chat/completions",outcome="cancelled"}"#;
    let counted = async {
        while !world.get("/metrics").await.body.contains(line) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), counted).await.expect("it is counted");
    assert_eq!(value(&world.get("/metrics").await.body, "rbee_num_requests_waiting"), 0.0);
}

#[tokio::test]
async fn counts_are_for_the_same_user_and_who_may_manage() {
    let (world, _) = World::one().await;
    let answer = world.ask_as(OTHER, "GET", "/metrics", &[], "").await;
    assert_eq!(answer.refusal(), (401, "key_missing".into()));
    for (scope, status) in [("chat", 401), ("manage", 200)] {
        let body = format!(r#"{{"name":"{scope}","scope":"{scope}"}}"#);
        let made = world.manage("POST", "/v1/keys", &body).await.json();
        let bearer = format!("Bearer {}", made["key"].as_str().unwrap());
        let key = [("authorization", bearer.as_str())];
        let answer = world.ask_as(OTHER, "GET", "/metrics", &key, "").await;
        assert_eq!(answer.status, status, "{scope}: {answer:?}");
    }
}

#[tokio::test]
async fn a_request_s_id_goes_down_to_the_hive_and_back_to_the_client() {
    let (world, hive) = World::one().await;
    hive.on(CHAT, Reply::stream(CHUNKS));
    hive.on("GET /props", Reply::json(200, "{}"));
    let answer = world.post(PATH, &[("x-request-id", "req-7")], STREAM).await;
    assert_eq!(answer.headers["x-request-id"], "req-7");
    assert_eq!(hive.seen(CHAT)[0].headers["x-request-id"], "req-7");
    let answer = world.ask("GET", "/props", &[("x-request-id", "req-8")], "").await;
    assert_eq!(answer.headers["x-request-id"], "req-8");
    assert_eq!(hive.seen("GET /props")[0].headers["x-request-id"], "req-8");
    // Who has none gets one, for a refusal too.
    let answer = world.post(PATH, &[], STREAM).await;
    assert_eq!(answer.headers["x-request-id"], hive.seen(CHAT)[1].headers["x-request-id"]);
    let (one, other) = (world.get("/v1/nothing").await, world.get("/v1/nothing").await);
    assert_ne!(one.headers["x-request-id"], other.headers["x-request-id"]);
}

#[tokio::test]
async fn what_had_no_effect_at_the_worker_is_told_in_a_header() {
    let (world, hive) = World::one().await;
    let told = format!("event: ignored\ndata: \"ardour, zeal\"\n\n{CHUNKS}");
    hive.on(CHAT, Reply::stream(&told));
    let answer = world.post(PATH, &[], STREAM).await;
    assert_eq!(answer.headers["x-rbee-ignored"], "ardour, zeal");
    assert_eq!(answer.body, CHUNKS);
    let answer = world.post(PATH, &[("x-rbee-events", "1")], STREAM).await;
    assert!(answer.body.contains("event: ignored\ndata: \"ardour, zeal\"\n"), "{answer:?}");
}
