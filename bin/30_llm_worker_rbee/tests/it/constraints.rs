//! What an answer must look like, as clients of different servers say it, and for what of an answer.

use axum::http::StatusCode;
use llm_worker_rbee::{Form, Holds, Sampling};
use serde_json::{Value, json};

use crate::support::{engine, generate, greedy, post_json, routes};

const CHAT: &str = "/v1/chat/completions";

fn asked(field: &str, value: &Value) -> Value {
    let mut body = json!({
        "messages": [{ "role": "user", "content": "Which colour is the sky?" }],
        "temperature": 0, "max_tokens": 40,
    });
    body[field] = value.clone();
    body
}

#[tokio::test]
async fn a_form_is_asked_for_as_other_servers_spell_it() {
    let engine = engine(1, 1024).await;
    let routes = routes(&engine);
    let schema = json!({ "type": "object", "properties": { "colour": { "enum": ["red", "green"] } }, "required": ["colour"] });
    let object = ["{\"colour\":\"red\"}", "{\"colour\":\"green\"}"];
    let words = ["red", "green"];
    let grammar = "root ::= \"red\" | \"green\"";
    let format = |inner: Value| json!({ "type": "json_schema", "json_schema": { "name": "c", "schema": inner } });
    for (field, value, wanted) in [
        ("response_format", format(schema.clone()), object),
        ("response_format", json!({ "type": "json_object", "schema": schema }), object),
        ("json_schema", schema.clone(), object),
        ("guided_json", schema.clone(), object),
        ("guided_json", json!(schema.to_string()), object),
        ("grammar", json!(grammar), words),
        ("guided_grammar", json!(grammar), words),
        ("guided_choice", json!(words), words),
        ("structured_outputs", json!({ "json": schema }), object),
        ("structured_outputs", json!({ "choice": words }), words),
        ("structured_outputs", json!({ "grammar": grammar }), words),
        ("guided_regex", json!("red|green"), words),
        ("structured_outputs", json!({ "regex": "red|green" }), words),
        ("grammar", json!("%llguidance {}\nstart: \"red\" | \"green\""), words),
    ] {
        let answer = post_json(&routes, CHAT, asked(field, &value)).await;
        assert_eq!(answer.status, StatusCode::OK, "{field}: {}", answer.body);
        let answer = answer.json();
        let text = answer["choices"][0]["message"]["content"].as_str().unwrap();
        let text: String = text.split_whitespace().collect();
        assert!(wanted.contains(&text.as_str()), "{field} {value}: {text}");
    }
}

