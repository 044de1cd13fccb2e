//! `POST /v1/completions`.

use serde_json::{Value, json};

use crate::support::{engine, finish, greedy, post_json, routes};

const PATH: &str = "/v1/completions";

#[tokio::test]
async fn a_prompt_is_continued_whether_text_or_tokens() {
    let engine = engine(1, 512).await;
    let routes = routes(&engine);
    let ids = engine.model().tokenize("The capital of France is");
    let text = async |prompt: Value| {
        let body = json!({ "prompt": prompt, "temperature": 0, "max_tokens": 3 });
        post_json(&routes, PATH, body).await.json()["choices"][0]["text"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let first = text(json!("The capital of France is")).await;
    assert!(first.starts_with(" Paris"), "{first}");
    for prompt in [json!(["The capital of France is"]), json!(ids), json!([ids])] {
        assert_eq!(text(prompt.clone()).await, first, "{prompt}");
    }
}

#[tokio::test]
async fn a_stream_is_text_completions_and_ends_with_its_reason() {
    let engine = engine(1, 512).await;
    let routes = routes(&engine);
    let mut body =
        json!({ "prompt": "The capital of France is", "temperature": 0, "max_tokens": 8 });
    let whole = post_json(&routes, PATH, body.clone()).await.json();
    body["stream"] = json!(true);
    let chunks = post_json(&routes, PATH, body.clone()).await.chunks();
    let text: String =
        chunks.iter().map(|chunk| chunk["choices"][0]["text"].as_str().unwrap()).collect();
    assert_eq!(whole["choices"][0]["text"], text);
    assert!(chunks.iter().all(|chunk| chunk["object"] == "text_completion"));
    assert_eq!(chunks.last().unwrap()["choices"][0]["finish_reason"], "length");

    // A stop string and the default of sixteen tokens.
    body["stop"] = json!(["nothing like it", "Paris"]);
    let chunks = post_json(&routes, PATH, body.clone()).await.chunks();
    let text: String =
        chunks.iter().map(|chunk| chunk["choices"][0]["text"].as_str().unwrap()).collect();
    assert_eq!(
        (text.as_str(), &chunks.last().unwrap()["choices"][0]["finish_reason"]),
        (" ", &json!("stop"))
    );
    assert_eq!(chunks.last().unwrap()["choices"][0]["stop_reason"], "Paris");
    body["stream"] = json!(false);
    let whole = post_json(&routes, PATH, body).await.json();
    assert_eq!(whole["choices"][0]["stop_reason"], "Paris");
    let body =
        json!({ "prompt": "The capital of France is", "temperature": 0, "ignore_eos": true });
    assert_eq!(post_json(&routes, PATH, body).await.json()["usage"]["completion_tokens"], 16);
}

#[tokio::test]
async fn probabilities_are_lists_side_by_side() {
    let engine = engine(1, 512).await;
    let body = json!({ "prompt": "The capital of France is", "temperature": 0, "max_tokens": 3, "logprobs": 2 });
    let answer = post_json(&routes(&engine), PATH, body).await.json();
    let logprobs = &answer["choices"][0]["logprobs"];
    let list = |name: &str| logprobs[name].as_array().unwrap().clone();
    assert_eq!(list("tokens")[0], " Paris");
    assert_eq!(
        (list("tokens").len(), list("token_logprobs").len(), list("top_logprobs").len()),
        (3, 3, 3)
    );
    assert_eq!(list("text_offset")[..2], [json!(0), json!(6)]);
    assert_eq!(list("top_logprobs")[0][" Paris"], list("token_logprobs")[0]);
}

/// The text of each choice of a stream.
fn texts(chunks: &[Value], count: usize) -> Vec<String> {
    let mut texts = vec![String::new(); count];
    for choice in chunks.iter().flat_map(|chunk| chunk["choices"].as_array().unwrap()) {
        let index = usize::try_from(choice["index"].as_u64().unwrap()).unwrap();
        texts[index] += choice["text"].as_str().unwrap();
    }
    texts
}

#[tokio::test]
async fn several_prompts_have_several_answers_each_with_its_index() {
    let engine = engine(2, 1024).await;
    let routes = routes(&engine);
    let prompts = ["The capital of France is", "One, two, three,", "The capital of Italy is"];
    let mut alone = Vec::new();
    let mut prompt_tokens = 0;
    for prompt in prompts {
        let body = json!({ "prompt": prompt, "temperature": 0, "max_tokens": 4 });
        let answer = post_json(&routes, PATH, body).await.json();
        alone.push(answer["choices"][0]["text"].as_str().unwrap().to_owned());
        prompt_tokens += answer["usage"]["prompt_tokens"].as_u64().unwrap();
    }
    let mut body = json!({ "prompt": prompts, "temperature": 0, "max_tokens": 4 });
    let answer = post_json(&routes, PATH, body.clone()).await.json();
    let choices = answer["choices"].as_array().unwrap();
    for (index, (choice, alone)) in choices.iter().zip(&alone).enumerate() {
        assert_eq!((&choice["index"], &choice["text"]), (&json!(index), &json!(alone)));
    }
    assert_eq!(choices.len(), 3);
    assert_eq!(answer["usage"]["prompt_tokens"], prompt_tokens);
    assert_eq!(answer["usage"]["completion_tokens"], 12);

    body["stream"] = json!(true);
    body["stream_options"] = json!({ "include_usage": true });
    let chunks = post_json(&routes, PATH, body).await.chunks();
    assert_eq!(texts(&chunks, 3), alone);
    let reasons = chunks.iter().filter_map(|chunk| chunk["choices"][0]["finish_reason"].as_str());
    assert_eq!(reasons.count(), 3);
    assert_eq!(chunks.last().unwrap()["usage"]["completion_tokens"], 12);
}

#[tokio::test]
async fn n_answers_differ_by_their_seeds_and_count_their_prompt_once() {
    let engine = engine(4, 1024).await;
    let routes = routes(&engine);
    let body = json!({ "prompt": "Once upon a time", "n": 3, "max_tokens": 12, "temperature": 1.2, "seed": 7 });
    let answer = post_json(&routes, PATH, body.clone()).await.json();
    let choices = answer["choices"].as_array().unwrap();
    let text = |at: usize| choices[at]["text"].as_str().unwrap();
    assert_eq!(choices.len(), 3);
    assert!(text(0) != text(1) && text(1) != text(2), "{answer}");
    assert_eq!(answer["usage"]["prompt_tokens"], 4);
    let again = post_json(&routes, PATH, body).await.json();
    assert_eq!(again["choices"], answer["choices"]);
    for n in [0, 33] {
        let answer = post_json(&routes, PATH, json!({ "prompt": "a", "n": n })).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["error"]["param"]), (400, &json!("n")));
    }
}

