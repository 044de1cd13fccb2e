//! Other APIs than OpenAI's chat completions, over the queen's routes.

use std::time::Duration;

use axum::http::StatusCode;
use http_guard::Peer;
use rbee_api::paths;
use router_client::Answer;
use serde_json::{Value, json};

use crate::world::{Hive, Reply, World};

mod anthropic;
mod ollama;
mod openai;

pub(crate) const CHAT: &str = "POST /v1/chat/completions";
const DEADLINE: Duration = Duration::from_secs(20);

/// A worker's stream of this text.
pub(crate) fn stream(pieces: &[&str]) -> Reply {
    let chunk = |choices: Value, usage: Value| {
        let chunk = json!({ "id": "chatcmpl-1", "created": 1_700_000_000, "model": "m",
                            "choices": choices, "usage": usage });
        format!("data: {chunk}\n\n")
    };
    let delta = |piece: &&str| chunk(json!([{ "delta": { "content": piece } }]), Value::Null);
    let mut frames: String = pieces.iter().map(delta).collect();
    frames += &chunk(json!([{ "delta": {}, "finish_reason": "stop" }]), Value::Null);
    frames += &chunk(json!([]), json!({ "prompt_tokens": 3, "completion_tokens": 2 }));
    Reply::stream(&(frames + "data: [DONE]\n\n"))
}

/// The beginning of such a stream, which then breaks off.
pub(crate) fn half_a_stream() -> Reply {
    Reply::stream("data: {\"choices\":[{\"delta\":{\"content\":\"Hel\"}}]}\n\n")
}

/// A worker's answer of one body.
pub(crate) fn whole(text: &str) -> Reply {
    let body = json!({ "id": "chatcmpl-1", "created": 1_700_000_000, "model": "m",
        "choices": [{ "message": { "role": "assistant", "content": text }, "finish_reason": "stop" }],
        "usage": { "prompt_tokens": 3, "completion_tokens": 2 } });
    Reply::json(200, &body.to_string())
}

/// What the hive was sent last.
#[track_caller]
pub(crate) fn sent(hive: &Hive, line: &str) -> Value {
    serde_json::from_str(&hive.seen(line).pop().unwrap().body).unwrap()
}

