//! What is set for a model, and what requests and chats become by it.

use axum::{Router, http::StatusCode};
use llm_worker_rbee::{LoadError, LoadOptions, Model};
use rbee_api::TemplateSetting;
use serde_json::{Value, json};

use crate::support::{engine, engine_as, get, model_path, post_json, routes, routes_with};

const CHAT: &str = "/v1/chat/completions";
const PLAIN: &str = "/v1/completions";

fn messages() -> Value {
    json!([{ "role": "user", "content": "Tell me about bees." }])
}

/// The usage of the answer to `body`.
async fn usage(routes: &Router, path: &str, body: Value) -> Value {
    let answer = post_json(routes, path, body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert!(!answer.headers.contains_key("x-rbee-ignored"), "{answer:?}");
    answer.json()["usage"].clone()
}

#[tokio::test]
async fn a_request_has_what_is_set_where_it_says_nothing() {
    let engine = engine(1, 512).await;
    let members = json!({
        "max_tokens": 3, "temperature": 0.0, "top_k": 0, "repeat_penalty": 1.1, "seed": 7,
        "reasoning_effort": "none", "stop": ["###"],
    });
    let routes = routes_with(&engine, json!({ "members": members })).unwrap();
    for (path, body) in
        [(CHAT, json!({ "messages": messages() })), (PLAIN, json!({ "prompt": "One, two," }))]
    {
        for (more, tokens) in [
            (json!({}), 3),
            (json!({ "max_tokens": null }), 3),
            (json!({ "max_tokens": 5 }), 5),
            (json!({ "max_completion_tokens": 2 }), 2),
        ] {
            let mut body = body.clone();
            body["ignore_eos"] = json!(true);
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            assert_eq!(usage(&routes, path, body).await["completion_tokens"], tokens, "{more}");
        }
    }
    let params =
        get(&routes, "/props").await.json()["default_generation_settings"]["params"].clone();
    assert_eq!((&params["n_predict"], &params["top_k"]), (&json!(3), &json!(0)), "{params}");
    assert_eq!(params["temperature"], 0.0, "{params}");
    // What a client says is looked at as ever.
    let refused = post_json(&routes, CHAT, json!({ "messages": messages(), "top_k": "x" })).await;
    assert_eq!(refused.json()["error"]["param"], "top_k", "{refused:?}");
}

#[tokio::test]
async fn a_text_that_is_set_ends_an_answer_unless_the_request_has_its_own() {
    let engine = engine(1, 512).await;
    let members = json!({ "temperature": 0, "max_tokens": 6, "stop": [" b"] });
    let routes = routes_with(&engine, json!({ "members": members })).unwrap();
    let text = async |more: Value| {
        let mut body = json!({ "prompt": "a b a b a b a b a b a b" });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        post_json(&routes, PLAIN, body).await.json()["choices"][0]["text"].clone()
    };
    assert_eq!(text(json!({})).await, " a");
    assert_eq!(text(json!({ "stop": [] })).await, " a b a b a b");
}

#[tokio::test]
async fn a_chat_begins_with_what_is_set_unless_it_has_a_system_message() {
    let engine = engine(1, 512).await;
    let routes = routes_with(&engine, json!({ "system": "You are a bee." })).unwrap();
    let prompt = async |messages: Value| {
        let body = json!({ "messages": messages });
        let text = post_json(&routes, "/apply-template", body.clone()).await.json();
        let counted = post_json(&routes, "/tokenize", body.clone()).await.json();
        let mut body = body;
        body["max_tokens"] = json!(1);
        let used = usage(&routes, CHAT, body).await;
        assert_eq!(counted["count"], used["prompt_tokens"], "what is counted is what is used");
        text["prompt"].as_str().unwrap().to_owned()
    };
    let begins = prompt(messages()).await;
    assert!(begins.starts_with("<|im_start|>system\nYou are a bee.<|im_end|>\n"), "{begins}");
    for role in ["system", "developer"] {
        let mut messages = messages();
        let own = json!({ "role": role, "content": "You are a wasp." });
        messages.as_array_mut().unwrap().insert(0, own);
        let begins = prompt(messages).await;
        assert!(begins.starts_with("<|im_start|>system\nYou are a wasp."), "{begins}");
        assert!(!begins.contains("bee."), "{begins}");
    }
}

#[tokio::test]
async fn what_cannot_be_set_is_said_before_anybody_asks() {
    let engine = engine(1, 512).await;
    for (settings, says) in [
        (json!({ "members": { "temperature": 9 } }), "`temperature` must be from 0 to 2"),
        (json!({ "members": { "mirostat": 2 } }), "`mirostat` is not supported"),
        (json!({ "members": { "reasoning_effort": "very" } }), "`reasoning_effort` is `very`"),
    ] {
        let refused = routes_with(&engine, settings).unwrap_err();
        assert!(refused.contains(says), "{refused}");
    }
    let template = "{% for m in messages %}{% if m.role == 'system' %}\
                    {{ raise_exception('no system message') }}{% endif %}{{ m.content }}{% endfor %}";
    let chat_template = Some(TemplateSetting::Text(template.to_owned()));
    let options = LoadOptions { chat_template, ..LoadOptions::default() };
    let engine = engine_as(options, 512).await;
    let refused = routes_with(&engine, json!({ "system": "Be brief." })).unwrap_err();
    assert!(refused.contains("no system message"), "{refused}");
    assert!(routes_with(&engine, json!({})).is_ok());
}

#[tokio::test]
async fn a_chat_is_written_down_by_the_template_that_is_set() {
    let chosen = "{% for m in messages %}[{{ m.role }}] {{ m.content }}{% endfor %}[assistant]";
    for (template, begins) in [
        (TemplateSetting::Text(chosen.to_owned()), "[user] Tell me about bees.[assistant]"),
        // Unlike the file's own, without a system message.
        (TemplateSetting::Named("chatml".to_owned()), "<|im_start|>user\nTell me about bees."),
    ] {
        let chat_template = Some(template);
        let engine = engine_as(LoadOptions { chat_template, ..LoadOptions::default() }, 512).await;
        let routes = routes(&engine);
        let body = json!({ "messages": messages() });
        let text = post_json(&routes, "/apply-template", body).await.json();
        assert!(text["prompt"].as_str().unwrap().starts_with(begins), "{text}");
        let props = get(&routes, "/props").await.json();
        assert_eq!(props["chat_template"] == chosen, begins.starts_with('['), "{props}");
    }
}

#[test]
fn a_template_that_is_none_and_layers_for_a_gpu_that_is_none_are_refused() {
    let load = |options: LoadOptions| Model::open(&model_path()).unwrap().load_with(&options);
    let with = |template| {
        load(LoadOptions { chat_template: Some(template), ..LoadOptions::default() }).unwrap_err()
    };
    let broken = with(TemplateSetting::Text("{% for %}".to_owned()));
    assert!(matches!(broken, LoadError::Template { .. }), "{broken}");
    let unknown = with(TemplateSetting::Named("tool_use".to_owned()));
    assert!(unknown.to_string().contains("`tool_use`: there are `chatml`"), "{unknown}");
    let layers =
        |gpu_layers| LoadOptions { gpu_layers: Some(gpu_layers), ..LoadOptions::default() };
    let refused = load(layers(3)).unwrap_err();
    assert!(refused.to_string().contains("take `gpu_layers` out"), "{refused}");
    assert!(load(layers(0)).is_ok());
}