/// All but the first wait until the prompt is in the cache, and share it.
#[tokio::test]
async fn answers_to_one_prompt_decode_it_once() {
    let engine = engine(4, 2048).await;
    let prompt = "The bees of this hive gather nectar. ".repeat(30);
    let tokens = engine.model().tokenize(&prompt);
    let submit = || engine.submit(greedy(tokens.clone(), 3)).unwrap();
    let [first, second, third] = [submit(), submit(), submit()];
    let first = finish(first).await;
    assert_eq!(first.finish.usage.cached_tokens, 0);
    for other in [finish(second).await, finish(third).await] {
        assert_eq!(other.text(), first.text());
        assert_eq!(other.finish.usage.cached_tokens as usize, tokens.len() - 1);
    }
}

#[tokio::test]
async fn a_prompt_is_echoed_before_its_answer() {
    let engine = engine(1, 512).await;
    let routes = routes(&engine);
    let ids = engine.model().tokenize("The capital of France is");
    for prompt in [json!("The capital of France is"), json!(ids)] {
        let mut body = json!({ "prompt": prompt, "echo": true, "temperature": 0, "max_tokens": 1 });
        let answer = post_json(&routes, PATH, body.clone()).await.json();
        assert_eq!(answer["choices"][0]["text"], "The capital of France is Paris");
        assert_eq!(answer["usage"]["completion_tokens"], 1);
        body["stream"] = json!(true);
        let chunks = post_json(&routes, PATH, body).await.chunks();
        assert_eq!(texts(&chunks, 1), ["The capital of France is Paris"]);
    }
}
