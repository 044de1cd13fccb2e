//! What a model thinks before it answers. The test model does not think: it is given a template that
//! lets it, and goes on as the conversation began.

use axum::{Router, http::StatusCode};
use serde_json::{Value, json};

use crate::support::{Answer, engine_of, post_json, routes, with_template};

const CHAT: &str = "/v1/chat/completions";

const THINKS: &str = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}\
    {% if m.reasoning_content %}{{ '<think>\n' + m.reasoning_content + '\n</think>\n\n' }}{% endif %}\
    {{ m.content + '<|im_end|>\n' }}{% endfor %}{{ '<|im_start|>assistant\n' }}\
    {% if enable_thinking %}{{ '<think>\n' }}{% endif %}";

/// A conversation in which each answer was thought of in the same words.
fn body(more: &Value) -> Value {
    let said = [("France", "Paris"), ("Italy", "Rome"), ("Greece", "Athens"), ("Japan", "Tokyo")];
    let turns = said.into_iter().flat_map(|(country, capital)| {
        let asked = format!("What is the capital of {country}?");
        [
            json!({ "role": "user", "content": asked }),
            json!({ "role": "assistant", "reasoning_content": "It is easy.", "content": capital }),
        ]
    });
    let last = json!({ "role": "user", "content": "What is the capital of Spain?" });
    let messages: Vec<_> = turns.chain([last]).collect();
    let mut body =
        json!({ "messages": messages, "temperature": 0, "max_tokens": 24, "cache_prompt": false });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

async fn ask(routes: &Router, more: Value) -> Answer {
    let answer = post_json(routes, CHAT, body(&more)).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    answer
}

fn joined(chunks: &[Value], name: &str) -> String {
    chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"][name].as_str()).collect()
}

#[tokio::test]
async fn thoughts_stand_apart_from_the_answer_streamed_or_not() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine_of(with_template(folder.path(), THINKS), 1, 1024).await;
    let routes = routes(&engine);
    // The template opens them.
    let thinking = json!({ "reasoning_effort": "high" });
    let whole = ask(&routes, thinking.clone()).await.json();
    let message = &whole["choices"][0]["message"];
    assert_eq!(message["reasoning_content"], "It is easy.", "{whole}");
    let said = message["content"].as_str().unwrap();
    assert!(!said.is_empty() && !said.contains('<') && !said.starts_with('\n'), "{whole}");
    let mut streamed = thinking.clone();
    streamed["stream"] = json!(true);
    let chunks = ask(&routes, streamed).await.chunks();
    assert_eq!(joined(&chunks, "reasoning_content"), "It is easy.");
    assert_eq!(joined(&chunks, "content"), said);

    let mut together = thinking;
    together["reasoning_format"] = json!("none");
    let whole = ask(&routes, together).await.json();
    let message = &whole["choices"][0]["message"];
    assert_eq!(message["content"], format!("It is easy.\n</think>\n\n{said}"), "{whole}");
    assert_eq!(message.get("reasoning_content"), None);
    // The model opens them itself.
    let whole = ask(&routes, json!({ "reasoning_effort": "none" })).await.json();
    let message = &whole["choices"][0]["message"];
    assert_eq!(message["reasoning_content"], "It is easy.", "{whole}");
    assert!(!message["content"].as_str().unwrap().contains('<'), "{whole}");
}

#[tokio::test]
async fn a_form_holds_for_the_answer_and_not_for_the_thoughts() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine_of(with_template(folder.path(), THINKS), 1, 1024).await;
    let routes = routes(&engine);
    for effort in ["high", "none"] {
        let more = json!({ "reasoning_effort": effort, "guided_choice": ["Bern", "Oslo"] });
        let whole = ask(&routes, more).await.json();
        let content = &whole["choices"][0]["message"]["content"];
        assert!([json!("Bern"), json!("Oslo")].contains(content), "{whole}");
        if effort == "high" {
            assert_eq!(whole["choices"][0]["message"]["reasoning_content"], "It is easy.");
        }
    }
}
