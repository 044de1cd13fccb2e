use api_dialects::{
    Answer as _, Endpoint,
    ollama::{
        Named, Pull, Pulled, Unload, running, show, tags, translate_chat, translate_embed,
        translate_embeddings, translate_generate,
    },
};
use rbee_api::{Ability, ErrorBody, ErrorCode, Model, Progress, Sampling, Worker};
use serde_json::{Value, json};

use crate::worker::{all_in_one, answered, everything, sent, streamed, text, whole};

const CREATED_AT: &str = "2023-11-14T22:13:20Z";

fn with(base: Value, members: Value) -> Vec<u8> {
    let (mut body, Value::Object(members)) = (base, members) else { panic!("no object") };
    body.as_object_mut().unwrap().extend(members);
    body.to_string().into_bytes()
}

fn chat(members: Value) -> Vec<u8> {
    with(json!({ "model": "m", "messages": [{ "role": "user", "content": "Hi" }] }), members)
}

fn generate(members: Value) -> Vec<u8> {
    with(json!({ "model": "m", "prompt": "Hi" }), members)
}

/// Each line of a stream, without what time it took.
#[track_caller]
fn lines(out: &str) -> Vec<Value> {
    let mut lines: Vec<Value> =
        out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for line in &mut lines {
        without_times(line);
    }
    lines
}

#[track_caller]
fn without_times(line: &mut Value) {
    let line = line.as_object_mut().unwrap();
    assert_eq!(line.remove("created_at").unwrap(), CREATED_AT);
    if line.contains_key("total_duration") {
        for name in ["total_duration", "load_duration"] {
            assert!(line.remove(name).unwrap().is_u64(), "{name}");
        }
    }
}

#[test]
fn a_conversation_becomes_messages_with_ids_for_its_calls() {
    let call = |name: &str| json!({ "function": { "name": name, "arguments": { "a": 1 } } });
    let body = chat(json!({ "stream": false, "messages": [
        { "role": "system", "content": "Be brief." },
        { "role": "user", "content": "What?", "images": ["iVBO", "/9j/"] },
        { "role": "assistant", "content": "", "thinking": "Look.", "tool_calls": [call("x"), call("y"), call("x")] },
        { "role": "tool", "tool_name": "y", "content": "of y" },
        { "role": "tool", "content": "of x" },
        { "role": "tool", "tool_name": "x", "content": "of x too" },
    ] }));
    let call = |id: &str, name: &str| json!({ "id": id, "type": "function", "function": { "name": name, "arguments": "{\"a\":1}" } });
    let image = |url: &str| json!({ "type": "image_url", "image_url": { "url": url } });
    assert_eq!(
        sent(&translate_chat(&body).unwrap())["messages"],
        json!([
            { "role": "system", "content": "Be brief." },
            { "role": "user", "content": [image("data:image/png;base64,iVBO"),
                image("data:image/jpeg;base64,/9j/"), { "type": "text", "text": "What?" }] },
            { "role": "assistant", "content": "", "reasoning_content": "Look.",
              "tool_calls": [call("call_1", "x"), call("call_2", "y"), call("call_3", "x")] },
            { "role": "tool", "content": "of y", "tool_call_id": "call_2", "name": "y" },
            { "role": "tool", "content": "of x", "tool_call_id": "call_1" },
            { "role": "tool", "content": "of x too", "tool_call_id": "call_3", "name": "x" },
        ])
    );
}

