//! `POST /v1/rerank` and `POST /v1/score`, against what NumPy computes: `tests/reference/minilm.py`.

use axum::http::StatusCode;
use llm_worker_rbee::{Pooling, Purpose};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::support::{
    Answer, TestEngine, embedder, engine, get, post_json, ranks_path, routes, vectors_path,
};

const RERANK: &str = "/v1/rerank";
const SCORE: &str = "/v1/score";

#[derive(Deserialize)]
struct Recorded {
    query: String,
    ranks: Vec<Ranked>,
}

#[derive(Deserialize)]
struct Ranked {
    document: String,
    tokens: usize,
    rank: f64,
}

impl Ranked {
    fn relevance(&self) -> f64 {
        1.0 / (1.0 + (-self.rank).exp())
    }
}

fn recorded() -> Recorded {
    serde_json::from_str(include_str!("ranks.json")).unwrap()
}

async fn ranker() -> TestEngine<llm_worker_rbee::Embedder> {
    embedder(ranks_path(), Pooling::Rank, 512).await
}

/// The documents' places with their relevance, the best first.
#[track_caller]
fn results(answer: &Answer) -> Vec<(usize, f64)> {
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    let body = answer.json();
    let results = body["results"].as_array().unwrap().iter();
    let read = |one: &Value| {
        (one["index"].as_u64().unwrap() as usize, one["relevance_score"].as_f64().unwrap())
    };
    let results: Vec<_> = results.map(read).collect();
    assert!(results.is_sorted_by(|(_, left), (_, right)| left >= right), "{results:?}");
    results
}

#[tokio::test]
async fn documents_are_ranked_as_the_model_ranks_them() {
    let ranker = ranker().await;
    assert_eq!(ranker.model().facts().purpose, Purpose::Ranking);
    let routes = routes(&ranker);
    let Recorded { query, ranks } = recorded();
    let documents: Vec<_> = ranks.iter().map(|one| one.document.as_str()).collect();
    let asked = json!({ "model": "m", "query": query, "documents": documents });
    let answer = post_json(&routes, RERANK, asked).await;
    let results = results(&answer);
    assert_eq!(results.len(), ranks.len());
    for (index, relevance) in &results {
        let expected = ranks[*index].relevance();
        assert!((relevance - expected).abs() < 1e-3, "{index}: {relevance}, not {expected}");
    }
    let body = answer.json();
    let tokens: usize = ranks.iter().map(|one| one.tokens).sum();
    assert_eq!(body["usage"], json!({ "prompt_tokens": tokens, "total_tokens": tokens }));
    let (first, _) = results[0];
    assert_eq!(body["results"][0]["document"], json!({ "text": documents[first] }));

    // By twos as in a list: the first text with each, or each with its counterpart.
    let others = vec![query.as_str(); documents.len()];
    for first in [json!(query), json!([query]), json!(others)] {
        let asked = json!({ "text_1": first, "text_2": documents });
        let body = post_json(&routes, SCORE, asked).await.json();
        let scores = body["data"].as_array().unwrap_or_else(|| panic!("{body}"));
        assert_eq!(scores.len(), ranks.len());
        for (index, (score, one)) in scores.iter().zip(&ranks).enumerate() {
            assert_eq!((&score["index"], &score["object"]), (&json!(index), &json!("score")));
            let score = score["score"].as_f64().unwrap();
            assert!((score - one.relevance()).abs() < 1e-3, "{index}: {score}");
        }
    }
}

#[tokio::test]
async fn as_many_are_told_as_are_wanted_and_documents_may_be_objects() {
    let ranker = ranker().await;
    let routes = routes(&ranker);
    let ask = async |more: Value| {
        let documents =
            json!([{ "text": "Bees." }, { "text": "Nectar.", "id": 7 }, { "text": "A" }]);
        let mut body = json!({ "query": "bee", "documents": documents });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        post_json(&routes, RERANK, body).await
    };
    let all = results(&ask(json!({})).await);
    assert_eq!(all.len(), 3);
    for (top, count) in [(1, 1), (2, 2), (3, 3), (9, 3), (0, 3)] {
        assert_eq!(results(&ask(json!({ "top_n": top })).await), all[..count], "{top}");
    }
    let short = ask(json!({ "return_documents": false, "rank_fields": ["text"] })).await;
    assert_eq!(short.json()["results"][0]["document"], json!(null), "{}", short.body);
    assert_eq!(short.headers["x-rbee-ignored"], "rank_fields");
}