#[tokio::test]
async fn what_a_schema_says_of_a_value_is_kept() {
    let engine = engine(1, 512).await;
    let routes = routes(&engine);
    let number = |value: &Value, within: std::ops::RangeInclusive<f64>| {
        value.as_f64().is_some_and(|number| within.contains(&number))
    };
    let is_date = |text: &str| text.parse::<jiff::civil::Date>().is_ok() && text.len() == 10;
    type Holds<'a> = &'a dyn Fn(&Value) -> bool;
    let cases: [(Value, Holds<'_>); 9] = [
        (json!({ "type": "number", "minimum": 0.5, "exclusiveMaximum": 0.75 }), &|value| {
            number(value, 0.5..=0.75) && value.as_f64() != Some(0.75)
        }),
        (json!({ "type": "integer", "multipleOf": 7, "minimum": 20, "maximum": 50 }), &|value| {
            [21, 28, 35, 42, 49].contains(&value.as_i64().unwrap_or_default())
        }),
        (json!({ "type": "string", "format": "date" }), &|value| {
            value.as_str().is_some_and(is_date)
        }),
        (json!({ "type": "string", "pattern": "^[A-Z]{3}-\\d{2}$" }), &|value| {
            let bytes = value.as_str().unwrap_or_default().as_bytes();
            bytes.len() == 6 && bytes[3] == b'-' && bytes[..3].iter().all(u8::is_ascii_uppercase)
        }),
        (json!({ "type": "string", "pattern": "^[ab]+$", "maxLength": 4 }), &|value| {
            let text = value.as_str().unwrap_or_default();
            (1..=4).contains(&text.len()) && text.bytes().all(|byte| b"ab".contains(&byte))
        }),
        (
            json!({ "type": "object", "patternProperties": { "^x[0-9]$": { "type": "boolean" } },
                "additionalProperties": false, "minProperties": 1, "maxProperties": 2 }),
            &|value| {
                let members = value.as_object().unwrap();
                (1..=2).contains(&members.len())
                    && members.iter().all(|(name, value)| {
                        name.len() == 2 && name.starts_with('x') && value.is_boolean()
                    })
            },
        ),
        (
            json!({ "properties": { "a": { "enum": [1] } }, "required": ["a"], "type": "object",
                "additionalProperties": false, "anyOf": [{ "required": ["a"] }, { "required": ["b"] }] }),
            &|value| *value == json!({ "a": 1 }),
        ),
        (
            json!({ "$ref": "#/$defs/list", "$defs": { "list": { "anyOf": [{ "type": "null" },
                { "type": "array", "items": { "$ref": "#/$defs/list" }, "maxItems": 1 }] } } }),
            &|value| value.is_null() || value.as_array().is_some_and(|items| items.len() < 2),
        ),
        (
            json!({ "enum": (0..500).map(|at| format!("word {at}")).collect::<Vec<_>>() }),
            &|value| value.as_str().is_some_and(|word| word.starts_with("word ")),
        ),
    ];
    for (schema, holds) in cases {
        for seed in [1, 2, 3] {
            let format = json!({ "type": "json_schema", "json_schema": { "schema": schema } });
            let mut body = asked("response_format", &format);
            body["temperature"] = json!(1.2);
            body["seed"] = json!(seed);
            body["max_tokens"] = json!(80);
            let answer = post_json(&routes, CHAT, body).await;
            assert_eq!(answer.status, StatusCode::OK, "{schema}: {}", answer.body);
            let choice = answer.json()["choices"][0].clone();
            let text = choice["message"]["content"].as_str().unwrap();
            // A nest may be deeper than the answer is long.
            if choice["finish_reason"] == "stop" {
                let value = serde_json::from_str(text);
                assert!(value.as_ref().is_ok_and(holds), "{schema}: {text}");
            }
        }
    }
}

#[tokio::test]
async fn a_form_that_cannot_be_kept_is_refused_by_its_field() {
    let engine = engine(1, 512).await;
    let routes = routes(&engine);
    let nested = format!("root ::= {}\"a\"{}", "(".repeat(5000), ")".repeat(5000));
    for (field, value, code) in [
        ("json_schema", json!({ "type": "string", "pattern": "^(?=x)y$" }), "invalid_value"),
        ("json_schema", json!({ "not": { "type": "null" } }), "invalid_value"),
        ("guided_json", json!({ "type": "array", "uniqueItems": true }), "invalid_value"),
        ("guided_json", json!({ "type": "object", "required": "a" }), "invalid_value"),
        ("guided_json", json!([]), "invalid_value"),
        ("guided_json", json!("no schema"), "invalid_value"),
        ("guided_choice", json!([]), "invalid_value"),
        ("guided_choice", json!("red"), "invalid_type"),
        ("guided_regex", json!("a+("), "invalid_value"),
        ("guided_regex", json!("(?=a)a"), "invalid_value"),
        ("guided_regex", json!(5), "invalid_type"),
        ("grammar", json!("root := no grammar"), "invalid_value"),
        ("grammar", json!("root ::= nowhere"), "invalid_value"),
        ("grammar", json!(nested), "invalid_value"),
        ("grammar", json!({}), "invalid_type"),
        ("structured_outputs", json!({ "regex": "a+(" }), "invalid_value"),
        ("grammar", json!("%llguidance {}\nstart: nowhere"), "invalid_value"),
        ("structured_outputs", json!([]), "invalid_value"),
        (
            "structured_outputs",
            json!({ "choice": ["a"], "grammar": "root ::= \"a\"" }),
            "invalid_value",
        ),
    ] {
        let answer = post_json(&routes, CHAT, asked(field, &value)).await;
        assert_eq!(answer.status, 400, "{field} {value}: {}", answer.body);
        let error = answer.json()["error"].clone();
        assert_eq!((&error["code"], &error["param"]), (&json!(code), &json!(field)), "{error}");
    }
    let mut two = asked("grammar", &json!("root ::= \"a\""));
    two["response_format"] = json!({ "type": "json_object" });
    let answer = post_json(&routes, CHAT, two).await;
    assert_eq!(
        (answer.status.as_u16(), answer.json()["error"]["param"].clone()),
        (400, json!("grammar"))
    );
    // And it still answers.
    let answer = post_json(&routes, CHAT, asked("grammar", &json!("root ::= \"a\""))).await;
    assert_eq!(answer.json()["choices"][0]["message"]["content"], "a");
}

/// A grammar of three letters in braces, behind a word that the model says by itself.
#[tokio::test]
async fn a_grammar_may_hold_for_a_part_of_an_answer_only() {
    const BRACES: &str = "root ::= \"{\" [abc]{3} \"}\"";
    let engine = engine(1, 512).await;
    let prompt = engine.model().tokenize("The capital of France is");
    let said = |text: &str, word: &str| text.split_once(word).map(|(_, rest)| rest.to_owned());
    let ask = async |holds: Holds| {
        let sampling = Sampling {
            form: Some(Form::Gbnf(BRACES.to_owned())),
            holds,
            ..greedy(Vec::new(), 1).sampling
        };
        let request = llm_worker_rbee::Request { sampling, ..greedy(prompt.clone(), 24) };
        generate(&engine, request).await.text()
    };
    let is_in_braces = |text: &str| {
        let inner = text.trim_start().strip_prefix('{').and_then(|rest| rest.get(..4));
        inner.is_some_and(|four| {
            four[..3].bytes().all(|b| b"abc".contains(&b)) && four.ends_with('}')
        })
    };
    let text = ask(Holds::AfterThoughts { open: None, close: " Paris", opened: true }).await;
    let rest = said(&text, " Paris").expect("the model says so");
    assert!(is_in_braces(&rest) && rest.trim().len() == 5, "{text}");
    // Without thoughts it holds from the beginning.
    let text = ask(Holds::AfterThoughts { open: None, close: " Paris", opened: false }).await;
    assert!(is_in_braces(&text) && text.trim().len() == 5, "{text}");
    let open = engine.model().tokenize(" Paris")[0];
    let text = ask(Holds::AfterThoughts { open: Some(open), close: ".", opened: false }).await;
    assert!(text.starts_with(" Paris"), "{text}");
    // For each call; what comes behind one is free.
    let text = ask(Holds::InCalls { opener: " Paris" }).await;
    let rest = said(&text, " Paris").expect("the model says so");
    assert!(is_in_braces(&rest) && rest.trim().len() > 5, "{text}");
}
