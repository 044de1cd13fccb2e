use api_dialects::{Answer as _, responses::translate};
use rbee_api::{ErrorBody, ErrorCode};
use serde_json::{Value, json};

use crate::worker::{
    CREATED, all_in_one, answered, events, everything, sent, streamed, text, whole,
};

fn with(members: Value) -> Vec<u8> {
    let (mut body, Value::Object(members)) = (json!({ "model": "m", "input": "Hi" }), members)
    else {
        panic!("no object")
    };
    body.as_object_mut().unwrap().extend(members);
    body.to_string().into_bytes()
}

#[test]
fn items_become_the_turns_that_they_are_of() {
    let body = with(json!({ "instructions": "Be brief.", "input": [
        { "role": "developer", "content": "Be kind." },
        { "role": "user", "content": [{ "type": "input_text", "text": "What" }, { "type": "input_text", "text": "now?" }] },
        { "type": "reasoning", "id": "rs_1", "summary": [], "content": [{ "type": "reasoning_text", "text": "Look." }] },
        { "type": "message", "role": "assistant", "content": [{ "type": "output_text", "text": "I look.", "annotations": [] }] },
        { "type": "function_call", "call_id": "c1", "name": "x", "arguments": "{}" },
        { "type": "function_call", "call_id": "c2", "name": "y", "arguments": "{}" },
        { "type": "function_call_output", "call_id": "c1", "output": "of x" },
        { "type": "function_call_output", "call_id": "c2", "output": [{ "type": "input_text", "text": "of y" }] },
        { "type": "reasoning", "summary": [{ "type": "summary_text", "text": "More." }] },
        { "type": "function_call", "call_id": "c3", "name": "x", "arguments": "{}" },
        { "type": "function_call_output", "call_id": "c3", "output": "" },
        { "role": "user", "content": [{ "type": "input_image", "image_url": "data:x" }] },
    ] }));
    let call = |id: &str, name: &str| json!({ "id": id, "type": "function", "function": { "name": name, "arguments": "{}" } });
    assert_eq!(
        sent(&translate(&body).unwrap())["messages"],
        json!([
            { "role": "system", "content": "Be brief." },
            { "role": "system", "content": "Be kind." },
            { "role": "user", "content": "What\nnow?" },
            { "role": "assistant", "content": "I look.", "reasoning_content": "Look.",
              "tool_calls": [call("c1", "x"), call("c2", "y")] },
            { "role": "tool", "tool_call_id": "c1", "content": "of x" },
            { "role": "tool", "tool_call_id": "c2", "content": "of y" },
            { "role": "assistant", "content": "", "reasoning_content": "More.", "tool_calls": [call("c3", "x")] },
            { "role": "tool", "tool_call_id": "c3", "content": "" },
            { "role": "user", "content": [{ "type": "image_url", "image_url": { "url": "data:x" } }] },
        ])
    );
}

