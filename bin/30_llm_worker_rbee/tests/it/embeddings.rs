//! `POST /v1/embeddings`, against what NumPy computes: `tests/reference/minilm.py`.

use axum::http::StatusCode;
use llm_worker_rbee::{Pooling, Purpose};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::support::{
    Answer, DEADLINE, embedder, engine, get, model, model_path, post_json, routes, vectors_path,
};

const PATH: &str = "/v1/embeddings";

#[derive(Deserialize)]
struct Recorded {
    text: String,
    tokens: Vec<i32>,
    vector: Vec<f32>,
}

fn recorded() -> Vec<Recorded> {
    serde_json::from_str(include_str!("minilm.json")).unwrap()
}

fn cosine(left: &[f32], right: &[f32]) -> f32 {
    assert_eq!(left.len(), right.len());
    let dot = |left: &[f32], right: &[f32]| left.iter().zip(right).map(|(l, r)| l * r).sum::<f32>();
    dot(left, right) / (dot(left, left) * dot(right, right)).sqrt()
}

#[track_caller]
fn vectors(answer: &Answer) -> Vec<Vec<f32>> {
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    let body = answer.json();
    assert_eq!(body["object"], "list");
    let data = body["data"].as_array().unwrap();
    for (index, item) in data.iter().enumerate() {
        assert_eq!((&item["index"], &item["object"]), (&json!(index), &json!("embedding")));
    }
    let vectors = data.iter().map(|item| serde_json::from_value(item["embedding"].clone()));
    vectors.collect::<Result<_, _>>().unwrap()
}

/// From its bytes in base64, 32 bits each.
fn decoded(text: &Value) -> Vec<f32> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let bytes = STANDARD.decode(text.as_str().unwrap()).unwrap();
    bytes.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect()
}

#[tokio::test]
async fn vectors_are_those_of_the_model_alone_and_in_a_batch() {
    let embedder = embedder(vectors_path(), Pooling::Mean, 512).await;
    let routes = routes(&embedder);
    let recorded = recorded();
    let texts: Vec<_> = recorded.iter().map(|one| one.text.as_str()).collect();
    let answer = post_json(&routes, PATH, json!({ "model": "m", "input": texts })).await;
    let together = vectors(&answer);
    let count: usize = recorded.iter().map(|one| one.tokens.len()).sum();
    assert_eq!(answer.json()["usage"], json!({ "prompt_tokens": count, "total_tokens": count }));
    assert_eq!(together.len(), recorded.len());
    for (one, made) in recorded.iter().zip(&together) {
        let length: f32 = made.iter().map(|number| number * number).sum();
        assert!((length - 1.0).abs() < 1e-5, "{length}");
        // llama.cpp takes an approximation of the activation, from a table of 16 bits.
        assert!(cosine(made, &one.vector) > 0.9999, "{}: {}", one.text, cosine(made, &one.vector));
        for input in [json!(one.text), json!(one.tokens), json!([one.tokens])] {
            let alone = vectors(&post_json(&routes, PATH, json!({ "input": input })).await);
            assert_eq!(alone.len(), 1);
            assert!(cosine(&alone[0], made) > 0.99999, "{}", one.text);
        }
    }
    // What means the same is near, what does not is far.
    assert!(cosine(&together[0], &together[1]) > 0.5 + cosine(&together[0], &together[2]));
}

