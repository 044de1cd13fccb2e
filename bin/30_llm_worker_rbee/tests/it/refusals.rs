//! What the worker refuses, and how it says so.

use axum::{
    body::Body,
    http::{Request, StatusCode},
};
use serde_json::{Value, json};

use crate::support::{Answer, call, engine, post, post_json, routes};

const CHAT: &str = "/v1/chat/completions";
const PLAIN: &str = "/v1/completions";

#[track_caller]
fn assert_refused(answer: &Answer, status: u16, code: &str, param: Option<&str>, what: &str) {
    let body = answer.json();
    assert_eq!(answer.status.as_u16(), status, "{what}: {body}");
    let error = &body["error"];
    assert_eq!(error["code"], code, "{what}: {body}");
    assert_eq!(error["param"].as_str(), param, "{what}: {body}");
    assert_eq!(error["status"], status, "{what}: {body}");
    assert!(error["message"].as_str().is_some_and(|message| message.len() > 10), "{what}: {body}");
    assert!(error["type"].is_string(), "{what}: {body}");
}

#[tokio::test]
async fn what_has_no_effect_is_listed_and_what_cannot_be_done_is_refused() {
    let engine = engine(1, 512).await;
    let routes = routes(&engine);
    for (path, mut body) in [
        (CHAT, json!({"messages": [{"role": "user", "content": "Hi"}]})),
        (PLAIN, json!({"prompt": "Hi"})),
    ] {
        body["max_tokens"] = json!(1);
        for stream in [false, true] {
            let mut body = body.clone();
            body["stream"] = json!(stream);
            body["user"] = json!("u");
            body["xtc_probability"] = json!(0);
            let answer = post_json(&routes, path, body.clone()).await;
            assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
            assert!(!answer.headers.contains_key("x-rbee-ignored"), "{answer:?}");
            body["zeal"] = json!({"a": 1});
            body["\u{e9}lan"] = json!(2);
            let answer = post_json(&routes, path, body.clone()).await;
            assert_eq!(answer.headers["x-rbee-ignored"], "zeal, \\u{e9}lan", "{answer:?}");
            for (name, value) in [("mirostat", json!(2)), ("use_beam_search", json!(true))] {
                let mut body = body.clone();
                body[name] = value;
                let answer = post_json(&routes, path, body).await;
                assert_refused(&answer, 400, "unsupported_parameter", Some(name), name);
            }
        }
    }
}