#[test]
fn parameters_have_the_names_of_chat_completions() {
    let schema = r#"{"type": "object", "properties": {"b": {}, "a": {}}}"#;
    let body = with(json!({
        "max_output_tokens": 9, "temperature": 0.5, "top_p": 0.9, "stream": true, "store": true,
        "parallel_tool_calls": false, "reasoning": { "effort": "low", "summary": "auto" },
        "tools": [{ "type": "function", "name": "x", "description": "d", "parameters": "SCHEMA", "strict": true }],
        "tool_choice": { "type": "function", "name": "x" }, "metadata": { "a": "b" }, "new": 1,
        "text": { "format": { "type": "json_schema", "name": "n", "schema": "SCHEMA", "strict": true } },
        "include": ["reasoning.encrypted_content"], "truncation": "disabled", "background": false,
    }));
    let body = String::from_utf8(body).unwrap().replace("\"SCHEMA\"", schema);
    let translated = translate(body.as_bytes()).unwrap();
    assert_eq!(translated.ignored, ["new"]);
    let text = String::from_utf8_lossy(&translated.body);
    assert_eq!(text.matches(schema).count(), 2, "as it was written: {text}");
    let mut body = sent(&translated);
    for name in ["messages", "response_format"] {
        body.as_object_mut().unwrap().remove(name);
    }
    let schema: Value = serde_json::from_str(schema).unwrap();
    assert_eq!(
        body,
        json!({ "model": "m", "max_tokens": 9, "temperature": 0.5, "top_p": 0.9, "stream": true,
                "stream_options": { "include_usage": true }, "parallel_tool_calls": false,
                "reasoning_effort": "low",
                "chat_template_kwargs": { "enable_thinking": true, "thinking": true, "reasoning_effort": "low" },
                "tools": [{ "type": "function",
                            "function": { "name": "x", "description": "d", "parameters": schema } }],
                "tool_choice": { "type": "function", "function": { "name": "x" } } })
    );
    for choice in ["auto", "none", "required"] {
        let body = sent(&translate(&with(json!({ "tool_choice": choice }))).unwrap());
        assert_eq!(body["tool_choice"], choice);
    }
    let body = sent(&translate(&with(json!({ "reasoning": { "effort": "none" } }))).unwrap());
    assert_eq!(
        body["chat_template_kwargs"],
        json!({ "enable_thinking": false, "thinking": false })
    );
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    use ErrorCode::{InvalidType, InvalidValue, MissingParameter, UnsupportedParameter};
    for (members, code, param) in [
        (json!({ "input": null }), MissingParameter, "input"),
        (json!({ "input": [] }), InvalidValue, "input"),
        (json!({ "input": 7 }), InvalidType, "input"),
        (json!({ "input": [{ "role": "robot", "content": "x" }] }), InvalidValue, "input[0].role"),
        (json!({ "input": [{ "role": "user" }] }), MissingParameter, "input[0].content"),
        (
            json!({ "input": [{ "type": "item_reference", "id": "x" }] }),
            UnsupportedParameter,
            "input[0]",
        ),
        (
            json!({ "input": [{ "type": "function_call", "name": "x" }] }),
            MissingParameter,
            "input[0].call_id",
        ),
        (
            json!({ "input": [{ "type": "function_call_output", "call_id": "x" }] }),
            MissingParameter,
            "input[0].output",
        ),
        (
            json!({ "input": [{ "role": "user", "content": [{ "type": "input_file" }] }] }),
            UnsupportedParameter,
            "input[0].content[0]",
        ),
        (json!({ "previous_response_id": "resp_1" }), UnsupportedParameter, "previous_response_id"),
        (json!({ "conversation": "c" }), UnsupportedParameter, "conversation"),
        (json!({ "prompt": { "id": "p" } }), UnsupportedParameter, "prompt"),
        (json!({ "background": true }), UnsupportedParameter, "background"),
        (json!({ "truncation": "auto" }), UnsupportedParameter, "truncation"),
        (json!({ "max_tool_calls": 1 }), UnsupportedParameter, "max_tool_calls"),
        (json!({ "top_logprobs": 2 }), UnsupportedParameter, "top_logprobs"),
        (json!({ "include": ["message.output_text.logprobs"] }), UnsupportedParameter, "include"),
        (json!({ "tools": [{ "type": "web_search" }] }), UnsupportedParameter, "tools[0].type"),
        (json!({ "tool_choice": { "type": "web_search" } }), UnsupportedParameter, "tool_choice"),
        (json!({ "text": { "format": { "type": "xml" } } }), InvalidValue, "text.format"),
        (json!({ "stream": "yes" }), InvalidType, "stream"),
    ] {
        let told = members.to_string();
        let error = translate(&with(members)).unwrap_err().error;
        assert_eq!((error.code, error.param.as_deref()), (code, Some(param)), "{told}");
    }
}