#[test]
fn options_have_openai_s_names_and_what_the_configuration_decides_is_listed() {
    let options = json!({ "num_predict": 5, "temperature": 0.5, "top_k": 3, "top_p": 0.9, "min_p": 0.1,
        "seed": 7, "repeat_penalty": 1.1, "presence_penalty": 0.2, "frequency_penalty": 0.3,
        "stop": "x", "num_ctx": 4096, "mirostat": 0, "typical_p": 1.0, "repeat_last_n": 64 });
    let members = json!({ "options": options, "keep_alive": "5m", "think": false });
    for (translated, own) in [
        (translate_chat(&chat(members.clone())).unwrap(), "messages"),
        (translate_generate(&generate(members.clone())).unwrap(), "messages"),
    ] {
        assert_eq!(translated.ignored, ["options.num_ctx"]);
        let mut body = sent(&translated);
        assert_eq!(
            body.as_object_mut().unwrap().remove(own).unwrap(),
            json!([{ "role": "user", "content": "Hi" }])
        );
        assert_eq!(
            body,
            json!({ "model": "m", "max_tokens": 5, "temperature": 0.5, "top_k": 3, "top_p": 0.9,
                    "min_p": 0.1, "seed": 7, "repeat_penalty": 1.1, "presence_penalty": 0.2,
                    "frequency_penalty": 0.3, "stop": ["x"], "stream": true, "keep_alive": 300.0,
                    "stream_options": { "include_usage": true },
                    "chat_template_kwargs": { "enable_thinking": false, "thinking": false } })
        );
    }
    for endless in [-1, -2] {
        let body = chat(json!({ "options": { "num_predict": endless, "stop": ["a", "b"] } }));
        let body = sent(&translate_chat(&body).unwrap());
        assert_eq!((&body["max_tokens"], &body["stop"]), (&Value::Null, &json!(["a", "b"])));
    }
}

