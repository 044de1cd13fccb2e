//! `POST /v1/chat/completions`, and what else the worker answers.

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::support::{engine, get, post_json, routes};

const CHAT: &str = "/v1/chat/completions";

fn ask(text: &str) -> Value {
    json!([{ "role": "user", "content": text }])
}

fn content(chunks: &[Value]) -> String {
    chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect()
}

#[tokio::test]
async fn a_streamed_answer_is_the_whole_answer_in_pieces() {
    let engine = engine(2, 1024).await;
    let routes = routes(&engine);
    let mut body = json!({
        "model": "smollm2:135m", "messages": ask("Tell me about bees."), "temperature": 0,
        "max_tokens": 20, "cache_prompt": false,
    });
    let whole = post_json(&routes, CHAT, body.clone()).await;
    assert_eq!(whole.status, StatusCode::OK, "{}", whole.body);
    let whole = whole.json();
    body["stream"] = json!(true);
    let streamed = post_json(&routes, CHAT, body).await;
    assert_eq!(streamed.headers["content-type"], "text/event-stream");
    let chunks = streamed.chunks();

    let choice = &whole["choices"][0];
    assert_eq!(whole["object"], "chat.completion");
    assert_eq!(choice["message"]["role"], "assistant");
    assert_eq!(choice["message"]["content"], content(&chunks));
    assert_eq!(chunks[0]["choices"][0]["delta"], json!({ "role": "assistant", "content": "" }));
    let (last, others) = chunks.split_last().unwrap();
    assert_eq!(
        (&last["choices"][0]["delta"], &last["choices"][0]["finish_reason"]),
        (&json!({}), &json!("length"))
    );
    for chunk in others {
        assert_eq!(chunk["object"], "chat.completion.chunk");
        assert_eq!(chunk["id"], chunks[0]["id"]);
        assert_eq!(chunk["model"], "smollm2:135m");
        assert_eq!(chunk["choices"][0]["finish_reason"], Value::Null);
        assert_eq!(chunk.get("usage"), None);
    }
    // The role, a frame for each of the twenty tokens, the end.
    assert_eq!(chunks.len(), 22, "{chunks:?}");
    let usage = &whole["usage"];
    assert_eq!(usage["completion_tokens"], 20);
    assert_eq!(usage["total_tokens"], usage["prompt_tokens"].as_u64().unwrap() + 20);
    assert!(last["timings"]["predicted_per_second"].as_f64().unwrap() > 0.0, "{last}");
}

#[tokio::test]
async fn usage_comes_last_in_a_stream_when_it_is_asked_for() {
    let engine = engine(1, 512).await;
    let body = json!({
        "messages": ask("Hi"), "stream": true, "stream_options": { "include_usage": true }, "max_tokens": 2,
    });
    let chunks = post_json(&routes(&engine), CHAT, body).await.chunks();
    let (last, before) = chunks.split_last().unwrap();
    assert_eq!((&last["choices"], &last["usage"]["completion_tokens"]), (&json!([]), &json!(2)));
    assert!(before.iter().all(|chunk| chunk.get("usage") == Some(&Value::Null)), "{before:?}");
}

#[tokio::test]
async fn content_may_come_in_parts_and_the_default_system_prompt_gives_way() {
    let engine = engine(1, 1024).await;
    let routes = routes(&engine);
    let tokens = async |messages: Value| {
        let body = json!({ "messages": messages, "max_tokens": 1, "temperature": 0 });
        let answer = post_json(&routes, CHAT, body).await.json();
        (
            answer["usage"]["prompt_tokens"].as_u64().unwrap(),
            answer["choices"][0]["message"]["content"].clone(),
        )
    };
    let whole = tokens(ask("Tell me about bees.")).await;
    let parts = json!([{ "role": "user", "content": [
        { "type": "text", "text": "Tell me " }, { "type": "text", "text": "about bees." },
    ] }]);
    assert_eq!(tokens(parts).await, whole);
    let named = "You are a helpful AI assistant named SmolLM, trained by Hugging Face";
    for role in ["system", "developer"] {
        let messages = json!([{ "role": role, "content": named }, { "role": "user", "content": "Tell me about bees." }]);
        assert_eq!(tokens(messages).await, whole, "{role}");
    }
    let messages = json!([{ "role": "system", "content": "Be short." }, { "role": "user", "content": "Tell me about bees." }]);
    assert!(tokens(messages).await.0 < whole.0);
}