#[tokio::test]
async fn vectors_come_in_base64_and_shorter_where_that_is_asked_for() {
    let embedder = embedder(vectors_path(), Pooling::Mean, 512).await;
    let routes = routes(&embedder);
    let ask = async |more: Value| {
        let mut body = json!({ "input": "A worker bee gathers nectar." });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        post_json(&routes, PATH, body).await
    };
    let whole = vectors(&ask(json!({ "encoding_format": "float" })).await).remove(0);
    assert_eq!(whole.len(), 384);
    let answer = ask(json!({ "encoding_format": "base64" })).await.json();
    assert_eq!(decoded(&answer["data"][0]["embedding"]), whole);
    let short = vectors(&ask(json!({ "dimensions": 64 })).await).remove(0);
    assert_eq!(short.len(), 64);
    assert!(cosine(&short, &whole[..64]) > 0.999_999);
    assert!((short.iter().map(|number| number * number).sum::<f32>() - 1.0).abs() < 1e-5);
    let answer = ask(json!({ "dimensions": 384 })).await;
    assert_eq!(vectors(&answer).remove(0), whole);
}

#[tokio::test]
async fn many_texts_and_long_ones_are_answered_in_their_order() {
    let embedder = embedder(vectors_path(), Pooling::Mean, 512).await;
    let routes = routes(&embedder);
    let word = |n: usize| format!("{n} {}", "bee ".repeat(n % 7 * 60));
    let texts: Vec<_> = (0..60).map(word).collect();
    let together = vectors(&post_json(&routes, PATH, json!({ "input": texts })).await);
    assert_eq!(together.len(), 60);
    for at in [0, 1, 6, 33, 59] {
        let alone = post_json(&routes, PATH, json!({ "input": texts[at] })).await;
        assert!(cosine(&vectors(&alone)[0], &together[at]) > 0.99999, "{at}");
    }
}

#[tokio::test]
async fn a_short_request_overtakes_a_long_one_and_an_abandoned_one_ends() {
    let embedder = embedder(vectors_path(), Pooling::Mean, 512).await;
    let text = vec![7; 500];
    let mut long = embedder.submit(vec![text.clone(); 200]).unwrap();
    let mut short = embedder.submit(vec![text.clone()]).unwrap();
    let wait = |receiver| tokio::time::timeout(DEADLINE, receiver);
    assert_eq!(wait(short.recv()).await.unwrap().unwrap().unwrap().len(), 1);
    assert!(long.try_recv().is_err(), "the long one came first");
    drop(long);
    let mut next = embedder.submit(vec![text]).unwrap();
    assert!(wait(next.recv()).await.unwrap().unwrap().is_ok());
}

#[tokio::test]
async fn what_cannot_become_vectors_is_refused_by_its_field() {
    let embedder = embedder(vectors_path(), Pooling::Mean, 4096).await;
    // No more than the model was trained for: it has no place for a later token.
    assert_eq!(embedder.config().context, 512);
    let routes = routes(&embedder);
    for (body, code, param) in [
        (json!({}), "missing_required_parameter", "input"),
        (json!({ "input": 5 }), "invalid_type", "input"),
        (json!({ "input": [] }), "invalid_value", "input"),
        (json!({ "input": "" }), "invalid_value", "input"),
        (json!({ "input": ["a", ""] }), "invalid_value", "input"),
        (json!({ "input": [[1], []] }), "invalid_value", "input"),
        (json!({ "input": [30522] }), "invalid_value", "input"),
        (json!({ "input": [-1] }), "invalid_value", "input"),
        (json!({ "input": vec!["a"; 2049] }), "invalid_value", "input"),
        (json!({ "input": vec![7; 513] }), "context_length_exceeded", "input"),
        (json!({ "input": "bee ".repeat(600) }), "context_length_exceeded", "input"),
        (json!({ "input": "bee ".repeat(100_000) }), "context_length_exceeded", "input"),
        (json!({ "input": "a", "dimensions": 0 }), "invalid_value", "dimensions"),
        (json!({ "input": "a", "dimensions": 385 }), "invalid_value", "dimensions"),
        (json!({ "input": "a", "encoding_format": "hex" }), "invalid_value", "encoding_format"),
        (json!({ "input": "a", "model": 1 }), "invalid_type", "model"),
    ] {
        let answer = post_json(&routes, PATH, body).await;
        let error = answer.json();
        assert_eq!(
            (answer.status.as_u16(), &error["error"]["code"], &error["error"]["param"]),
            (400, &json!(code), &json!(param)),
            "{error}"
        );
    }
    // And it still answers.
    let answer = post_json(&routes, PATH, json!({ "input": vec![7; 512] })).await;
    assert_eq!(vectors(&answer).len(), 1);
}