#[tokio::test]
async fn docs_apis_md_says_what_becomes_of_each_member() {
    let ranker = ranker().await;
    let routes = routes(&ranker);
    let paper = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/apis.md");
    let paper = std::fs::read_to_string(paper).unwrap();
    let (_, section) = paper.split_once("\n### `/v1/rerank`\n").unwrap();
    let rows = section.lines().skip(1).take_while(|line| line.starts_with('|'));
    let rows: Vec<_> = rows.filter_map(|line| line.strip_prefix("| `")).collect();
    assert!(rows.len() > 3, "it has a table");
    for row in rows {
        let (member, rest) = row.split_once("` | `").unwrap();
        let (example, becomes) = rest.split_once("` | ").unwrap();
        let mut body = json!({ "query": "a", "documents": ["b"] });
        body[member] = serde_json::from_str(example).unwrap();
        let answer = post_json(&routes, RERANK, body).await;
        assert_eq!(answer.status, StatusCode::OK, "{member}: {}", answer.body);
        let ignored = answer.headers.get("x-rbee-ignored").map(|list| list.to_str().unwrap());
        let is_ignored = becomes.starts_with("no effect");
        assert!(is_ignored || becomes.starts_with("taken"), "{row}");
        assert_eq!(ignored, is_ignored.then_some(member), "{row}");
    }
}

#[tokio::test]
async fn what_cannot_be_ranked_is_refused_by_its_field() {
    let ranker = ranker().await;
    let routes = routes(&ranker);
    let long = "bee ".repeat(600);
    for (path, body, code, param) in [
        (RERANK, json!({ "documents": ["a"] }), "missing_required_parameter", "query"),
        (RERANK, json!({ "query": "a" }), "missing_required_parameter", "documents"),
        (RERANK, json!({ "query": ["a"], "documents": ["a"] }), "invalid_type", "query"),
        (RERANK, json!({ "query": "a", "documents": "a" }), "invalid_type", "documents"),
        (RERANK, json!({ "query": "a", "documents": [{}] }), "invalid_type", "documents"),
        (RERANK, json!({ "query": "a", "documents": [] }), "invalid_value", "documents"),
        (
            RERANK,
            json!({ "query": "a", "documents": vec!["a"; 2049] }),
            "invalid_value",
            "documents",
        ),
        (
            RERANK,
            json!({ "query": "a", "documents": ["a"], "top_n": -1 }),
            "invalid_value",
            "top_n",
        ),
        (
            RERANK,
            json!({ "query": "a", "documents": [long] }),
            "context_length_exceeded",
            "documents",
        ),
        (
            RERANK,
            json!({ "query": long, "documents": ["a"] }),
            "context_length_exceeded",
            "documents",
        ),
        (SCORE, json!({ "text_1": "a" }), "missing_required_parameter", "text_2"),
        (SCORE, json!({ "text_1": ["a", "b"], "text_2": ["a"] }), "invalid_value", "text_1"),
        (SCORE, json!({ "text_1": "a", "text_2": [] }), "invalid_value", "text_2"),
    ] {
        let answer = post_json(&routes, path, body).await;
        let error = answer.json();
        assert_eq!(
            (answer.status.as_u16(), &error["error"]["code"], &error["error"]["param"]),
            (400, &json!(code), &json!(param)),
            "{error}"
        );
    }
}

#[tokio::test]
async fn only_a_model_that_ranks_does_and_it_does_nothing_else() {
    let ranker = ranker().await;
    let ranks = routes(&ranker);
    for (path, body) in [
        ("/v1/chat/completions", json!({ "messages": [{ "role": "user", "content": "Hi" }] })),
        ("/v1/completions", json!({ "prompt": "Hi" })),
        ("/v1/embeddings", json!({ "input": "Hi" })),
    ] {
        let answer = post_json(&ranks, path, body).await;
        assert_eq!(answer.status, 400, "{}", answer.body);
        assert_eq!(answer.json()["error"]["param"], "model", "{}", answer.body);
        assert!(answer.body.contains(RERANK), "{}", answer.body);
    }
    let meta = get(&ranks, "/v1/models").await.json()["data"][0]["meta"].clone();
    assert_eq!(meta["pooling"], "rank");

    let (text, vectors) =
        (engine(1, 512).await, embedder(vectors_path(), Pooling::Mean, 512).await);
    for others in [routes(&text), routes(&vectors)] {
        for (path, body) in [
            (RERANK, json!({ "query": "a", "documents": ["a"] })),
            (SCORE, json!({ "text_1": "a", "text_2": "a" })),
        ] {
            let answer = post_json(&others, path, body).await;
            assert_eq!(answer.status, 400, "{}", answer.body);
            let error = answer.json()["error"].clone();
            assert_eq!(
                (&error["code"], &error["param"]),
                (&json!("unsupported_parameter"), &json!("model"))
            );
            assert!(answer.body.contains("no model that ranks"), "{}", answer.body);
        }
    }
}
