//! `POST /v1/continuations`.

use axum::Router;
use serde_json::{Value, json};

use crate::support::{Answer, engine, post_json, routes};

const PATH: &str = "/v1/continuations";
const CHAT: &str = "/v1/chat/completions";
const COMPLETIONS: &str = "/v1/completions";

/// A series that the model is certain of.
fn counting() -> Value {
    json!({
        "prompt": "1, 2, 3, 4, 5, 6, 7,", "temperature": 0, "max_tokens": 12, "stream": true,
        "stream_options": { "include_usage": true },
    })
}

/// An answer that a grammar allows nothing but.
fn story() -> Value {
    let story = "Bees, \u{1f41d} \"honey\" and na\u{ef}ve x42.";
    let schema = json!({ "name": "story", "schema": { "const": story } });
    json!({
        "messages": [{ "role": "user", "content": "Tell a story." }], "temperature": 0.8, "seed": 1,
        "response_format": { "type": "json_schema", "json_schema": schema }, "stream": true,
        "stream_options": { "include_usage": true },
    })
}

async fn go_on(routes: &Router, path: &str, request: &Value, delivered: &[Value]) -> Answer {
    let body = json!({ "path": path, "request": request, "delivered": delivered });
    post_json(routes, PATH, body).await
}

fn text(chunks: &[Value]) -> String {
    let texts = chunks.iter().filter_map(|chunk| {
        let choice = &chunk["choices"][0];
        choice["text"].as_str().or(choice["delta"]["content"].as_str())
    });
    texts.collect()
}

/// How it ended, and what it took beside the time and what was still in the cache.
fn end(chunks: &[Value]) -> Vec<Value> {
    let ends = chunks.iter().filter(|chunk| !chunk["choices"][0]["finish_reason"].is_null());
    let ends = ends.map(|chunk| {
        json!([chunk["choices"][0]["finish_reason"], chunk["choices"][0]["stop_reason"]])
    });
    let usages = chunks.iter().filter(|chunk| !chunk["usage"].is_null());
    let usages = usages
        .map(|chunk| json!([chunk["usage"]["prompt_tokens"], chunk["usage"]["completion_tokens"]]));
    ends.chain(usages).collect()
}

/// Cuts the stream behind each of its chunks and goes on there; what comes is what has been missing.
async fn assert_goes_on(path: &str, request: Value) {
    let engine = engine(1, 1024).await;
    let routes = routes(&engine);
    let whole = post_json(&routes, path, request.clone()).await.chunks();
    assert_eq!(end(&whole).len(), 2, "{whole:?}");
    // Of the same text, whose tokens are chosen by chance.
    let is_counted = request["temperature"] == 0;
    let end = |chunks: &[Value]| {
        let mut end = end(chunks);
        end.retain(|told| is_counted || told[0].is_string());
        end
    };
    for cut in 1..whole.len() {
        let (delivered, missing) = whole.split_at(cut);
        let rest = go_on(&routes, path, &request, delivered).await.chunks();
        assert_eq!(text(&rest), text(missing), "behind chunk {cut}: {rest:?}");
        assert_eq!(end(&rest), end(missing), "behind chunk {cut}: {rest:?}");
        for chunk in &rest {
            assert_eq!((&chunk["id"], &chunk["created"]), (&whole[0]["id"], &whole[0]["created"]));
            assert_eq!(chunk["object"], whole[0]["object"]);
            assert_eq!(chunk["choices"][0]["delta"].get("role"), None, "{chunk}");
        }
    }
}

#[tokio::test]
async fn an_answer_that_was_cut_anywhere_goes_on_as_if_it_had_not_been() {
    assert_goes_on(COMPLETIONS, counting()).await;
}

#[tokio::test]
async fn a_stop_string_is_found_that_was_cut_in_two() {
    let mut request = counting();
    request["stop"] = json!(["nothing like it", "9, 10"]);
    assert_goes_on(COMPLETIONS, request).await;
}

#[tokio::test]
async fn a_grammar_holds_behind_the_cut() {
    assert_goes_on(CHAT, story()).await;
}

