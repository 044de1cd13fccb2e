use api_dialects::{
    Answer as _, Endpoint,
    anthropic::{translate, translate_count},
};
use rbee_api::{ErrorBody, ErrorCode};
use serde_json::{Value, json};

use crate::worker::{all_in_one, answered, events, everything, sent, streamed, text, whole};

/// A body that is answered as it is, with these members too.
fn with(members: Value) -> Vec<u8> {
    let mut body = json!({ "model": "m", "max_tokens": 9,
                           "messages": [{ "role": "user", "content": "Hi" }] });
    let Value::Object(members) = members else { panic!("{members} is no object") };
    body.as_object_mut().unwrap().extend(members);
    body.to_string().into_bytes()
}

#[track_caller]
fn refused(members: Value) -> (ErrorCode, Option<String>) {
    let error = translate(&with(members)).unwrap_err().error;
    (error.code, error.param)
}

#[test]
fn what_the_conversation_is_becomes_messages() {
    let messages = json!([
        { "role": "user", "content": [{ "type": "text", "text": "What is", "cache_control": {} },
                                      { "type": "text", "text": "the weather?" }] },
        { "role": "assistant", "content": [
            { "type": "thinking", "thinking": "Look.", "signature": "" },
            { "type": "redacted_thinking", "data": "x" },
            { "type": "text", "text": "I look." },
            { "type": "tool_use", "id": "t1", "name": "weather", "input": {"b": 1, "a": 2} } ] },
        { "role": "user", "content": [
            { "type": "tool_result", "tool_use_id": "t1", "content": "fair" },
            { "type": "tool_result", "tool_use_id": "t2", "is_error": true,
              "content": [{ "type": "text", "text": "no such town" }] },
            { "type": "text", "text": "And now?" } ] },
        { "role": "system", "content": "Be quick." },
    ]);
    let body = with(json!({ "messages": messages,
        "system": [{ "type": "text", "text": "Be brief." }, { "type": "text", "text": "Be kind." }] }));
    // As it was written: the order of an object's members is the model's to see.
    let body = String::from_utf8(body).unwrap().replace(r#"{"b":1,"a":2}"#, r#"{"b": 1, "a": 2}"#);
    let translated = translate(body.as_bytes()).unwrap();
    assert_eq!(translated.ignored, Vec::<String>::new());
    assert_eq!(
        sent(&translated)["messages"],
        json!([
            { "role": "system", "content": "Be brief.\nBe kind." },
            { "role": "user", "content": "What is\nthe weather?" },
            { "role": "assistant", "content": "I look.", "reasoning_content": "Look.",
              "tool_calls": [{ "id": "t1", "type": "function",
                "function": { "name": "weather", "arguments": "{\"b\": 1, \"a\": 2}" } }] },
            { "role": "tool", "tool_call_id": "t1", "content": "fair" },
            { "role": "tool", "tool_call_id": "t2", "content": "error: no such town" },
            { "role": "user", "content": "And now?" },
            { "role": "system", "content": "Be quick." },
        ])
    );
}

#[test]
fn parameters_have_openai_s_names() {
    let translated = translate(&with(json!({
        "stop_sequences": ["\n"], "temperature": 0.5, "top_p": 0.9, "top_k": 7, "stream": true,
        "metadata": { "user_id": "u" }, "thinking": { "type": "disabled" }, "betas": ["x"],
    })));
    let translated = translated.unwrap();
    assert_eq!(translated.ignored, ["betas"]);
    let mut body = sent(&translated);
    body.as_object_mut().unwrap().remove("messages");
    assert_eq!(
        body,
        json!({ "model": "m", "max_tokens": 9, "stop": ["\n"], "temperature": 0.5, "top_p": 0.9,
                "top_k": 7, "stream": true, "stream_options": { "include_usage": true },
                "chat_template_kwargs": { "enable_thinking": false, "thinking": false } })
    );
}

#[test]
fn tools_and_their_choice_are_openai_s() {
    let schema = r#"{"type": "object", "properties": {"b": {}, "a": {}}}"#;
    let tools = json!([{ "name": "weather", "description": "of a town", "input_schema": "SCHEMA" },
                       { "type": "custom", "name": "time", "input_schema": {} }]);
    for (choice, expected) in [
        (json!({ "type": "auto" }), json!("auto")),
        (json!({ "type": "any" }), json!("required")),
        (json!({ "type": "none" }), json!("none")),
        (
            json!({ "type": "tool", "name": "time" }),
            json!({ "type": "function", "function": { "name": "time" } }),
        ),
    ] {
        let mut choice = choice;
        choice["disable_parallel_tool_use"] = json!(true);
        let body = with(json!({ "tools": tools, "tool_choice": choice }));
        let body = String::from_utf8(body).unwrap().replace("\"SCHEMA\"", schema);
        let translated = translate(body.as_bytes()).unwrap();
        assert!(String::from_utf8_lossy(&translated.body).contains(schema), "as it was written");
        let body = sent(&translated);
        assert_eq!(
            (&body["tool_choice"], &body["parallel_tool_calls"]),
            (&expected, &json!(false))
        );
        let tool = &body["tools"][0];
        assert_eq!(tool["type"], "function");
        assert_eq!(
            (&tool["function"]["name"], &tool["function"]["description"]),
            (&json!("weather"), &json!("of a town"))
        );
    }
}

#[test]
fn the_form_of_the_output_and_thinking_are_passed_on() {
    let format = json!({ "type": "json_schema", "schema": { "type": "object" } });
    for member in [
        json!({ "output_format": format.clone() }),
        json!({ "output_config": { "format": format.clone() } }),
    ] {
        let body = sent(&translate(&with(member)).unwrap());
        assert_eq!(body["response_format"]["json_schema"]["schema"], json!({ "type": "object" }));
    }
    let body = with(json!({ "thinking": { "type": "enabled", "budget_tokens": 1024 },
                            "output_config": { "effort": "low" } }));
    let body = sent(&translate(&body).unwrap());
    assert_eq!(
        body["chat_template_kwargs"],
        json!({ "enable_thinking": true, "thinking": true, "reasoning_effort": "low" })
    );
}

#[test]
fn a_picture_is_openai_s() {
    let source = json!({ "type": "base64", "media_type": "image/png", "data": "iVBO" });
    let block = json!([{ "type": "image", "source": source }, { "type": "text", "text": "What?" }]);
    let body = with(json!({ "messages": [{ "role": "user", "content": block }] }));
    assert_eq!(
        sent(&translate(&body).unwrap())["messages"][0]["content"],
        json!([{ "type": "image_url", "image_url": { "url": "data:image/png;base64,iVBO" } },
                      { "type": "text", "text": "What?" }])
    );
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    use ErrorCode::{InvalidType, InvalidValue, MissingParameter, UnsupportedParameter};
    let user = |block: Value| json!({ "messages": [{ "role": "user", "content": [block] }] });
    for (members, code, param) in [
        (json!({ "messages": null }), MissingParameter, "messages"),
        (json!({ "max_tokens": null }), MissingParameter, "max_tokens"),
        (json!({ "model": null }), MissingParameter, "model"),
        (json!({ "messages": [] }), InvalidValue, "messages"),
        (
            json!({ "messages": [{ "role": "user", "content": [] }] }),
            InvalidValue,
            "messages[0].content",
        ),
        (
            json!({ "messages": [{ "role": "robot", "content": "x" }] }),
            InvalidValue,
            "messages[0].role",
        ),
        (
            json!({ "messages": [{ "role": "assistant",
                "content": [{ "type": "tool_use", "id": "t", "name": "f", "input": {} }] }] }),
            InvalidValue,
            "messages",
        ),
        (json!({ "stream": "yes" }), InvalidType, "stream"),
        (json!({ "temperature": "hot" }), InvalidType, "temperature"),
        (json!({ "container": "c" }), UnsupportedParameter, "container"),
        (json!({ "mcp_servers": [{}] }), UnsupportedParameter, "mcp_servers"),
        (json!({ "thinking": { "type": "maybe" } }), InvalidValue, "thinking.type"),
        (json!({ "tool_choice": { "type": "tool" } }), InvalidValue, "tool_choice.name"),
        (json!({ "tool_choice": { "type": "some" } }), InvalidValue, "tool_choice.type"),
        (
            json!({ "tools": [{ "type": "web_search_20250305", "name": "w" }] }),
            UnsupportedParameter,
            "tools[0].type",
        ),
        (json!({ "output_format": { "type": "xml" } }), InvalidValue, "output_config.format"),
        (json!({ "system": [{ "type": "image" }] }), UnsupportedParameter, "system[0]"),
        (user(json!({ "type": "document" })), UnsupportedParameter, "messages[0].content[0]"),
        (user(json!({ "type": "text" })), MissingParameter, "messages[0].content[0].text"),
        (
            user(json!({ "type": "tool_result" })),
            MissingParameter,
            "messages[0].content[0].tool_use_id",
        ),
        (
            user(json!({ "type": "image", "source": { "type": "file" } })),
            UnsupportedParameter,
            "messages[0].content[0].source",
        ),
    ] {
        let told = members.to_string();
        assert_eq!(refused(members), (code, Some(param.to_owned())), "{told}");
    }
}

#[test]
fn a_stream_is_told_in_anthropic_s_events() {
    let answer = translate(&with(json!({ "stream": true }))).unwrap().answer;
    let events = events(&streamed(answer, &everything()));
    let told: Vec<String> = events
        .iter()
        .map(|(name, data)| {
            assert_eq!(data["type"], *name, "{data}");
            let index = data["index"].as_u64().map(|index| format!(" {index}")).unwrap_or_default();
            let what = match name.as_str() {
                "content_block_start" => &data["content_block"],
                "content_block_delta" | "message_delta" => &data["delta"],
                _ => &Value::Null,
            };
            format!("{name}{index} {what}")
        })
        .collect();
    assert_eq!(
        told,
        [
            "message_start null",
            r#"content_block_start 0 {"type":"thinking","thinking":"","signature":""}"#,
            r#"content_block_delta 0 {"type":"thinking_delta","thinking":"It is "}"#,
            r#"content_block_delta 0 {"type":"thinking_delta","thinking":"asked."}"#,
            "content_block_stop 0 null",
            r#"content_block_start 1 {"type":"text","text":"","citations":null}"#,
            r#"content_block_delta 1 {"type":"text_delta","text":"Let me "}"#,
            r#"content_block_delta 1 {"type":"text_delta","text":"look."}"#,
            "content_block_stop 1 null",
            r#"content_block_start 2 {"type":"tool_use","id":"call_a","name":"weather","input":{},"caller":{"type":"direct"}}"#,
            r#"content_block_delta 2 {"type":"input_json_delta","partial_json":"{\"at\":"}"#,
            r#"content_block_delta 2 {"type":"input_json_delta","partial_json":"\"Oslo\"}"}"#,
            "content_block_stop 2 null",
            r#"content_block_start 3 {"type":"tool_use","id":"call_b","name":"time","input":{},"caller":{"type":"direct"}}"#,
            r#"content_block_delta 3 {"type":"input_json_delta","partial_json":"{}"}"#,
            "content_block_stop 3 null",
            r#"message_delta {"stop_reason":"tool_use","stop_sequence":null,"stop_details":null,"container":null}"#,
            "message_stop null",
        ]
    );
    let start = &events[0].1["message"];
    assert_eq!(start["id"], "msg_0199");
    assert_eq!((&start["role"], &start["model"]), (&json!("assistant"), &json!("m")));
    assert_eq!(start["content"], json!([]));
    assert_eq!(events[events.len() - 2].1["usage"], usage());
}

/// Of [`everything`], with what there is nothing to tell of as null.
fn usage() -> Value {
    json!({ "input_tokens": 15, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 0,
            "cache_creation": null, "output_tokens": 7, "output_tokens_details": { "thinking_tokens": 3 },
            "inference_geo": null, "server_tool_use": null, "service_tier": null })
}

#[test]
fn a_whole_answer_has_the_blocks_that_its_stream_has() {
    let answer = translate(&with(json!({}))).unwrap().answer;
    let mut message = answered(answer, &whole(all_in_one(), "tool_calls"));
    let content = message["content"].take();
    assert_eq!(
        content,
        json!([{ "type": "thinking", "thinking": "It is asked.", "signature": "" },
               { "type": "text", "text": "Let me look.", "citations": null },
               { "type": "tool_use", "id": "call_a", "name": "weather", "input": { "at": "Oslo" },
                 "caller": { "type": "direct" } },
               { "type": "tool_use", "id": "call_b", "name": "time", "input": {},
                 "caller": { "type": "direct" } }])
    );
    assert_eq!(
        message,
        json!({ "id": "msg_0199", "type": "message", "role": "assistant", "model": "m",
                "content": null, "stop_reason": "tool_use", "stop_sequence": null,
                "stop_details": null, "container": null, "usage": usage() })
    );
}

#[test]
fn why_an_answer_ended_is_told_alike_in_both_forms() {
    for (reason, stop, told) in [
        ("stop", Value::Null, "end_turn"),
        ("stop", json!("\n"), "stop_sequence"),
        // Of the model's settings.
        ("stop", json!("###"), "end_turn"),
        ("stop", json!(151_645), "end_turn"),
        ("length", Value::Null, "max_tokens"),
        ("content_filter", Value::Null, "refusal"),
    ] {
        let mut chunks = text(&["Hi"], reason);
        chunks[2]["choices"][0]["stop_reason"] = stop.clone();
        let sequences = json!({ "stop_sequences": ["\n"] });
        let answer = || translate(&with(sequences.clone())).unwrap().answer;
        let events = events(&streamed(answer(), &chunks));
        let delta = &events[events.len() - 2].1["delta"];
        let mut body = whole(json!({ "role": "assistant", "content": "Hi" }), reason);
        body["choices"][0]["stop_reason"] = stop.clone();
        let message = answered(answer(), &body);
        for told_by in [delta, &message] {
            assert_eq!(told_by["stop_reason"], told, "{reason} {stop}");
            assert_eq!(
                told_by["stop_sequence"],
                if told == "stop_sequence" { stop.clone() } else { Value::Null }
            );
        }
    }
}

#[test]
fn a_failure_in_the_middle_is_an_event() {
    let mut answer = translate(&with(json!({}))).unwrap().answer;
    let mut out = String::new();
    answer.chunk(&text(&["Hi"], "stop")[1].to_string(), &mut out).unwrap();
    answer.failed(&ErrorBody::new(ErrorCode::QueueFull, "full"), &mut out);
    let last = events(&out).pop().unwrap();
    assert_eq!(
        last,
        (
            "error".to_owned(),
            json!({ "type": "error",
        "error": { "type": "rate_limit_error", "message": "full" } })
        )
    );
    assert!(answer.chunk("{", &mut String::new()).is_err());
    let error = answer.whole(b"<html>").map(drop).map_err(ErrorBody::from).unwrap_err().error;
    assert_eq!(error.code, ErrorCode::BadGateway);
}

#[test]
fn arguments_that_break_off_are_an_empty_object() {
    let mut message = all_in_one();
    message["tool_calls"][0]["function"]["arguments"] = json!("{\"at\": \"Os");
    let answer = translate(&with(json!({}))).unwrap().answer;
    let message = answered(answer, &whole(message, "length"));
    assert_eq!(message["content"][2]["input"], json!({}));
    assert_eq!(message["stop_reason"], "max_tokens");
}

#[test]
fn tokens_are_counted_of_the_same_request_without_a_bound() {
    let body = with(json!({ "max_tokens": null, "system": "Be brief.",
                            "tools": [{ "name": "f", "input_schema": {} }] }));
    let translated = translate_count(&body).unwrap();
    assert_eq!(translated.endpoint, Endpoint::Tokenize);
    let body = sent(&translated);
    assert_eq!(body["messages"].as_array().unwrap().len(), 2);
    assert_eq!(body["tools"][0]["function"]["name"], "f");
    let counted = answered(translated.answer, &json!({ "tokens": [1, 2, 3], "count": 3 }));
    assert_eq!(counted, json!({ "input_tokens": 3 }));
}

#[test]
fn an_answer_goes_on_with_a_last_message_of_the_assistant_s() {
    let begun =
        json!([{ "role": "user", "content": "Hi" }, { "role": "assistant", "content": "He" }]);
    let body = sent(&translate(&with(json!({ "messages": begun }))).unwrap());
    assert_eq!(body["messages"][1], json!({ "role": "assistant", "content": "He" }));
    let said = (&body["continue_final_message"], &body["add_generation_prompt"]);
    assert_eq!(said, (&json!(true), &json!(false)));
}