#[tokio::test]
async fn an_answer_follows_its_json_schema() {
    let engine = engine(1, 1024).await;
    // Not in alphabetical order: the answer keeps the schema's.
    let schema = r#"{"type":"object","properties":{"name":{"type":"string","maxLength":20},"age":{"type":"integer","minimum":0,"maximum":150},"bee":{"enum":["worker","drone","queen"]}},"required":["name","age","bee"],"additionalProperties":false}"#;
    let body = format!(
        r#"{{"messages":[{{"role":"user","content":"Describe a person."}}],"max_tokens":120,"seed":5,
        "response_format":{{"type":"json_schema","json_schema":{{"name":"person","strict":true,"schema":{schema}}}}}}}"#
    );
    let routes = routes(&engine);
    let answer = crate::support::post(&routes, CHAT, body).await;
    let answer = answer.json();
    assert_eq!(answer["choices"][0]["finish_reason"], "stop", "{answer}");
    let text = answer["choices"][0]["message"]["content"].as_str().unwrap();
    let person: Value =
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert!(person["name"].is_string() && person["age"].is_u64(), "{text}");
    assert!(["worker", "drone", "queen"].contains(&person["bee"].as_str().unwrap()), "{text}");
    let at = |name: &str| text.find(name).unwrap();
    assert!(at("\"name\"") < at("\"age\"") && at("\"age\"") < at("\"bee\""), "{text}");

    let body = json!({
        "messages": ask("Give me any small JSON object."), "max_tokens": 200, "seed": 3, "temperature": 0.2,
        "response_format": { "type": "json_object" },
    });
    let answer = post_json(&routes, CHAT, body).await.json();
    let text = answer["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(text.trim_start().starts_with('{'), "{text}");
    if answer["choices"][0]["finish_reason"] == "stop" {
        assert!(serde_json::from_str::<Value>(text).unwrap().is_object(), "{text}");
    }
}

#[tokio::test]
async fn probabilities_come_with_each_token() {
    let engine = engine(1, 512).await;
    let body = json!({
        "messages": ask("Hi"), "temperature": 0, "max_tokens": 4, "logprobs": true, "top_logprobs": 3,
    });
    let answer = post_json(&routes(&engine), CHAT, body).await.json();
    let tokens = answer["choices"][0]["logprobs"]["content"].as_array().unwrap();
    assert_eq!(tokens.len(), 4);
    let mut text = String::new();
    for token in tokens {
        let top = token["top_logprobs"].as_array().unwrap();
        let values: Vec<_> = top.iter().map(|other| other["logprob"].as_f64().unwrap()).collect();
        assert!(
            values.len() == 3 && values.is_sorted_by(|a, b| a >= b) && values[0] <= 0.0,
            "{token}"
        );
        assert_eq!(top[0]["token"], token["token"], "greedy takes the best");
        text.push_str(token["token"].as_str().unwrap());
    }
    assert_eq!(answer["choices"][0]["message"]["content"], text);
}

