//! What OpenAI's API has beside completions.

use rbee_api::paths::{OTHER_SPELLINGS, RESPONSES};
use serde_json::{Value, json};

use super::{CHAT, half_a_stream, sent, stream, whole};
use crate::world::{Reply, World};

const STREAM: &str = r#"{"model":"m","stream":true,"input":"Hi"}"#;
const WHOLE: &str = r#"{"model":"m","input":"Hi"}"#;

#[tokio::test]
async fn a_response_is_streamed_and_belongs_to_a_job() {
    let (world, hive) = World::one().await;
    hive.on(CHAT, stream(&["Hel", "lo"]));
    let answer = world.post(RESPONSES, &[], STREAM).await;
    assert_eq!((answer.status.as_u16(), answer.cut), (200, false), "{answer:?}");
    assert!(answer.headers.contains_key("x-rbee-job"));
    let names: Vec<_> =
        answer.body.lines().filter_map(|line| line.strip_prefix("event: response.")).collect();
    assert_eq!(
        names,
        [
            "created",
            "in_progress",
            "output_item.added",
            "content_part.added",
            "output_text.delta",
            "output_text.delta",
            "output_text.done",
            "content_part.done",
            "output_item.done",
            "completed"
        ]
    );
    assert_eq!(sent(&hive, CHAT)["messages"], json!([{ "role": "user", "content": "Hi" }]));
}

#[tokio::test]
async fn a_whole_response_is_one_object() {
    let (world, hive) = World::one().await;
    hive.on(CHAT, whole("Hello"));
    let response = world.post(RESPONSES, &[], WHOLE).await.json();
    assert_eq!(response["object"], "response");
    assert_eq!(response["output"][0]["content"][0]["text"], "Hello");
}

#[tokio::test]
async fn a_refusal_is_openai_s_with_its_status_and_the_member_at_fault() {
    for body in [STREAM, WHOLE] {
        let (world, hive) = World::one().await;
        let refusal = r#"{"error":{"message":"no","type":"t","code":"model_not_found"}}"#;
        hive.on(CHAT, Reply::json(404, refusal));
        let answer = world.post(RESPONSES, &[], body).await;
        assert_eq!(answer.refusal(), (404, "model_not_found".into()));
    }
    let (world, hive) = World::one().await;
    let kept = WHOLE.replacen('{', r#"{"previous_response_id":"resp_1","#, 1);
    let answer = world.post(RESPONSES, &[], &kept).await;
    assert_eq!(answer.refusal(), (400, "unsupported_parameter".into()));
    assert_eq!(answer.json()["error"]["param"], "previous_response_id");
    assert_eq!(hive.starts(), 0);
}

#[tokio::test]
async fn half_a_response_has_failed_and_is_cut_off() {
    let (world, hive) = World::one().await;
    hive.on(CHAT, half_a_stream());
    let answer = world.post(RESPONSES, &[], STREAM).await;
    assert!(answer.cut && answer.body.contains("event: response.failed\n"), "{answer:?}");
    assert!(!answer.body.contains("response.completed"));
}

#[tokio::test]
async fn a_model_is_found_by_its_name_in_any_case_and_with_slashes() {
    let (world, hive) = World::one().await;
    let model = |name: &str| {
        json!({ "name": name, "size_bytes": 9, "local": true, "path": "/x", "sha256": null,
                "license": null, "description": null })
    };
    let list: Value = json!({ "models": [model("Qwen:1b"), model("hf:Org/Repo")] });
    hive.on("GET /v1/models/store", Reply::json(200, &list.to_string()));
    for (path, id) in [
        ("/v1/models/qwen:1B", "Qwen:1b"),
        ("/v1/models/hf:org/repo", "hf:Org/Repo"),
        ("/v1/models/hf%3Aorg%2Frepo", "hf:Org/Repo"),
    ] {
        let model = world.get(path).await.json();
        assert_eq!((&model["id"], &model["object"]), (&json!(id), &json!("model")), "{path}");
    }
    assert_eq!(world.get("/v1/models/none").await.refusal(), (404, "model_not_found".into()));
    assert_eq!(world.get("/v1/models/store").await.json()["models"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_path_that_others_spell_otherwise_is_answered_as_its_own() {
    let (world, hive) = World::one().await;
    for (spelling, path) in OTHER_SPELLINGS {
        let place = format!("POST {path}");
        hive.on(&place, Reply::json(200, r#"{"results":[]}"#));
        let before = hive.seen(&place).len();
        let answer = world.post(spelling, &[], r#"{"model":"m","query":"q"}"#).await;
        assert_eq!(answer.status, 200, "{spelling}: {answer:?}");
        assert_eq!(answer.json(), json!({ "results": [] }), "{spelling}");
        assert_eq!(hive.seen(&place).len(), before + 1, "{spelling}");
    }
}