/// The message of a refusal, whose shape is that of the path's API.
#[track_caller]
fn told(path: &str, answer: &Answer) -> String {
    let body = answer.json();
    if path.starts_with(paths::OLLAMA) {
        return body["error"].as_str().unwrap().to_owned();
    }
    if path.starts_with(paths::MESSAGES) {
        assert_eq!(body["type"], "error", "{path}: {answer:?}");
        assert!(body["error"]["type"].is_string() && body["error"].get("code").is_none(), "{body}");
    } else {
        assert!(body["error"]["code"].is_string(), "{path}: {answer:?}");
    }
    body["error"]["message"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn every_route_of_a_client_s_api_is_there_and_needs_a_key_of_others() {
    let (world, hive) = World::one().await;
    for (method, path) in paths::CLIENT_ROUTES {
        let path = &path.replace("{*name}", "m");
        let body = if *method == "GET" { "" } else { "[]" };
        for (peer, headers, says) in [
            (Peer::OtherUser { uid: 4242 }, None, "needs a key"),
            (Peer::Unknown, Some(("x-api-key", "sk-unused")), "not, or no longer"),
        ] {
            let headers: Vec<_> = headers.into_iter().collect();
            let answer = world.ask_as(peer, method, path, &headers, body).await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{method} {path}");
            assert!(told(path, &answer).contains(says), "{method} {path}: {answer:?}");
        }
        let wrong = world.manage("PUT", path, "{}").await;
        assert_eq!(wrong.status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
        told(path, &wrong);
        if *method != "GET" {
            let answer = world.manage(method, path, body).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{method} {path}");
            told(path, &answer);
        }
    }
    assert_eq!(hive.starts(), 0);
}

#[tokio::test]
async fn a_key_as_anthropic_s_clients_send_it_lets_in_on_every_route() {
    let (world, _hive) = World::one().await;
    let made = world.manage("POST", "/v1/keys", r#"{"name":"nas","scope":"chat"}"#).await.json();
    let key = [("x-api-key", made["key"].as_str().unwrap())];
    for (method, path) in paths::CLIENT_ROUTES.iter().filter(|(method, _)| *method == "POST") {
        let answer = world.ask_as(Peer::Unknown, method, path, &key, "[]").await;
        // What changes something needs more.
        let is_managed = [paths::OLLAMA_PULL, paths::OLLAMA_COPY].contains(path);
        let status = if is_managed { 401 } else { 400 };
        assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
    }
}

#[tokio::test]
async fn a_client_of_any_api_that_goes_away_has_its_job_cancelled() {
    for path in [paths::MESSAGES, paths::OLLAMA_CHAT, paths::RESPONSES] {
        let (world, hive) = World::one().await;
        hive.on(CHAT, stream(&["Hello"]));
        let body = r#"{"model":"m","stream":true,"max_tokens":5,"input":"Hi","messages":[{"role":"user","content":"Hi"}]}"#;
        assert_eq!(world.post(path, &[], body).await.status, StatusCode::OK);
        hive.hangs();
        let asked = async {
            while hive.seen(CHAT).len() < 2 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            answer = world.post(path, &[], body) => panic!("{path}: {answer:?}"),
            () = asked => {}
        }
        let ended = async {
            let jobs = async || world.manage("GET", "/v1/jobs", "").await.json();
            while jobs().await["jobs"][1]["state"] != "cancelled" {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(DEADLINE, ended).await.expect("the job ends");
    }
}

#[test]
fn docs_apis_md_lists_every_route() {
    let paper = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/apis.md");
    let paper = std::fs::read_to_string(paper).unwrap();
    let mut listed: Vec<(String, String)> = paper
        .lines()
        .filter_map(|line| {
            line.strip_prefix("| GET | `")
                .map(|rest| ("GET", rest))
                .or_else(|| line.strip_prefix("| POST | `").map(|rest| ("POST", rest)))
                .or_else(|| line.strip_prefix("| DELETE | `").map(|rest| ("DELETE", rest)))
        })
        .map(|(method, rest)| (method.to_owned(), rest.split('`').next().unwrap().to_owned()))
        .collect();
    let mut routes: Vec<(String, String)> = paths::CLIENT_ROUTES
        .iter()
        .map(|(method, path)| ((*method).to_owned(), path.replace("{*", "{")))
        .collect();
    listed.sort();
    routes.sort();
    assert_eq!(listed, routes);
}

/// The hive's job goes on although its stream broke, and so does the client's.
#[tokio::test]
async fn a_stream_of_any_api_goes_on_where_the_hive_s_broke_off() {
    const JOB: &str = "0199f5a0-0000-7000-8000-000000000001";
    let said = |id: u8, piece: &str| {
        let chunk = json!({ "choices": [{ "delta": { "content": piece } }] });
        format!("id: {id}\ndata: {chunk}\n\n")
    };
    let end = "id: 4\ndata: [DONE]\n\nid: 5\nevent: end\ndata: {\"state\":\"completed\"}\n\n";
    for path in [paths::MESSAGES, paths::OLLAMA_CHAT, paths::RESPONSES] {
        let (world, hive) = World::one().await;
        hive.on(CHAT, Reply::stream_of(JOB, &(said(1, "one ") + &said(2, "two "))));
        let rest = format!("GET {}", paths::job_stream(JOB));
        hive.on(&rest, Reply::stream_of(JOB, &(said(3, "three") + end)));
        let body = r#"{"model":"m","stream":true,"max_tokens":5,"input":"Hi","messages":[{"role":"user","content":"Hi"}]}"#;
        let answer = world.post(path, &[], body).await;
        assert!(!answer.cut, "{path}: {answer:?}");
        let places = ["one ", "two ", "three"].map(|piece| answer.body.find(piece).unwrap());
        assert!(places.is_sorted(), "{path}: {answer:?}");
        assert_eq!(hive.seen(&rest)[0].headers["last-event-id"], "2", "{path}");
        assert_eq!(hive.seen(CHAT).len(), 1, "{path}");
    }
}
