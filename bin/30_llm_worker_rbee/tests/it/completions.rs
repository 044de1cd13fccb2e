//! `POST /v1/completions`.

use serde_json::{Value, json};

use crate::support::{engine, post_json, routes};

const PATH: &str = "/v1/completions";

#[tokio::test]
async fn a_prompt_is_continued_whether_text_or_tokens() {
    let engine = engine(1, 512).await;
    let routes = routes(&engine);
    let ids = engine.model().tokenize("The capital of France is");
    let text = async |prompt: Value| {
        let body = json!({ "prompt": prompt, "temperature": 0, "max_tokens": 3 });
        post_json(&routes, PATH, body).await.json()["choices"][0]["text"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let first = text(json!("The capital of France is")).await;
    assert!(first.starts_with(" Paris"), "{first}");
    for prompt in [json!(["The capital of France is"]), json!(ids), json!([ids])] {
        assert_eq!(text(prompt.clone()).await, first, "{prompt}");
    }
}

#[tokio::test]
async fn a_stream_is_text_completions_and_ends_with_its_reason() {
    let engine = engine(1, 512).await;
    let routes = routes(&engine);
    let mut body =
        json!({ "prompt": "The capital of France is", "temperature": 0, "max_tokens": 8 });
    let whole = post_json(&routes, PATH, body.clone()).await.json();
    body["stream"] = json!(true);
    let chunks = post_json(&routes, PATH, body.clone()).await.chunks();
    let text: String =
        chunks.iter().map(|chunk| chunk["choices"][0]["text"].as_str().unwrap()).collect();
    assert_eq!(whole["choices"][0]["text"], text);
    assert!(chunks.iter().all(|chunk| chunk["object"] == "text_completion"));
    assert_eq!(chunks.last().unwrap()["choices"][0]["finish_reason"], "length");

    // A stop string and the default of sixteen tokens.
    body["stop"] = json!(["nothing like it", "Paris"]);
    let chunks = post_json(&routes, PATH, body.clone()).await.chunks();
    let text: String =
        chunks.iter().map(|chunk| chunk["choices"][0]["text"].as_str().unwrap()).collect();
    assert_eq!(
        (text.as_str(), &chunks.last().unwrap()["choices"][0]["finish_reason"]),
        (" ", &json!("stop"))
    );
    let body =
        json!({ "prompt": "The capital of France is", "temperature": 0, "ignore_eos": true });
    assert_eq!(post_json(&routes, PATH, body).await.json()["usage"]["completion_tokens"], 16);
}

#[tokio::test]
async fn probabilities_are_lists_side_by_side() {
    let engine = engine(1, 512).await;
    let body = json!({ "prompt": "The capital of France is", "temperature": 0, "max_tokens": 3, "logprobs": 2 });
    let answer = post_json(&routes(&engine), PATH, body).await.json();
    let logprobs = &answer["choices"][0]["logprobs"];
    let list = |name: &str| logprobs[name].as_array().unwrap().clone();
    assert_eq!(list("tokens")[0], " Paris");
    assert_eq!(
        (list("tokens").len(), list("token_logprobs").len(), list("top_logprobs").len()),
        (3, 3, 3)
    );
    assert_eq!(list("text_offset")[..2], [json!(0), json!(6)]);
    assert_eq!(list("top_logprobs")[0][" Paris"], list("token_logprobs")[0]);
}