#[test]
fn the_form_of_an_answer_is_passed_on_as_it_was_written() {
    let schema = r#"{"type": "object", "properties": {"b": {}, "a": {}}}"#;
    let body = format!(r#"{{"model":"m","prompt":"Hi","format":{schema}}}"#);
    let translated = translate_generate(body.as_bytes()).unwrap();
    let text = String::from_utf8(translated.body).unwrap();
    assert!(text.contains(&format!(r#""schema":{schema}"#)), "{text}");
    let body = sent(&translate_chat(&chat(json!({ "format": "json" }))).unwrap());
    assert_eq!(body["response_format"], json!({ "type": "json_object" }));
    let body = sent(&translate_chat(&chat(json!({ "format": "" }))).unwrap());
    assert_eq!(body["response_format"], Value::Null);
}

#[test]
fn how_much_is_thought_is_passed_on() {
    for (think, switches) in [
        (json!(true), json!({ "enable_thinking": true, "thinking": true })),
        (
            json!("high"),
            json!({ "enable_thinking": true, "thinking": true, "reasoning_effort": "high" }),
        ),
    ] {
        let body = sent(&translate_chat(&chat(json!({ "think": think }))).unwrap());
        assert_eq!(body["chat_template_kwargs"], switches);
    }
}

#[test]
fn a_prompt_is_a_message_or_with_raw_the_beginning_of_the_text() {
    let translated = translate_generate(&generate(json!({ "system": "Be brief." }))).unwrap();
    assert_eq!(translated.endpoint, Endpoint::ChatCompletions);
    assert_eq!(
        sent(&translated)["messages"],
        json!([{ "role": "system", "content": "Be brief." }, { "role": "user", "content": "Hi" }])
    );
    let translated =
        translate_generate(&generate(json!({ "raw": true, "stream": false }))).unwrap();
    assert_eq!(translated.endpoint, Endpoint::Completions);
    assert_eq!(
        sent(&translated),
        json!({ "model": "m", "prompt": "Hi", "stream": false,
                                          "max_tokens": u32::MAX })
    );
}

#[test]
fn a_gap_is_between_the_prompt_and_the_suffix() {
    let asked = json!({ "prompt": "fn a() {", "suffix": "}", "stream": false });
    let translated = translate_generate(&generate(asked)).unwrap();
    assert_eq!(translated.endpoint, Endpoint::Completions);
    assert_eq!(
        sent(&translated),
        json!({ "model": "m", "prompt": "fn a() {", "suffix": "}", "stream": false,
                "max_tokens": u32::MAX })
    );
    // One at the beginning of a text.
    let asked = json!({ "prompt": "", "suffix": "}" });
    let sent = sent(&translate_generate(&generate(asked)).unwrap());
    assert_eq!((&sent["prompt"], &sent["suffix"]), (&json!(""), &json!("}")));
}

#[test]
fn a_request_that_says_nothing_loads_the_model() {
    for (translated, mut expected) in [
        (
            translate_chat(&chat(json!({ "messages": [] }))),
            json!({ "message": { "role": "assistant", "content": "" } }),
        ),
        (translate_generate(&generate(json!({ "prompt": "" }))), json!({ "response": "" })),
    ] {
        let translated = translated.unwrap();
        let body = sent(&translated);
        assert_eq!((&body["max_tokens"], &body["stream"]), (&json!(1), &json!(false)));
        let mut answer = answered(translated.answer, &whole(all_in_one(), "length"));
        without_times(&mut answer);
        expected.as_object_mut().unwrap().extend(
            json!({ "model": "m", "done": true, "done_reason": "load" })
                .as_object()
                .unwrap()
                .clone(),
        );
        assert_eq!(answer, expected);
    }
}

#[test]
fn a_request_that_says_nothing_and_keeps_nothing_unloads_the_model() {
    let now = "2026-01-02T03:04:05Z".parse().unwrap();
    for none in [json!(0), json!("0"), json!("0s")] {
        for messages in [json!([]), json!(null)] {
            let body = chat(json!({ "messages": messages, "keep_alive": none }));
            let unload = Unload::read(&body, true).unwrap();
            let done = serde_json::to_value(unload.done(now)).unwrap();
            let expected = json!({ "model": "m", "created_at": "2026-01-02T03:04:05Z", "done": true,
                "done_reason": "unload", "message": { "role": "assistant", "content": "" } });
            assert_eq!(done, expected);
        }
        let body = generate(json!({ "prompt": "", "keep_alive": none }));
        let unload = Unload::read(&body, false).unwrap();
        assert_eq!(serde_json::to_value(unload.done(now)).unwrap()["response"], "");
    }
    for other in [
        chat(json!({ "keep_alive": 0 })),
        chat(json!({ "messages": [], "keep_alive": 1 })),
        chat(json!({ "messages": [], "keep_alive": "never" })),
        chat(json!({ "messages": [] })),
        b"[]".to_vec(),
    ] {
        assert!(Unload::read(&other, true).is_none());
    }
}

#[test]
fn what_is_loaded_says_until_when() {
    let now = "2026-01-02T03:04:05Z".parse().unwrap();
    let worker = |unloads_in_s: Option<u64>| {
        let worker = json!({ "id": "w", "model": "m", "kind": "llama_cpp", "device": "cpu",
            "state": "ready", "active_requests": 0, "memory_bytes": 5, "detail": null,
            "health": null, "unloads_in_s": unloads_in_s });
        serde_json::from_value(worker).unwrap()
    };
    let listed = serde_json::to_value(running(&[worker(Some(60)), worker(None)], now)).unwrap();
    assert_eq!(listed["models"][0]["expires_at"], "2026-01-02T03:05:05Z");
    assert!(listed["models"][1]["expires_at"].as_str().unwrap() > "2125");
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    use ErrorCode::{InvalidType, InvalidValue, MissingParameter, UnsupportedParameter};
    for (refused, code, param) in [
        (translate_chat(&chat(json!({ "model": null }))), MissingParameter, "model"),
        (translate_chat(&chat(json!({ "messages": "Hi" }))), InvalidType, "messages"),
        (
            translate_chat(&chat(json!({ "messages": [{ "role": "robot" }] }))),
            InvalidValue,
            "messages[0].role",
        ),
        (
            translate_chat(&chat(json!({ "options": { "mirostat": 2 } }))),
            UnsupportedParameter,
            "options.mirostat",
        ),
        (
            translate_chat(&chat(json!({ "options": { "typical_p": 0.5 } }))),
            UnsupportedParameter,
            "options.typical_p",
        ),
        (
            translate_chat(&chat(json!({ "options": { "repeat_last_n": 0 } }))),
            UnsupportedParameter,
            "options.repeat_last_n",
        ),
        (
            translate_chat(&chat(json!({ "options": { "temperature": "hot" } }))),
            InvalidType,
            "options.temperature",
        ),
        (translate_chat(&chat(json!({ "options": { "stop": 1 } }))), InvalidValue, "options.stop"),
        (translate_chat(&chat(json!({ "format": "xml" }))), InvalidValue, "format"),
        (translate_chat(&chat(json!({ "think": "a bit" }))), InvalidValue, "think"),
        (translate_chat(&chat(json!({ "logprobs": true }))), UnsupportedParameter, "logprobs"),
        (
            translate_generate(&generate(json!({ "template": "{{ .Prompt }}" }))),
            UnsupportedParameter,
            "template",
        ),
        (translate_generate(&generate(json!({ "context": [1] }))), UnsupportedParameter, "context"),
        (
            translate_generate(&generate(json!({ "raw": true, "system": "s" }))),
            UnsupportedParameter,
            "system",
        ),
        (
            translate_generate(&generate(json!({ "raw": true, "images": ["x"] }))),
            UnsupportedParameter,
            "images",
        ),
        (
            translate_generate(&generate(json!({ "suffix": "}", "system": "s" }))),
            UnsupportedParameter,
            "system",
        ),
    ] {
        let error = refused.unwrap_err().error;
        assert_eq!((error.code, error.param.as_deref()), (code, Some(param)), "{}", error.message);
    }
    let pull = |body: &str| Pull::read(body.as_bytes());
    assert_eq!(pull("{}").unwrap_err().error.param.as_deref(), Some("model"));
    let error = pull(r#"{"model":"m","insecure":true}"#).unwrap_err().error;
    assert_eq!(error.param.as_deref(), Some("insecure"));
    assert!(!pull(r#"{"name":"m","stream":false}"#).unwrap().stream);
    assert_eq!(Named::read(br#"{"name":"old","verbose":true}"#).unwrap().model, "old");
}

#[test]
fn a_stream_is_a_line_for_each_chunk_and_each_whole_call() {
    let answer = translate_chat(&chat(json!({}))).unwrap().answer;
    let said = |message: Value| json!({ "model": "m", "message": message, "done": false });
    let call = |id: &str, name: &str, arguments: Value| {
        said(json!({ "role": "assistant", "content": "",
            "tool_calls": [{ "id": id, "function": { "name": name, "arguments": arguments } }] }))
    };
    assert_eq!(
        lines(&streamed(answer, &everything())),
        [
            said(json!({ "role": "assistant", "content": "", "thinking": "It is " })),
            said(json!({ "role": "assistant", "content": "", "thinking": "asked." })),
            said(json!({ "role": "assistant", "content": "Let me " })),
            said(json!({ "role": "assistant", "content": "look." })),
            call("call_a", "weather", json!({ "at": "Oslo" })),
            call("call_b", "time", json!({})),
            json!({ "model": "m", "message": { "role": "assistant", "content": "" }, "done": true,
                    "done_reason": "stop", "prompt_eval_count": 20, "prompt_eval_duration": 1_500_000,
                    "eval_count": 7, "eval_duration": 2_250_000 }),
        ]
    );
}

#[test]
fn generate_says_the_same_in_its_own_members() {
    let answer = translate_generate(&generate(json!({}))).unwrap().answer;
    let lines = lines(&streamed(answer, &text(&["Hel", "lo"], "length")));
    let said: Vec<_> = lines.iter().map(|line| &line["response"]).collect();
    assert_eq!(said, ["Hel", "lo", ""]);
    assert_eq!((&lines[2]["done"], &lines[2]["done_reason"]), (&json!(true), &json!("length")));
    let answer = translate_generate(&generate(json!({ "raw": true }))).unwrap().answer;
    let mut body = whole(json!({}), "stop");
    body["choices"][0] = json!({ "index": 0, "text": "Hello", "finish_reason": "stop" });
    assert_eq!(answered(answer, &body)["response"], "Hello");
}

#[test]
fn a_whole_answer_says_all_of_it() {
    let answer = translate_chat(&chat(json!({ "stream": false }))).unwrap().answer;
    let mut answer = answered(answer, &whole(all_in_one(), "tool_calls"));
    without_times(&mut answer);
    assert_eq!(
        answer,
        json!({ "model": "m", "done": true, "done_reason": "stop", "prompt_eval_count": 20,
                "prompt_eval_duration": 1_500_000, "eval_count": 7, "eval_duration": 2_250_000,
                "message": { "role": "assistant", "content": "Let me look.", "thinking": "It is asked.",
                  "tool_calls": [
                    { "id": "call_a", "function": { "name": "weather", "arguments": { "at": "Oslo" } } },
                    { "id": "call_b", "function": { "name": "time", "arguments": {} } }] } })
    );
}

#[test]
fn a_failure_in_the_middle_is_a_line() {
    let mut answer = translate_chat(&chat(json!({}))).unwrap().answer;
    let mut out = String::new();
    answer.failed(&ErrorBody::new(ErrorCode::QueueFull, "full"), &mut out);
    assert_eq!(out, "{\"error\":\"full\"}\n");
}

#[test]
fn models_are_listed_as_ollama_lists_them() {
    let model = |name: &str, local, path: &str| Model {
        name: name.to_owned(),
        size_bytes: 9,
        is_approximate: false,
        memory_bytes: None,
        local,
        path: Some(path.to_owned()),
        sha256: Some("abc".to_owned()),
        license: Some("MIT".to_owned()),
        description: None,
        abilities: vec![Ability::Completion],
        sampling: Sampling { temperature: Some(0.6), top_k: Some(20), ..Sampling::default() },
    };
    let models = [model("here:1b", true, "/x/a.gguf"), model("far:1b", false, "/x/b.gguf")];
    let listed = serde_json::to_value(tags(&models)).unwrap();
    assert_eq!(listed["models"].as_array().unwrap().len(), 1, "only what is here");
    let tag = &listed["models"][0];
    assert_eq!((&tag["name"], &tag["model"]), (&json!("here:1b"), &json!("here:1b")));
    assert_eq!((&tag["size"], &tag["digest"]), (&json!(9), &json!("abc")));
    assert_eq!(tag["details"]["format"], "gguf");
    assert!(!listed.to_string().contains("/x/"), "no path of this machine");
    let shown = serde_json::to_value(show(&models[0])).unwrap();
    assert_eq!(
        (&shown["license"], &shown["capabilities"][0]),
        (&json!("MIT"), &json!("completion"))
    );
    let parameters: Vec<_> = shown["parameters"].as_str().unwrap().split_whitespace().collect();
    assert_eq!(parameters, ["temperature", "0.6", "top_k", "20"]);
    assert!(!shown.to_string().contains("/x/"), "no path of this machine");
}

#[test]
fn a_model_is_shown_with_what_it_can_be_asked_for() {
    let model = |abilities: &[&str]| -> Model {
        serde_json::from_value(json!({
            "name": "m", "size_bytes": 1, "local": true, "path": null, "sha256": null,
            "license": null, "description": null, "abilities": abilities,
        }))
        .unwrap()
    };
    for abilities in [
        &["embedding"][..],
        &["rerank"],
        &["completion", "tools", "thinking", "insert"],
        &["completion"],
    ] {
        let models = [model(abilities)];
        let shown = serde_json::to_value(show(&models[0])).unwrap();
        assert_eq!(shown["capabilities"], json!(abilities));
        let listed = serde_json::to_value(tags(&models)).unwrap();
        assert_eq!(listed["models"][0]["capabilities"], json!(abilities));
    }
    // Of a model of which nobody knows, nothing is said: clients go by its name then.
    let models = [model(&[])];
    let shown = serde_json::to_value(show(&models[0])).unwrap();
    assert!(shown.get("capabilities").is_none());
    let listed = serde_json::to_value(tags(&models)).unwrap();
    assert!(listed["models"][0].get("capabilities").is_none());
}

#[test]
fn loaded_models_are_the_workers_that_are_ready() {
    let worker = |state: &str, device: &str| -> Worker {
        serde_json::from_value(json!({ "id": "w", "model": "m", "kind": "llama_cpp", "device": device,
            "state": state, "active_requests": 0, "memory_bytes": 5, "detail": null, "health": null }))
        .unwrap()
    };
    let workers = [worker("ready", "cpu"), worker("ready", "cuda:0"), worker("starting", "cpu")];
    let listed = serde_json::to_value(running(&workers, jiff::Timestamp::UNIX_EPOCH)).unwrap();
    let sizes: Vec<_> = listed["models"]
        .as_array()
        .unwrap()
        .iter()
        .map(|model| (model["size"].as_u64().unwrap(), model["size_vram"].as_u64().unwrap()))
        .collect();
    assert_eq!(sizes, [(5, 0), (5, 5)]);
}

#[test]
fn progress_has_ollama_s_members() {
    let progress = Progress { target: "m".to_owned(), done_bytes: 1, total_bytes: Some(2) };
    assert_eq!(
        serde_json::to_value(Pulled::progress("pulling m", &progress)).unwrap(),
        json!({ "status": "pulling m", "digest": "m", "total": 2, "completed": 1 })
    );
    assert_eq!(serde_json::to_value(Pulled::SUCCESS).unwrap(), json!({ "status": "success" }));
}

#[test]
fn vectors_are_asked_for_as_openai_s_and_told_as_ollama_s() {
    let body = json!({ "model": "m", "input": ["a", "b"], "dimensions": 2, "truncate": true });
    let translated = translate_embed(body.to_string().as_bytes()).unwrap();
    assert_eq!(
        (translated.endpoint, &translated.ignored[..]),
        (Endpoint::Embeddings, &["truncate".to_owned()][..])
    );
    assert_eq!(
        sent(&translated),
        json!({ "model": "m", "input": ["a", "b"], "dimensions": 2,
                                          "encoding_format": "float" })
    );
    let made = json!({ "object": "list", "data": [{ "index": 0, "embedding": [0.5, 1] },
        { "index": 1, "embedding": [1, 0] }], "usage": { "prompt_tokens": 4, "total_tokens": 4 } });
    let mut answer = answered(translated.answer, &made);
    assert!(answer["total_duration"].take().is_u64());
    assert_eq!(
        answer,
        json!({ "model": "m", "embeddings": [[0.5, 1], [1, 0]], "total_duration": null,
                               "load_duration": 0, "prompt_eval_count": 4 })
    );
    let older = translate_embeddings(br#"{"model":"m","prompt":"a"}"#).unwrap();
    assert_eq!(sent(&older)["input"], "a");
    let made = json!({ "data": [{ "embedding": [0.5] }] });
    assert_eq!(answered(older.answer, &made), json!({ "embedding": [0.5] }));
    let refused = |body: &str| translate_embed(body.as_bytes()).unwrap_err().error.param;
    assert_eq!(refused(r#"{"model":"m"}"#).as_deref(), Some("input"));
    assert_eq!(refused(r#"{"model":"m","input":1}"#).as_deref(), Some("input"));
    assert_eq!(refused(r#"{"input":"a"}"#).as_deref(), Some("model"));
}

#[test]
fn an_answer_goes_on_with_a_last_message_of_the_assistant_s() {
    for (last, goes_on) in [
        (json!({ "role": "assistant", "content": "He" }), json!(true)),
        (json!({ "role": "assistant", "content": "" }), json!(false)),
        (json!({ "role": "user", "content": "Hi" }), Value::Null),
    ] {
        let body = sent(&translate_chat(&chat(json!({ "messages": [last] }))).unwrap());
        assert_eq!(body["continue_final_message"], goes_on, "{last}");
    }
}