#[tokio::test]
async fn unknown_fields_and_null_ones_are_ignored() {
    let engine = engine(1, 512).await;
    let body = json!({
        "model": "anything", "messages": ask("Hi"), "max_completion_tokens": 2, "user": "me", "metadata": { "a": 1 },
        "store": false, "service_tier": "auto", "parallel_tool_calls": true, "tools": [], "tool_choice": "none",
        "stop": null, "temperature": null, "n": 1, "logit_bias": {}, "top_k": -1, "some_new_field": [1, 2],
    });
    let answer = post_json(&routes(&engine), CHAT, body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert_eq!(answer.json()["usage"]["completion_tokens"], 2);
}

#[tokio::test]
async fn a_repetition_penalty_keeps_a_token_from_coming_again() {
    let engine = engine(1, 512).await;
    let routes = routes(&engine);
    let answer = async |extra: Value| {
        let mut body =
            json!({ "prompt": "a b a b a b a b a b a b", "temperature": 0, "max_tokens": 6 });
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let answer = post_json(&routes, "/v1/completions", body).await.json();
        answer["choices"][0]["text"].as_str().unwrap().to_owned()
    };
    assert_eq!(answer(json!({})).await, " a b a b a b");
    for penalty in [
        json!({ "repeat_penalty": 5.0 }),
        json!({ "presence_penalty": 2.0, "frequency_penalty": 2.0 }),
        json!({ "logit_bias": { "253": -100 } }),
    ] {
        let text = answer(penalty.clone()).await;
        assert!(!text.contains(" a b"), "{penalty}: {text}");
    }
}

#[tokio::test]
async fn the_worker_names_its_model_and_itself() {
    let engine = engine(3, 512).await;
    let routes = routes(&engine);
    let models = get(&routes, "/v1/models").await.json();
    assert_eq!(models["data"][0]["id"], "smollm2:135m");
    let meta = &models["data"][0]["meta"];
    assert_eq!(
        (&meta["n_ctx"], &meta["n_vocab"], &meta["parallel"]),
        (&json!(512), &json!(49152), &json!(3))
    );
    assert_eq!(get(&routes, "/health").await.json()["role"], "llamacpp-worker");
    let lease = post_json(&routes, "/v1/lease", json!({})).await.json();
    assert_eq!(lease["lease_s"], 600.0);
}

#[tokio::test]
async fn what_looks_like_a_control_token_in_a_message_is_text() {
    let engine = engine(1, 1024).await;
    let routes = routes(&engine);
    let prompt_tokens = async |content: &str| {
        let messages = json!([{ "role": "user", "content": content }]);
        let body = json!({ "messages": messages, "max_tokens": 1, "cache_prompt": false });
        let answer = post_json(&routes, "/v1/chat/completions", body).await.json();
        answer["usage"]["prompt_tokens"].as_u64().unwrap()
    };
    let plain = prompt_tokens("a b").await;
    // As a control token it is one token, as text it is several: a turn cannot be forged.
    for control in ["<|im_end|>", "<|im_start|>", "<|endoftext|>"] {
        let tokens = prompt_tokens(&format!("a {control} b")).await;
        assert!(tokens > plain + 3, "{control}: {tokens} tokens, {plain} without it");
    }
}

#[tokio::test]
async fn an_answer_goes_on_with_the_assistant_s_last_message() {
    let engine = engine(1, 512).await;
    let routes = routes(&engine);
    let prompt = async |more: Value| {
        let mut body = json!({ "messages": [
            { "role": "user", "content": "Hi" },
            { "role": "assistant", "content": "The capital of France <|im_end|> is" },
        ] });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let text = post_json(&routes, "/apply-template", body.clone()).await.json();
        let tokens = post_json(&routes, "/tokenize", body).await.json()["tokens"].clone();
        (text["prompt"].as_str().unwrap().to_owned(), tokens)
    };
    let (text, tokens) = prompt(json!({})).await;
    assert!(text.ends_with("<|im_start|>assistant\nThe capital of France <|im_end|> is"), "{text}");
    // What it says is text; the control token stands for the two turns before it.
    let end = engine.model().tokenize("<|im_end|>")[0];
    let ends = tokens.as_array().unwrap().iter().filter(|token| **token == end).count();
    assert_eq!(ends, 2, "{tokens}");
    assert_eq!(prompt(json!({ "continue_final_message": true })).await.0, text);
    let (text, _) = prompt(json!({ "continue_final_message": false })).await;
    assert!(text.ends_with(" is<|im_end|>\n<|im_start|>assistant\n"), "{text}");

    let body = json!({ "messages": ask("The capital of France?"), "continue_final_message": true });
    let answer = post_json(&routes, CHAT, body).await;
    assert_eq!(answer.json()["error"]["param"], "continue_final_message", "{}", answer.body);
    let body = json!({ "temperature": 0, "max_tokens": 2, "messages": [
        { "role": "user", "content": "What is the capital of France?" },
        { "role": "assistant", "content": "The capital of France is" },
    ] });
    let answer = post_json(&routes, CHAT, body).await.json();
    let said = answer["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(said.starts_with(" Paris"), "{answer}");
}
