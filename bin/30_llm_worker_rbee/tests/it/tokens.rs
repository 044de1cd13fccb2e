//! llama.cpp's `/tokenize`, `/detokenize`, `/apply-template` and `/props`.

use axum::http::StatusCode;
use llm_worker_rbee::Pooling;
use serde_json::{Value, json};

use crate::support::{embedder, engine, get, post_json, routes, vectors_path};

#[tokio::test]
async fn a_text_becomes_tokens_and_these_the_text() {
    let engine = engine(1, 512).await;
    let routes = routes(&engine);
    for text in ["Bees make honey.", " \u{1f41d} b\u{ef}en\n\n", "<|im_start|>user\nHi<|im_end|>"] {
        let made = post_json(&routes, "/tokenize", json!({ "content": text })).await.json();
        assert_eq!(made["count"], json!(made["tokens"].as_array().unwrap().len()));
        let body = json!({ "tokens": made["tokens"] });
        let back = post_json(&routes, "/detokenize", body).await.json();
        assert_eq!(back, json!({ "content": text }));
    }
}

#[tokio::test]
async fn control_tokens_are_read_in_a_text_unless_they_are_not_to_be() {
    let engine = engine(1, 512).await;
    let routes = routes(&engine);
    let count = async |body: Value| {
        let answer = post_json(&routes, "/tokenize", body).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        answer.json()["tokens"].as_array().unwrap().len()
    };
    assert_eq!(count(json!({ "content": "<|im_start|>" })).await, 1);
    assert!(count(json!({ "content": "<|im_start|>", "parse_special": false })).await > 1);
    assert_eq!(count(json!({ "prompt": "<|im_start|>" })).await, 1);
}

#[tokio::test]
async fn pieces_come_as_text_or_as_bytes_where_they_are_no_characters() {
    let engine = engine(1, 512).await;
    let body = json!({ "content": "bee \u{1f41d}", "with_pieces": true });
    let made = post_json(&routes(&engine), "/tokenize", body).await.json();
    let mut bytes = Vec::new();
    let mut kinds = [0, 0];
    for token in made["tokens"].as_array().unwrap() {
        assert!(token["id"].is_u64(), "{token}");
        match &token["piece"] {
            Value::String(text) => {
                bytes.extend(text.bytes());
                kinds[0] += 1;
            }
            piece => {
                bytes.extend(serde_json::from_value::<Vec<u8>>(piece.clone()).unwrap());
                kinds[1] += 1;
            }
        }
    }
    assert_eq!(String::from_utf8(bytes).unwrap(), "bee \u{1f41d}");
    assert!(kinds[0] > 0 && kinds[1] > 0, "{made}");
}

/// What Anthropic's `count_tokens` asks for.
#[tokio::test]
async fn a_chat_has_as_many_tokens_as_its_answer_says_of_the_prompt() {
    let engine = engine(1, 1024).await;
    let routes = routes(&engine);
    let tool = json!({ "type": "function", "function": { "name": "f", "parameters": { "type": "object" } } });
    for chat in [
        json!({ "messages": [{ "role": "user", "content": "Hi" }] }),
        json!({ "messages": [{ "role": "user", "content": "Hi <|im_end|>" }], "tools": [tool] }),
    ] {
        let counted = post_json(&routes, "/tokenize", chat.clone()).await.json();
        let mut asked = chat.clone();
        asked["max_tokens"] = json!(1);
        let answer = post_json(&routes, "/v1/chat/completions", asked).await.json();
        assert_eq!(counted["count"], answer["usage"]["prompt_tokens"], "{chat}");
        assert_eq!(counted["max_model_len"], 1024);
    }
}

#[tokio::test]
async fn a_chat_becomes_the_text_that_its_template_makes() {
    let engine = engine(1, 512).await;
    let body = json!({ "messages": [{ "role": "system", "content": "Be short." }, { "role": "user", "content": "Hi" }] });
    let made = post_json(&routes(&engine), "/apply-template", body).await.json();
    let prompt = "<|im_start|>system\nBe short.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n";
    assert_eq!(made, json!({ "prompt": prompt }));
}

#[tokio::test]
async fn what_is_known_of_a_model_is_told_without_its_path() {
    let engine = engine(3, 512).await;
    let answer = get(&routes(&engine), "/props?model=anything").await;
    let props = answer.json();
    assert_eq!(props["default_generation_settings"]["n_ctx"], 512);
    assert_eq!(props["total_slots"], 3);
    assert_eq!(props["model_path"], "smollm2:135m");
    assert!(props["chat_template"].as_str().unwrap().contains("<|im_start|>"), "{props}");
    assert_eq!(props["eos_token"], "<|im_end|>");
    assert!(!answer.body.contains(".gguf"), "{props}");

    let vectors = embedder(vectors_path(), Pooling::Mean, 512).await;
    let routes = routes(&vectors);
    let props = get(&routes, "/props").await.json();
    assert_eq!((&props["chat_template"], &props["bos_token"]), (&json!(""), &json!("[CLS]")));
    let made = post_json(&routes, "/tokenize", json!({ "content": "bees", "add_special": true }));
    let tokens = made.await.json()["tokens"].clone();
    assert_eq!(
        (tokens[0].clone(), tokens[tokens.as_array().unwrap().len() - 1].clone()),
        (json!(101), json!(102))
    );
}

#[tokio::test]
async fn what_is_no_text_or_no_token_is_refused_by_its_field() {
    let engine = engine(1, 512).await;
    let routes = routes(&engine);
    for (path, body, code, param) in [
        ("/tokenize", json!({}), "missing_required_parameter", "content"),
        ("/tokenize", json!({ "content": 5 }), "invalid_type", "content"),
        ("/tokenize", json!({ "content": "x", "with_pieces": 1 }), "invalid_type", "with_pieces"),
        ("/tokenize", json!({ "messages": [] }), "invalid_value", "messages"),
        (
            "/tokenize",
            json!({ "content": "x".repeat(1_000_000) }),
            "context_length_exceeded",
            "content",
        ),
        ("/detokenize", json!({}), "missing_required_parameter", "tokens"),
        ("/detokenize", json!({ "tokens": "x" }), "invalid_type", "tokens"),
        ("/detokenize", json!({ "tokens": [49152] }), "invalid_value", "tokens"),
        ("/detokenize", json!({ "tokens": [-1] }), "invalid_value", "tokens"),
        ("/apply-template", json!({}), "missing_required_parameter", "messages"),
    ] {
        let answer = post_json(&routes, path, body).await;
        let error = answer.json()["error"].clone();
        assert_eq!(
            (answer.status.as_u16(), &error["code"], &error["param"]),
            (400, &json!(code), &json!(param)),
            "{path} {error}"
        );
    }
}