#[tokio::test]
async fn a_model_serves_text_or_vectors_and_says_which() {
    let embedder = embedder(vectors_path(), Pooling::Mean, 512).await;
    assert_eq!(embedder.model().facts().purpose, Purpose::Vectors(Pooling::Mean));
    let makes_vectors = routes(&embedder);
    for (path, body) in [
        ("/v1/chat/completions", json!({ "messages": [{ "role": "user", "content": "Hi" }] })),
        ("/v1/completions", json!({ "prompt": "Hi" })),
    ] {
        let answer = post_json(&makes_vectors, path, body).await;
        assert_eq!(answer.status, 400, "{}", answer.body);
        assert_eq!(answer.json()["error"]["param"], "model", "{}", answer.body);
        assert!(answer.body.contains("makes vectors of texts"), "{}", answer.body);
    }
    let meta = get(&makes_vectors, "/v1/models").await.json()["data"][0]["meta"].clone();
    assert_eq!(
        (&meta["pooling"], &meta["n_embd"], &meta["n_ctx"]),
        (&json!("mean"), &json!(384), &json!(512))
    );

    let engine = engine(1, 512).await;
    assert_eq!(engine.model().facts().purpose, Purpose::Text);
    let makes_text = routes(&engine);
    let answer = post_json(&makes_text, PATH, json!({ "input": "Hi" })).await;
    assert_eq!(answer.status, 400, "{}", answer.body);
    let error = answer.json()["error"].clone();
    assert_eq!(
        (&error["code"], &error["param"]),
        (&json!("unsupported_parameter"), &json!("model"))
    );
    assert!(answer.body.contains("--pooling"), "{}", answer.body);
}

/// Whose text is longer than a batch, it goes through in parts where its last token's vector is
/// wanted, and whole where the mean is; from two means follows the last token's vector.
#[tokio::test]
async fn a_model_of_text_makes_vectors_where_it_is_told_how() {
    let mut tokens = model().await.tokenize(&"The bees of this hive gather nectar. ".repeat(100));
    tokens.truncate(140);
    let count = tokens.len();
    let make = async |pooling, texts: Vec<Vec<i32>>| {
        let embedder = embedder(model_path(), pooling, 2048).await;
        let mut made = Vec::new();
        // One by one: in another place of a batch the same text is rounded otherwise.
        for text in texts {
            let mut answer = embedder.submit(vec![text]).unwrap();
            let answer = tokio::time::timeout(DEADLINE, answer.recv()).await.unwrap();
            made.extend(answer.unwrap().unwrap());
        }
        made
    };
    let last = make(Pooling::Last, vec![tokens.clone(), tokens[..4].to_vec()]).await;
    let before = tokens[..count - 1].to_vec();
    let mean = make(Pooling::Mean, vec![tokens.clone(), before]).await;
    let sum = |vector: &[f32], of: usize| -> Vec<f64> {
        vector.iter().map(|&number| f64::from(number) * of as f64).collect()
    };
    let (all, all_but_one) = (sum(&mean[0], count), sum(&mean[1], count - 1));
    let follows: Vec<_> =
        all.iter().zip(all_but_one).map(|(all, without)| (all - without) as f32).collect();
    assert!(cosine(&last[0], &follows) > 0.99, "{}", cosine(&last[0], &follows));
    assert!(cosine(&last[1], &follows) < 0.9, "{}", cosine(&last[1], &follows));

    // The first token sees no other.
    let first = make(Pooling::Cls, vec![tokens[..1].to_vec(), tokens[..9].to_vec()]).await;
    assert!(cosine(&first[0], &first[1]) > 0.999);
}