#[test]
fn a_stream_is_told_in_numbered_events() {
    let answer = translate(&with(json!({ "stream": true }))).unwrap().answer;
    let events = events(&streamed(answer, &everything()));
    for (nth, (name, data)) in events.iter().enumerate() {
        assert_eq!((&data["type"], &data["sequence_number"]), (&json!(name), &json!(nth)));
    }
    let told: Vec<_> = events
        .iter()
        .map(|(name, data)| {
            let index = data["output_index"].as_u64().map(|index| format!(" {index}"));
            let what =
                ["delta", "text", "arguments"].map(|name| data[name].as_str().unwrap_or_default());
            format!(
                "{}{} {}",
                name.strip_prefix("response.").unwrap(),
                index.unwrap_or_default(),
                what.concat()
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            "created ",
            "in_progress ",
            "output_item.added 0 ",
            "content_part.added 0 ",
            "reasoning_text.delta 0 It is ",
            "reasoning_text.delta 0 asked.",
            "reasoning_text.done 0 It is asked.",
            "content_part.done 0 ",
            "output_item.done 0 ",
            "output_item.added 1 ",
            "content_part.added 1 ",
            "output_text.delta 1 Let me ",
            "output_text.delta 1 look.",
            "output_text.done 1 Let me look.",
            "content_part.done 1 ",
            "output_item.done 1 ",
            "output_item.added 2 ",
            "function_call_arguments.delta 2 {\"at\":",
            "function_call_arguments.delta 2 \"Oslo\"}",
            "function_call_arguments.done 2 {\"at\":\"Oslo\"}",
            "output_item.done 2 ",
            "output_item.added 3 ",
            "function_call_arguments.delta 3 {}",
            "function_call_arguments.done 3 {}",
            "output_item.done 3 ",
            "completed ",
        ]
    );
    let added = &events[9].1;
    assert_eq!(
        added["item"],
        json!({ "type": "message", "id": "msg_0199_1", "status": "in_progress",
                                      "role": "assistant", "content": [] })
    );
    for (_, data) in &events[10..15] {
        assert_eq!(data["item_id"], "msg_0199_1", "one item's events name it: {data}");
    }
    let done = &events[20].1["item"];
    assert_eq!(
        *done,
        json!({ "type": "function_call", "id": "fc_0199_2", "status": "completed",
        "call_id": "call_a", "name": "weather", "arguments": "{\"at\":\"Oslo\"}" })
    );
    assert_eq!(events[0].1["response"]["usage"], Value::Null);
}

#[test]
fn the_last_event_s_response_is_what_is_answered_without_a_stream() {
    let members =
        json!({ "instructions": "Be brief.", "metadata": { "a": "b" }, "temperature": 0.5 });
    let answer = || translate(&with(members.clone())).unwrap().answer;
    let mut streamed =
        events(&streamed(answer(), &everything())).pop().unwrap().1["response"].take();
    let mut response = answered(answer(), &whole(all_in_one(), "tool_calls"));
    for told in [&mut streamed, &mut response] {
        let completed = told["completed_at"].take().as_i64().unwrap();
        assert!(completed > i64::try_from(CREATED).unwrap(), "{completed}");
    }
    assert_eq!(response, streamed);
    // OpenAI's own where nobody has said anything.
    assert_eq!((&response["temperature"], &response["top_p"]), (&json!(0.5), &json!(1)));
    assert_eq!(
        (&response["presence_penalty"], &response["frequency_penalty"]),
        (&json!(0), &json!(0))
    );
    assert_eq!((&response["id"], &response["created_at"]), (&json!("resp_0199"), &json!(CREATED)));
    assert_eq!((&response["status"], &response["store"]), (&json!("completed"), &json!(false)));
    assert_eq!(
        (&response["instructions"], &response["metadata"]),
        (&json!("Be brief."), &json!({ "a": "b" }))
    );
    let kinds: Vec<_> =
        response["output"].as_array().unwrap().iter().map(|item| &item["type"]).collect();
    assert_eq!(kinds, ["reasoning", "message", "function_call", "function_call"]);
    assert_eq!(
        response["usage"],
        json!({ "input_tokens": 20, "input_tokens_details": { "cached_tokens": 5 }, "output_tokens": 7,
                "output_tokens_details": { "reasoning_tokens": 3 }, "total_tokens": 27 })
    );
}

#[test]
fn an_answer_that_was_too_long_is_incomplete() {
    let answer = || translate(&with(json!({ "max_output_tokens": 1 }))).unwrap().answer;
    let (name, mut last) = events(&streamed(answer(), &text(&["Hel"], "length"))).pop().unwrap();
    assert_eq!(name, "response.incomplete");
    let response = last["response"].take();
    assert_eq!(response["incomplete_details"], json!({ "reason": "max_output_tokens" }));
    assert_eq!(response["output"][0]["status"], "incomplete");
    assert_eq!(response["completed_at"], Value::Null);
    let message = json!({ "role": "assistant", "content": "Hel" });
    assert_eq!(answered(answer(), &whole(message, "length")), response);
}

#[test]
fn a_tool_is_repeated_with_each_of_its_members() {
    let schema = json!({ "type": "object" });
    let tools = json!([{ "type": "function", "name": "a" },
                       { "type": "function", "name": "b", "parameters": schema, "strict": true }]);
    let answer = translate(&with(json!({ "tools": tools }))).unwrap().answer;
    let message = json!({ "role": "assistant", "content": "Hi" });
    let nothing = Value::Null;
    assert_eq!(
        answered(answer, &whole(message, "stop"))["tools"],
        json!([{ "type": "function", "name": "a", "description": nothing, "parameters": nothing,
                 "strict": nothing },
               { "type": "function", "name": "b", "description": nothing, "parameters": schema,
                 "strict": true }])
    );
}

#[test]
fn a_failure_in_the_middle_is_the_response_s() {
    let mut answer = translate(&with(json!({}))).unwrap().answer;
    let mut out = String::new();
    answer.chunk(&text(&["Hel"], "stop")[1].to_string(), &mut out).unwrap();
    answer.failed(&ErrorBody::new(ErrorCode::UpstreamLost, "lost"), &mut out);
    let (name, last) = events(&out).pop().unwrap();
    assert_eq!((name.as_str(), &last["response"]["status"]), ("response.failed", &json!("failed")));
    assert_eq!(last["response"]["error"], json!({ "code": "upstream_lost", "message": "lost" }));
}

#[test]
fn the_model_s_name_is_the_answer_s_where_the_request_had_none() {
    let answer = translate(&with(json!({ "model": null }))).unwrap().answer;
    let message = json!({ "role": "assistant", "content": "Hi" });
    assert_eq!(answered(answer, &whole(message, "stop"))["model"], "m");
}

#[test]
fn a_last_message_of_the_assistant_s_is_answered_by_another() {
    let body = with(json!({ "input": [{ "role": "assistant", "content": "Hi" }] }));
    let body = sent(&translate(&body).unwrap());
    let said = (&body["continue_final_message"], &body["add_generation_prompt"]);
    assert_eq!(said, (&json!(false), &json!(true)));
}
