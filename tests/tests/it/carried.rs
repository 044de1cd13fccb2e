//! A conversation goes on in the worker that takes its worker's place, without being read again.

use chain_tests::Chain;
use serde_json::{Value, json};

use crate::model_settings::ask;

#[test]
fn a_conversation_whose_worker_is_replaced_is_not_read_again() {
    let chain = Chain::real();
    let model = Chain::model();
    chain.configure(&format!(
        "[models]\ndefault = \"words\"\n[model.words]\nsource = {model:?}\n[worker]\nthreads = 2\n"
    ));
    chain.succeed(&["infer", "--max-tokens", "1", "Hi"]);
    let queen = chain.queen();
    let user = |text: &str| json!({ "role": "user", "content": text });
    let mut messages = vec![user(&"The bees of the old keeper live on a hill. ".repeat(40))];
    let talk = |messages: &[Value]| {
        let body = json!({ "messages": messages, "temperature": 0, "max_tokens": 12 });
        let answer = ask(&queen, "/v1/chat/completions", true, &body);
        let message = answer["choices"][0]["message"].clone();
        let usage = &answer["usage"];
        let cached = usage["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap_or_default();
        (message, usage["prompt_tokens"].as_u64().unwrap(), cached)
    };

    let (first, read, cached) = talk(&messages);
    assert!(cached < 40, "it was there before: {cached}");
    messages.extend([first, user("And then?")]);
    let worker = chain.healths()[2].pid;
    chain.succeed(&["model", "set", "words", "top_k=7"]);
    let (_, whole, cached) = talk(&messages);
    assert_ne!(chain.healths()[2].pid, worker, "the worker was replaced");
    assert!(cached >= read && whole > cached, "{cached} of {read}, then {whole}");
}
