//! Functions that the model calls. The test model's template knows none, so it is told of them.

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::support::{engine, post_json, routes};

const CHAT: &str = "/v1/chat/completions";

fn tools() -> Value {
    json!([
        { "type": "function", "function": {
            "name": "get_weather", "description": "The weather of a city.", "strict": true,
            "parameters": {
                "type": "object", "required": ["city", "unit"], "additionalProperties": false,
                "properties": {
                    "city": { "type": "string", "maxLength": 12 },
                    "unit": { "$ref": "#/$defs/unit" },
                },
                "$defs": { "unit": { "enum": ["celsius", "fahrenheit"] } },
            },
        } },
        { "type": "function", "function": { "name": "ring", "parameters": null } },
    ])
}

fn body(choice: Value) -> Value {
    json!({
        "messages": [{ "role": "user", "content": "What is the weather in Paris?" }],
        "tools": tools(), "tool_choice": choice, "temperature": 0, "max_tokens": 300,
        "cache_prompt": false,
    })
}

fn named(name: &str) -> Value {
    json!({ "type": "function", "function": { "name": name } })
}

/// The calls of a stream's chunks, put together as clients do.
fn calls(chunks: &[Value]) -> Vec<Value> {
    let mut calls = Vec::<Value>::new();
    for chunk in chunks {
        let parts = chunk["choices"][0]["delta"]["tool_calls"].as_array();
        for part in parts.into_iter().flatten() {
            let index = usize::try_from(part["index"].as_u64().unwrap()).unwrap();
            if index == calls.len() {
                assert!(
                    part["function"]["name"].is_string() && part["type"] == "function",
                    "{part}"
                );
                calls.push(part.clone());
                continue;
            }
            assert_eq!((part.get("id"), part.get("type")), (None, None), "{part}");
            let more = part["function"]["arguments"].as_str().unwrap();
            let whole = calls[index]["function"]["arguments"].as_str().unwrap().to_owned() + more;
            calls[index]["function"]["arguments"] = whole.into();
        }
    }
    calls
}

#[tokio::test]
async fn a_function_that_must_be_called_gets_arguments_that_fit_its_schema() {
    let engine = engine(1, 2048).await;
    let routes = routes(&engine);
    let answer = post_json(&routes, CHAT, body(named("get_weather"))).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    let choice = &answer.json()["choices"][0];
    assert_eq!(
        (&choice["finish_reason"], &choice["message"]["content"]),
        (&json!("tool_calls"), &Value::Null)
    );
    let [call] = &choice["message"]["tool_calls"].as_array().unwrap()[..] else {
        panic!("{choice}");
    };
    assert_eq!(
        (&call["type"], &call["function"]["name"]),
        (&json!("function"), &json!("get_weather"))
    );
    assert!(call["id"].as_str().unwrap().starts_with("call_"), "{call}");
    let text = call["function"]["arguments"].as_str().unwrap();
    let arguments: Value = serde_json::from_str(text).unwrap();
    assert!(arguments["city"].is_string(), "{text}");
    assert!(["celsius", "fahrenheit"].contains(&arguments["unit"].as_str().unwrap()), "{text}");

    let mut streamed = body(named("get_weather"));
    streamed["stream"] = json!(true);
    let chunks = post_json(&routes, CHAT, streamed).await.chunks();
    let [same] = &calls(&chunks)[..] else { panic!("{chunks:?}") };
    assert_eq!(same["function"], call["function"]);
    assert_eq!(chunks.last().unwrap()["choices"][0]["finish_reason"], "tool_calls");
    // The name comes before the arguments are there.
    let with_calls =
        chunks.iter().filter(|chunk| !chunk["choices"][0]["delta"]["tool_calls"].is_null());
    assert!(with_calls.count() > 3, "{chunks:?}");
}

