use api_dialects::{Answer, Translated};
use serde_json::{Value, json};

pub(crate) const ID: &str = "chatcmpl-0199";
pub(crate) const CREATED: u64 = 1_700_000_000;

/// The chunks of an answer with reasoning, text and two calls.
pub(crate) fn everything() -> Vec<Value> {
    let call = |index: u8, id: &str, name: &str| {
        let function = json!({ "name": name, "arguments": "" });
        json!({ "tool_calls": [{ "index": index, "id": id, "type": "function", "function": function }] })
    };
    let arguments = |index: u8, text: &str| json!({ "tool_calls": [{ "index": index, "function": { "arguments": text } }] });
    let mut chunks = vec![
        delta(json!({ "role": "assistant", "content": "" })),
        delta(json!({ "reasoning_content": "It is " })),
        delta(json!({ "reasoning_content": "asked." })),
        delta(json!({ "content": "Let me " })),
        delta(json!({ "content": "look." })),
        delta(call(0, "call_a", "weather")),
        delta(arguments(0, "{\"at\":")),
        delta(arguments(0, "\"Oslo\"}")),
        delta(call(1, "call_b", "time")),
        delta(arguments(1, "{}")),
    ];
    chunks.extend(end("tool_calls"));
    chunks
}

/// The chunks of an answer that is this text.
pub(crate) fn text(pieces: &[&str], reason: &str) -> Vec<Value> {
    let mut chunks = vec![delta(json!({ "role": "assistant", "content": "" }))];
    chunks.extend(pieces.iter().map(|piece| delta(json!({ "content": piece }))));
    chunks.extend(end(reason));
    chunks
}

pub(crate) fn delta(delta: Value) -> Value {
    chunk(json!([{ "index": 0, "delta": delta, "logprobs": null, "finish_reason": null }]))
}

pub(crate) fn usage() -> Value {
    json!({ "prompt_tokens": 20, "completion_tokens": 7, "total_tokens": 27,
            "prompt_tokens_details": { "cached_tokens": 5 },
            "completion_tokens_details": { "reasoning_tokens": 3 } })
}

fn end(reason: &str) -> [Value; 2] {
    let mut last = chunk(json!([{ "index": 0, "delta": {}, "finish_reason": reason }]));
    last["timings"] = json!({ "prompt_ms": 1.5, "predicted_ms": 2.25 });
    let mut used = chunk(json!([]));
    used["usage"] = usage();
    [last, used]
}

fn chunk(choices: Value) -> Value {
    json!({ "id": ID, "object": "chat.completion.chunk", "created": CREATED, "model": "m",
            "choices": choices })
}

/// An answer of one body.
pub(crate) fn whole(message: Value, reason: &str) -> Value {
    json!({ "id": ID, "object": "chat.completion", "created": CREATED, "model": "m",
            "choices": [{ "index": 0, "message": message, "finish_reason": reason }],
            "usage": usage(), "timings": { "prompt_ms": 1.5, "predicted_ms": 2.25 } })
}

/// The message that [`everything`] is the stream of.
pub(crate) fn all_in_one() -> Value {
    let call = |id: &str, name: &str, arguments: &str| json!({ "id": id, "type": "function", "function": { "name": name, "arguments": arguments } });
    let calls = [call("call_a", "weather", "{\"at\":\"Oslo\"}"), call("call_b", "time", "{}")];
    json!({ "role": "assistant", "content": "Let me look.", "reasoning_content": "It is asked.",
            "tool_calls": calls })
}

/// What the worker is sent, and what has no effect.
#[track_caller]
pub(crate) fn sent<A>(translated: &Translated<A>) -> Value {
    serde_json::from_slice(&translated.body).unwrap()
}

/// The frames that the client is sent of a whole stream.
#[track_caller]
pub(crate) fn streamed(mut answer: impl Answer, chunks: &[Value]) -> String {
    let mut out = String::new();
    for chunk in chunks {
        answer.chunk(&chunk.to_string(), &mut out).unwrap();
    }
    answer.done(&mut out);
    out
}

/// The one body that the client is sent.
#[track_caller]
pub(crate) fn answered(mut answer: impl Answer, body: &Value) -> Value {
    serde_json::from_slice(&answer.whole(body.to_string().as_bytes()).unwrap()).unwrap()
}

/// Server-sent events, each with its name.
#[track_caller]
pub(crate) fn events(frames: &str) -> Vec<(String, Value)> {
    let frames = frames.strip_suffix("\n\n").unwrap().split("\n\n");
    let event = |frame: &str| {
        let (name, data) = frame.strip_prefix("event: ").unwrap().split_once("\ndata: ").unwrap();
        (name.to_owned(), serde_json::from_str(data).unwrap())
    };
    frames.map(event).collect()
}