#[tokio::test]
async fn a_malformed_body_is_refused_with_the_field_at_fault() {
    let engine = engine(1, 512).await;
    let routes = routes(&engine);
    for (body, code) in [
        ("", "invalid_json"),
        ("{", "invalid_json"),
        ("not json", "invalid_json"),
        ("[]", "invalid_body"),
        ("\"text\"", "invalid_body"),
        ("{\"messages\": [}", "invalid_json"),
        ("{\"messages\": []} {}", "invalid_json"),
        ("\u{0}", "invalid_json"),
    ] {
        for path in [CHAT, PLAIN] {
            assert_refused(&post(&routes, path, body).await, 400, code, None, body);
        }
    }
    let user = r#""messages":[{"role":"user","content":"Hi"}]"#;
    let tool = r#"{"type":"function","function":{"name":"f"}}"#;
    let nested = format!("{}1{}", "[".repeat(500), "]".repeat(500));
    let groups =
        format!(r#"{{"type":"string","pattern":"^{}a{}$"}}"#, "(".repeat(5000), ")".repeat(5000));
    let format = |schema: &str| {
        format!(r#""response_format":{{"type":"json_schema","json_schema":{{"schema":{schema}}}}}"#)
    };
    for (fields, code, param) in [
        (r#""x":1"#, "missing_required_parameter", "messages"),
        (r#""messages":null"#, "missing_required_parameter", "messages"),
        (r#""messages":"Hi""#, "invalid_type", "messages"),
        (r#""messages":[]"#, "invalid_value", "messages"),
        (r#""messages":["Hi"]"#, "invalid_type", "messages[0]"),
        (r#""messages":[{"content":"Hi"}]"#, "missing_required_parameter", "messages[0].role"),
        (r#""messages":[{"role":5,"content":"Hi"}]"#, "invalid_type", "messages[0].role"),
        (r#""messages":[{"role":"bee","content":"Hi"}]"#, "invalid_value", "messages[0].role"),
        (r#""messages":[{"role":"user"}]"#, "missing_required_parameter", "messages[0].content"),
        (r#""messages":[{"role":"user","content":5}]"#, "invalid_type", "messages[0].content"),
        (
            r#""messages":[{"role":"user","content":[{"type":"image_url"}]}]"#,
            "unsupported_parameter",
            "messages[0].content[0]",
        ),
        (
            r#""messages":[{"role":"user","content":[{"type":"text"}]}]"#,
            "invalid_type",
            "messages[0].content[0]",
        ),
        (
            r#""messages":[{"role":"user","content":["Hi"]}]"#,
            "invalid_type",
            "messages[0].content[0]",
        ),
        (&format!(r#""messages":{nested}"#), "invalid_type", "messages"),
        (&format!(r#"{user},"model":5"#), "invalid_type", "model"),
        (&format!(r#"{user},"stream":"yes""#), "invalid_type", "stream"),
        (
            &format!(r#"{user},"stream_options":{{"include_usage":true}}"#),
            "invalid_value",
            "stream_options",
        ),
        (&format!(r#"{user},"stream":true,"stream_options":5"#), "invalid_type", "stream_options"),
        (&format!(r#"{user},"temperature":"hot""#), "invalid_type", "temperature"),
        (&format!(r#"{user},"temperature":-1"#), "invalid_value", "temperature"),
        (&format!(r#"{user},"temperature":1e99"#), "invalid_value", "temperature"),
        (&format!(r#"{user},"top_p":1.5"#), "invalid_value", "top_p"),
        (&format!(r#"{user},"top_k":-2"#), "invalid_value", "top_k"),
        (&format!(r#"{user},"min_p":2"#), "invalid_value", "min_p"),
        (&format!(r#"{user},"max_tokens":0"#), "invalid_value", "max_tokens"),
        (&format!(r#"{user},"max_tokens":1.5"#), "invalid_type", "max_tokens"),
        (
            &format!(r#"{user},"max_completion_tokens":"many""#),
            "invalid_type",
            "max_completion_tokens",
        ),
        (&format!(r#"{user},"seed":"x""#), "invalid_type", "seed"),
        (&format!(r#"{user},"n":33"#), "invalid_value", "n"),
        (&format!(r#"{user},"max_tokens":-2"#), "invalid_value", "max_tokens"),
        (&format!(r#"{user},"reasoning_effort":"very""#), "invalid_value", "reasoning_effort"),
        (&format!(r#"{user},"reasoning_format":"xml""#), "invalid_value", "reasoning_format"),
        (&format!(r#"{user},"stop":5"#), "invalid_type", "stop"),
        (&format!(r#"{user},"stop":["a",5]"#), "invalid_type", "stop"),
        (
            &format!(
                r#"{user},"stop":["1","2","3","4","5","6","7","8","9","10","11","12","13","14","15","16","17"]"#
            ),
            "invalid_value",
            "stop",
        ),
        (&format!(r#"{user},"presence_penalty":3"#), "invalid_value", "presence_penalty"),
        (&format!(r#"{user},"frequency_penalty":-3"#), "invalid_value", "frequency_penalty"),
        (&format!(r#"{user},"repeat_penalty":0"#), "invalid_value", "repeat_penalty"),
        (&format!(r#"{user},"logit_bias":[1]"#), "invalid_type", "logit_bias"),
        (&format!(r#"{user},"logit_bias":{{"bee":1}}"#), "invalid_value", "logit_bias"),
        (&format!(r#"{user},"logit_bias":{{"49152":1}}"#), "invalid_value", "logit_bias"),
        (&format!(r#"{user},"logit_bias":{{"5":101}}"#), "invalid_value", "logit_bias"),
        (&format!(r#"{user},"logprobs":5"#), "invalid_type", "logprobs"),
        (&format!(r#"{user},"top_logprobs":5"#), "invalid_value", "top_logprobs"),
        (&format!(r#"{user},"logprobs":true,"top_logprobs":21"#), "invalid_value", "top_logprobs"),
        (&format!(r#"{user},"functions":[{{"name":"f"}}]"#), "unsupported_parameter", "functions"),
        (&format!(r#"{user},"tools":5"#), "invalid_type", "tools"),
        (&format!(r#"{user},"tools":[1]"#), "invalid_type", "tools[0]"),
        (
            &format!(r#"{user},"tools":[{{"type":"retrieval"}}]"#),
            "unsupported_parameter",
            "tools[0]",
        ),
        (
            &format!(r#"{user},"tools":[{{"type":"function"}}]"#),
            "missing_required_parameter",
            "tools[0].function.name",
        ),
        (
            &format!(r#"{user},"tools":[{{"type":"function","function":{{"name":"a b"}}}}]"#),
            "invalid_value",
            "tools[0].function.name",
        ),
        (&format!(r#"{user},"tools":[{tool},{tool}]"#), "invalid_value", "tools[1].function.name"),
        (
            &format!(r#"{user},"tools":[{tool}],"tool_choice":"any""#),
            "invalid_value",
            "tool_choice",
        ),
        (&format!(r#"{user},"tool_choice":"required""#), "invalid_value", "tool_choice"),
        (
            &format!(
                r#"{user},"tools":[{tool}],"tool_choice":{{"type":"function","function":{{"name":"g"}}}}"#
            ),
            "invalid_value",
            "tool_choice",
        ),
        (
            &format!(
                r#"{user},"tools":[{tool}],"tool_choice":"required","response_format":{{"type":"json_object"}}"#
            ),
            "invalid_value",
            "tool_choice",
        ),
        (
            &format!(
                r#"{user},"tools":[{{"type":"function","function":{{"name":"f","parameters":[]}}}}]"#
            ),
            "invalid_type",
            "tools[0].function.parameters",
        ),
        (&format!(r#"{user},"response_format":"json""#), "invalid_type", "response_format"),
        (
            &format!(r#"{user},"response_format":{{"type":"yaml"}}"#),
            "invalid_value",
            "response_format",
        ),
        (
            &format!(r#"{user},"response_format":{{"type":"json_schema"}}"#),
            "invalid_value",
            "response_format",
        ),
        (&format!(r#"{user},{}"#, format("[]")), "invalid_value", "response_format"),
        (&format!(r#"{user},{}"#, format(r#"{"type":"bee"}"#)), "invalid_value", "response_format"),
        (&format!(r#"{user},{}"#, format(&groups)), "invalid_value", "response_format"),
        (
            &format!(r#"{user},{}"#, format(&format!(r#"{{"const":"{}"}}"#, "x".repeat(70_000)))),
            "invalid_value",
            "response_format",
        ),
        (
            &format!(r#"{user},{}"#, format(r##"{"$ref":"#/nowhere"}"##)),
            "invalid_value",
            "response_format",
        ),
    ] {
        let body = format!("{{{fields}}}");
        let what = &body[..body.len().min(200)];
        assert_refused(&post(&routes, CHAT, body.clone()).await, 400, code, Some(param), what);
    }
    for (body, code, param) in [
        (r#"{"max_tokens":5}"#, "missing_required_parameter", "prompt"),
        (r#"{"prompt":5}"#, "invalid_type", "prompt"),
        (r#"{"prompt":""}"#, "invalid_value", "prompt"),
        (r#"{"prompt":[]}"#, "invalid_value", "prompt"),
        (r#"{"prompt":[49152]}"#, "invalid_value", "prompt"),
        (r#"{"prompt":[-1]}"#, "invalid_value", "prompt"),
        (r#"{"prompt":["a",""]}"#, "invalid_value", "prompt"),
        (r#"{"prompt":[[1],[]]}"#, "invalid_value", "prompt"),
        (r#"{"prompt":["a","b","c"],"n":11}"#, "invalid_value", "prompt"),
        (r#"{"prompt":"a","echo":true,"logprobs":1}"#, "unsupported_parameter", "echo"),
        (r#"{"prompt":[1],"suffix":"b"}"#, "unsupported_parameter", "suffix"),
        (r#"{"prompt":"a","suffix":"b"}"#, "unsupported_parameter", "suffix"),
        (r#"{"prompt":"a","best_of":3}"#, "unsupported_parameter", "best_of"),
        (r#"{"prompt":"a","logprobs":21}"#, "invalid_value", "logprobs"),
        (r#"{"prompt":"a","logprobs":true}"#, "invalid_type", "logprobs"),
    ] {
        assert_refused(&post(&routes, PLAIN, body).await, 400, code, Some(param), body);
    }
    // And it still answers.
    let answer = post_json(&routes, PLAIN, json!({ "prompt": "a", "max_tokens": 1 })).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
}

#[tokio::test]
async fn a_prompt_longer_than_the_context_is_refused_with_the_numbers() {
    let engine = engine(1, 64).await;
    let routes = routes(&engine);
    let words = "bee ".repeat(100);
    let answer =
        post_json(&routes, CHAT, json!({ "messages": [{ "role": "user", "content": words }] }))
            .await;
    assert_refused(&answer, 400, "context_length_exceeded", Some("messages"), "chat");
    let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("context of 64") && message.contains("the prompt has 1"), "{message}");
    let answer = post_json(&routes, PLAIN, json!({ "prompt": vec![5; 64] })).await;
    assert_refused(&answer, 400, "context_length_exceeded", Some("prompt"), "plain");
}

#[tokio::test]
async fn a_prompt_that_cannot_fit_is_refused_by_its_bytes_before_it_is_tokenized() {
    let engine = engine(1, 64).await;
    let routes = routes(&engine);
    let words = "bee ".repeat(1_500_000);
    let chat = json!({ "messages": [{ "role": "user", "content": words }] });
    let answer = post_json(&routes, CHAT, chat).await;
    assert_refused(&answer, 400, "context_length_exceeded", Some("messages"), "chat");
    let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains(" bytes, and a context of 64 tokens"), "{message}");
    for prompt in [json!(words), json!([words])] {
        let answer = post_json(&routes, PLAIN, json!({ "prompt": prompt })).await;
        assert_refused(&answer, 400, "context_length_exceeded", Some("prompt"), "plain");
    }
}

#[tokio::test]
async fn a_form_that_is_too_much_work_is_refused() {
    let engine = engine(1, 512).await;
    let routes = routes(&engine);
    let properties = |count: usize| -> Value {
        let named = (0..count).map(|n| (format!("p{n}"), json!({ "type": "integer" })));
        json!({ "type": "object", "properties": named.collect::<serde_json::Map<_, _>>() })
    };
    let deep = (0..100).fold(json!({}), |inner, _| json!({ "anyOf": [{ "type": "null" }, inner] }));
    let wide = (0..3000).map(|n| format!("\"w{n}\"")).collect::<Vec<_>>().join(" | ");
    let long = "word ".repeat(20_000);
    let asked = async |field: &str, value: &Value| {
        let body = json!({ "messages": [{ "role": "user", "content": "x" }], "max_tokens": 1,
            field: value });
        post_json(&routes, CHAT, body).await
    };
    for (what, field, value) in [
        ("optional properties", "json_schema", properties(2500)),
        ("depth", "json_schema", deep),
        ("a long text", "guided_json", json!({ "const": long })),
        ("a long pattern", "guided_regex", json!(long)),
        (
            "nested groups",
            "guided_regex",
            json!(format!("{}a{}", "(".repeat(9000), ")".repeat(9000))),
        ),
        ("alternatives", "grammar", json!(format!("root ::= {wide}"))),
        ("repetitions", "grammar", json!("root ::= \"a\"{1,100000}")),
    ] {
        assert_refused(&asked(field, &value).await, 400, "invalid_value", Some(field), what);
    }
    // What programs may ask for is taken, and so is what is only large.
    for schema in [
        properties(200),
        json!({ "enum": (0..3000).map(|n| format!("word {n}")).collect::<Vec<_>>() }),
        json!({ "type": "string", "pattern": "^a{1,100000}$" }),
        json!({ "type": "array", "maxItems": 4000, "items": { "type": "array", "maxItems": 4000,
            "items": { "type": "string", "maxLength": 1_000_000 } } }),
    ] {
        let answer = asked("json_schema", &schema).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    }
}

#[tokio::test]
async fn a_full_queue_answers_429_with_retry_after() {
    let engine = engine(1, 2048).await;
    let routes = routes(&engine);
    let request = || crate::support::greedy(vec![504, 3575], 1500);
    let mut taken = Vec::new();
    while let Ok(events) = engine.submit(request()) {
        taken.push(events);
    }
    let answer = post_json(&routes, PLAIN, json!({ "prompt": "a" })).await;
    assert_refused(&answer, 429, "queue_full", None, "full");
    let seconds: u64 = answer.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds), "{seconds}");
    assert_eq!(taken.len(), 65);
}

#[tokio::test]
async fn unknown_paths_methods_and_great_bodies_are_refused_in_the_same_form() {
    let engine = engine(1, 64).await;
    let routes = routes(&engine);
    let answer = call(&routes, Request::get("/v1/nothing").body(Body::empty()).unwrap()).await;
    assert_refused(&answer, 404, "unknown_path", None, "path");
    let answer = call(&routes, Request::get(CHAT).body(Body::empty()).unwrap()).await;
    assert_refused(&answer, 405, "method_not_allowed", None, "method");
    let answer = post(&routes, CHAT, vec![b' '; 17 * 1024 * 1024]).await;
    assert_refused(&answer, 413, "body_too_large", None, "size");
}
