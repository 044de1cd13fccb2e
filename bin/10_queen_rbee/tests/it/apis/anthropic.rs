use rbee_api::paths::{MESSAGES, MESSAGES_COUNT};
use serde_json::json;

use super::{CHAT, half_a_stream, sent, stream, whole};
use crate::world::{Reply, World};

const STREAM: &str =
    r#"{"model":"m","max_tokens":5,"stream":true,"messages":[{"role":"user","content":"Hi"}]}"#;
const WHOLE: &str = r#"{"model":"m","max_tokens":5,"messages":[{"role":"user","content":"Hi"}]}"#;

#[tokio::test]
async fn a_stream_is_anthropic_s_and_belongs_to_a_job() {
    let (world, hive) = World::one().await;
    hive.on(CHAT, stream(&["Hel", "lo"]));
    let answer = world.post(MESSAGES, &[("anthropic-version", "2023-06-01")], STREAM).await;
    assert_eq!((answer.status.as_u16(), answer.cut), (200, false), "{answer:?}");
    assert_eq!(answer.headers["content-type"], "text/event-stream");
    let names: Vec<_> =
        answer.body.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
    assert_eq!(
        names,
        [
            "message_start",
            "content_block_start",
            "content_block_delta",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop"
        ]
    );
    assert_eq!(
        sent(&hive, CHAT),
        json!({ "model": "m", "max_tokens": 5, "stream": true,
                "stream_options": { "include_usage": true },
                "messages": [{ "role": "user", "content": "Hi" }] })
    );
    let job = format!("/v1/jobs/{}/stream", answer.headers["x-rbee-job"].to_str().unwrap());
    assert!(
        world.get(&job).await.body.contains("data: [DONE]"),
        "it is a completion like any other"
    );
}

#[tokio::test]
async fn a_whole_answer_is_one_message() {
    let (world, hive) = World::one().await;
    hive.on(CHAT, whole("Hello"));
    let answer = world.post(MESSAGES, &[], WHOLE).await;
    assert_eq!(answer.headers["content-type"], "application/json");
    let message = answer.json();
    assert_eq!(message["content"], json!([{ "type": "text", "text": "Hello", "citations": null }]));
    assert_eq!(message["stop_reason"], "end_turn");
    assert_eq!(message["usage"]["output_tokens"], 2);
}

#[tokio::test]
async fn a_refusal_of_the_hive_keeps_its_status_in_anthropic_s_shape() {
    for (status, kind) in [
        (404, "not_found_error"),
        (429, "rate_limit_error"),
        (503, "api_error"),
        (400, "invalid_request_error"),
    ] {
        for body in [STREAM, WHOLE] {
            let (world, hive) = World::one().await;
            let refusal = r#"{"error":{"message":"no","type":"t","code":"c"}}"#;
            hive.on(CHAT, Reply::json(status, refusal));
            let answer = world.post(MESSAGES, &[], body).await;
            assert_eq!(answer.status, status, "{answer:?}");
            let told = json!({ "type": "error", "error": { "type": kind, "message": "no" } });
            assert_eq!(answer.json(), told);
            assert!(answer.headers.contains_key("x-rbee-job"));
        }
    }
}

#[tokio::test]
async fn half_an_answer_ends_with_an_error_and_is_cut_off() {
    let (world, hive) = World::one().await;
    hive.on(CHAT, half_a_stream());
    let answer = world.post(MESSAGES, &[], STREAM).await;
    assert!(answer.cut && answer.body.contains("event: error\n"), "{answer:?}");
    assert!(!answer.body.contains("message_stop"));
}

#[tokio::test]
async fn an_answer_that_is_none_is_a_bad_gateway_in_either_form() {
    let (world, hive) = World::one().await;
    hive.on(CHAT, Reply::json(200, "[]"));
    assert_eq!(world.post(MESSAGES, &[], WHOLE).await.status, 502);
    hive.only(CHAT, Reply::stream("data: [1]\n\ndata: [DONE]\n\n"));
    let answer = world.post(MESSAGES, &[], STREAM).await;
    assert!(answer.cut && answer.body.contains("event: error\n"), "{answer:?}");
}

#[tokio::test]
async fn an_older_version_is_refused() {
    let (world, hive) = World::one().await;
    let answer = world.post(MESSAGES, &[("anthropic-version", "2023-01-01")], WHOLE).await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.json()["error"]["type"], "invalid_request_error");
    assert_eq!(hive.starts(), 0);
}

#[tokio::test]
async fn what_has_no_effect_is_listed() {
    let (world, hive) = World::one().await;
    hive.on(CHAT, whole("Hello"));
    assert!(!world.post(MESSAGES, &[], WHOLE).await.headers.contains_key("x-rbee-ignored"));
    let body = WHOLE.replacen('{', r#"{"speed":"fast","b\u00e9e\n":1,"#, 1);
    let answer = world.post(MESSAGES, &[], &body).await;
    assert_eq!(answer.headers["x-rbee-ignored"], r"b\u{e9}e\n, speed");
}

#[tokio::test]
async fn models_are_listed_in_anthropic_s_form_for_its_clients() {
    let (world, hive) = World::one().await;
    let model = json!({ "name": "m", "size_bytes": 9, "local": true, "path": "/x", "sha256": null,
                        "license": null, "description": null });
    hive.on("GET /v1/models/store", Reply::json(200, &json!({ "models": [model] }).to_string()));
    let version = [("anthropic-version", "2023-06-01")];
    let listed = world.ask("GET", "/v1/models", &version, "").await.json();
    assert_eq!(
        (&listed["data"][0]["type"], &listed["data"][0]["id"]),
        (&json!("model"), &json!("m"))
    );
    assert_eq!((&listed["first_id"], &listed["has_more"]), (&json!("m"), &json!(false)));
    assert_eq!(world.get("/v1/models").await.json()["object"], "list");
}

#[tokio::test]
async fn tokens_are_counted_by_the_model_s_worker() {
    let (world, hive) = World::one().await;
    hive.on("POST /tokenize", Reply::json(200, r#"{"tokens":[1,2,3],"count":3}"#));
    let body = r#"{"model":"m","messages":[{"role":"user","content":"Hi"}]}"#;
    let answer = world.post(MESSAGES_COUNT, &[], body).await;
    assert_eq!(answer.json(), json!({ "input_tokens": 3 }));
    assert_eq!(sent(&hive, "POST /tokenize")["messages"][0]["content"], "Hi");
    hive.only("POST /tokenize", Reply::json(200, "[]"));
    assert_eq!(world.post(MESSAGES_COUNT, &[], body).await.status, 502);
}