#[tokio::test]
async fn tools_that_were_not_called_are_told_from_text_behind_the_cut() {
    let mut request = story();
    let parameters = json!({ "type": "object", "properties": { "city": { "type": "string" } } });
    let function = json!({ "name": "weather", "parameters": parameters });
    request["tools"] = json!([{ "type": "function", "function": function }]);
    assert_goes_on(CHAT, request).await;
}

#[tokio::test]
async fn an_echoed_prompt_is_not_echoed_again() {
    let mut request = counting();
    request["echo"] = json!(true);
    assert_goes_on(COMPLETIONS, request).await;
}

#[tokio::test]
async fn an_answer_that_fills_the_context_has_no_room_to_go_on() {
    let engine = engine(1, 64).await;
    let routes = routes(&engine);
    let mut request = counting();
    request["max_tokens"] = json!(-1);
    let whole = post_json(&routes, COMPLETIONS, request.clone()).await.chunks();
    let (delivered, missing) = whole.split_at(whole.len() - 2);
    let rest = go_on(&routes, COMPLETIONS, &request, delivered).await.chunks();
    assert_eq!((text(&rest), end(&rest)), (String::new(), end(missing)));
    assert_eq!(end(&rest)[0], json!(["length", null]));

    let more = [delivered, delivered].concat();
    let answer = go_on(&routes, COMPLETIONS, &request, &more).await;
    assert_eq!((answer.status.as_u16(), answer.json()["error"]["code"].as_str().unwrap()), REFUSED);
}

const REFUSED: (u16, &str) = (409, "not_continuable");

#[tokio::test]
async fn what_does_not_say_how_it_goes_on_is_refused() {
    let engine = engine(2, 512).await;
    let routes = routes(&engine);
    let chunk = |choice: Value| json!({ "id": "cmpl-1", "created": 7, "choices": [choice] });
    let begun = [chunk(json!({ "index": 0, "text": " 8", "delta": { "content": " 8" } }))];
    let with = |mut request: Value, name: &str, value: Value| {
        request[name] = value;
        request
    };
    let called = [chunk(json!({ "index": 0, "delta": { "tool_calls": [{}] } }))];
    let thought = [chunk(json!({ "index": 0, "delta": { "reasoning_content": "Hm." } }))];
    let stopped = with(counting(), "stop", json!("8"));
    let mut whole = counting();
    whole["stream"] = json!(false);
    whole["stream_options"] = json!(null);
    for (path, request, delivered, says) in [
        (COMPLETIONS, whole, &begun[..], "it is no stream"),
        (COMPLETIONS, with(counting(), "n", json!(2)), &begun, "several answers"),
        (COMPLETIONS, with(counting(), "prompt", json!(["a", "b"])), &begun, "several answers"),
        (COMPLETIONS, with(counting(), "logprobs", json!(1)), &begun, "probabilities"),
        (COMPLETIONS, with(counting(), "echo", json!(true)), &begun, "another prompt"),
        (COMPLETIONS, with(counting(), "top_p", json!(7)), &begun, "top_p"),
        (COMPLETIONS, stopped, &begun, "a stop string"),
        (COMPLETIONS, counting(), &[], "nothing has come"),
        ("/v1/embeddings", counting(), &begun, "no answer in parts"),
        (CHAT, story(), &begun, "does not fit its grammar"),
        (CHAT, story(), &called, "calls do not say"),
        (CHAT, story(), &thought, "thoughts do not say"),
    ] {
        let answer = go_on(&routes, path, &request, delivered).await;
        let error = &answer.json()["error"];
        assert_eq!((answer.status.as_u16(), error["code"].as_str().unwrap()), REFUSED, "{error}");
        assert!(error["message"].as_str().unwrap().contains(says), "{says}: {error}");
    }
    let answer = post_json(&routes, PATH, json!({ "path": CHAT })).await;
    assert_eq!(answer.status, 400, "{}", answer.body);
    assert!(answer.body.contains("missing field `request`"), "{}", answer.body);
}