#[tokio::test]
async fn some_function_is_called_where_one_must_be_and_none_where_none_may_be() {
    let engine = engine(1, 2048).await;
    let routes = routes(&engine);
    let mut required = body(json!("required"));
    required["parallel_tool_calls"] = json!(false);
    let choice = post_json(&routes, CHAT, required).await.json()["choices"][0].clone();
    let calls = choice["message"]["tool_calls"].as_array().unwrap();
    assert_eq!(calls.len(), 1, "{choice}");
    let name = calls[0]["function"]["name"].as_str().unwrap();
    assert!(["get_weather", "ring"].contains(&name), "{choice}");
    let ring = post_json(&routes, CHAT, body(named("ring"))).await.json();
    let call = &ring["choices"][0]["message"]["tool_calls"][0]["function"];
    let arguments: Value = serde_json::from_str(call["arguments"].as_str().unwrap()).unwrap();
    assert_eq!(arguments, json!({}), "{ring}");

    let mut none = body(json!("none"));
    none["max_tokens"] = json!(5);
    let with_tools = post_json(&routes, CHAT, none.clone()).await.json();
    none.as_object_mut().unwrap().remove("tools");
    let without = post_json(&routes, CHAT, none).await.json();
    assert_eq!(with_tools["choices"], without["choices"]);
    assert_eq!(with_tools["choices"][0]["message"].get("tool_calls"), None);
}

#[tokio::test]
async fn the_model_is_shown_its_tools_and_what_they_gave() {
    let engine = engine(1, 2048).await;
    let routes = routes(&engine);
    let prompt = async |body: Value| {
        let answer = post_json(&routes, CHAT, body).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        answer.json()["usage"]["prompt_tokens"].as_u64().unwrap()
    };
    let mut body = body(json!("auto"));
    body["max_tokens"] = json!(1);
    let shown = prompt(body.clone()).await;
    let call = json!({ "id": "call_1", "type": "function", "function": { "name": "get_weather", "arguments": "{\"city\": \"Paris\", \"unit\": \"celsius\"}" } });
    let messages = body["messages"].as_array_mut().unwrap();
    messages.push(json!({ "role": "assistant", "content": null, "tool_calls": [call] }));
    messages
        .push(json!({ "role": "tool", "tool_call_id": "call_1", "content": "Sunny, 21 degrees." }));
    assert!(prompt(body.clone()).await > shown + 30);
    body["tools"] = json!([]);
    body["tool_choice"] = Value::Null;
    let unshown = prompt(body).await;
    assert!(unshown > 40 && unshown + 60 < shown, "{unshown} {shown}");
}

/// The conversation has calls with another unit, and the model goes on in their words; the schema has
/// only this one.
#[tokio::test]
async fn arguments_follow_their_schema_though_the_model_was_free_not_to_call() {
    let engine = engine(1, 2048).await;
    let call = |city: &str| {
        let arguments = format!("{{\"city\":\"{city}\",\"unit\":\"celsius\"}}");
        json!({ "id": "1", "type": "function", "function": { "name": "get_weather", "arguments": arguments } })
    };
    let turns = ["Paris", "Rome", "Athens"].into_iter().flat_map(|city| {
        [
            json!({ "role": "user", "content": format!("The weather in {city}?") }),
            json!({ "role": "assistant", "content": null, "tool_calls": [call(city)] }),
            json!({ "role": "tool", "tool_call_id": "1", "content": "{\"sky\":\"clear\"}" }),
            json!({ "role": "assistant", "content": "It is clear." }),
        ]
    });
    let last = json!({ "role": "user", "content": "The weather in Madrid?" });
    let messages: Vec<_> = turns.chain([last]).collect();
    let tool = |units: Value| {
        json!([{ "type": "function", "function": { "name": "get_weather", "parameters": {
            "type": "object", "required": ["city", "unit"], "additionalProperties": false,
            "properties": { "city": { "type": "string" }, "unit": { "enum": units } },
        } } }])
    };
    let routes = routes(&engine);
    for (units, unit) in [(json!(["celsius", "kelvin"]), "celsius"), (json!(["kelvin"]), "kelvin")]
    {
        let body = json!({
            "messages": messages, "tools": tool(units), "temperature": 0, "max_tokens": 80,
        });
        let answer = post_json(&routes, CHAT, body).await.json();
        let call = &answer["choices"][0]["message"]["tool_calls"][0]["function"];
        assert_eq!(call["name"], "get_weather", "{answer}");
        let arguments: Value = serde_json::from_str(call["arguments"].as_str().unwrap()).unwrap();
        assert_eq!(arguments, json!({ "city": "Madrid", "unit": unit }), "{answer}");
        assert_eq!(answer["choices"][0]["finish_reason"], "tool_calls");
    }
}
