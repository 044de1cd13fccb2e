use http_guard::Peer;

use crate::world::{CHUNKS, Reply, World};

const ID: &str = "0199f5a0-0000-7000-8000-000000000000";

/// Every route that changes something or tells of others, with a body that it takes.
fn managed() -> [(&'static str, String, &'static str); 11] {
    [
        ("GET", "/v1/jobs".to_owned(), ""),
        ("GET", "/v1/keys".to_owned(), ""),
        ("POST", "/v1/keys".to_owned(), r#"{"name":"a","scope":"manage"}"#),
        ("DELETE", "/v1/keys/a".to_owned(), ""),
        ("POST", "/v1/jobs".to_owned(), r#"{"operation":"chain_update"}"#),
        ("DELETE", "/v1/models/store/m".to_owned(), ""),
        ("POST", "/v1/models/unload".to_owned(), r#"{"model":"m"}"#),
        ("POST", "/v1/jobs".to_owned(), r#"{"operation":"model_load","model":"m"}"#),
        ("DELETE", format!("/v1/jobs/{ID}"), ""),
        (
            "PUT",
            format!("/v1/jobs/{ID}"),
            r#"{"last_event_id":0,"origin":{"at":"a","job_id":"x","last_event_id":0}}"#,
        ),
        ("POST", format!("/v1/jobs/{ID}/release"), ""),
    ]
}

#[tokio::test]
async fn what_changes_something_needs_the_token() {
    let (world, hive) = World::one().await;
    for (method, path, body) in managed() {
        let answer = world.ask(method, &path, &[], body).await;
        assert_eq!(answer.refusal(), (401, "token_missing".into()), "{method} {path}");
        assert_eq!(answer.headers["www-authenticate"], "Bearer");
    }
    assert_eq!(hive.starts(), 0);
}

#[tokio::test]
async fn another_token_is_no_token() {
    let (world, hive) = World::one().await;
    for (method, path, body) in managed() {
        let wrong = [("authorization", "Bearer 0000")];
        let answer = world.ask(method, &path, &wrong, body).await;
        assert_eq!(answer.refusal(), (401, "token_wrong".into()), "{method} {path}");
    }
    assert_eq!(hive.starts(), 0);
}

#[tokio::test]
async fn what_is_nowhere_is_said_to_be_nowhere() {
    let (world, _) = World::one().await;
    assert_eq!(world.get("/v1/nothing").await.refusal(), (404, "unknown_path".into()));
}

#[tokio::test]
async fn a_wrong_method_is_told_from_a_wrong_path() {
    let (world, _) = World::one().await;
    let answer = world.get("/v1/chat/completions").await;
    assert_eq!(answer.refusal(), (405, "method_not_allowed".into()));
}

#[tokio::test]
async fn a_page_of_another_origin_is_refused() {
    let (world, _) = World::one().await;
    let page = [("origin", "http://evil.example")];
    let answer = world.ask("GET", "/health", &page, "").await;
    assert_eq!(answer.refusal(), (403, "origin_not_allowed".into()));
}

#[tokio::test]
async fn a_body_that_is_no_request_reaches_no_hive() {
    let (world, hive) = World::one().await;
    for path in ["/v1/chat/completions", "/v1/completions", "/v1/embeddings"] {
        for body in ["{", "[]", r#"{"model":1}"#, r#"{"stream":"yes"}"#] {
            let answer = world.post(path, &[], body).await;
            assert_eq!(answer.refusal(), (400, "invalid_json".into()), "{path} {body}");
        }
    }
    assert_eq!(hive.starts(), 0);
}

#[tokio::test]
async fn a_body_that_is_not_json_is_refused_by_its_type() {
    let (world, _) = World::one().await;
    let text = [("content-type", "text/plain"), ("content-length", "1")];
    let answer = world.ask("POST", "/v1/completions", &text, "").await;
    assert_eq!(answer.status, 400, "{answer:?}");
}

const OTHER: Peer = Peer::OtherUser { uid: 4242 };

#[tokio::test]
async fn another_user_of_the_machine_learns_and_loads_nothing() {
    let (world, hive) = World::one().await;
    let open = [
        "/health",
        "/metrics",
        "/v1/hives",
        "/v1/workers",
        "/v1/models",
        "/v1/models/store",
        "/props",
    ]
    .map(|path| ("GET", path.to_owned(), ""));
    let job =
        [format!("/v1/jobs/{ID}"), format!("/v1/jobs/{ID}/stream")].map(|path| ("GET", path, ""));
    let asked = ["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/tokenize"]
        .map(|path| ("POST", path.to_owned(), r#"{"model":"m","messages":[]}"#));
    for peer in [OTHER, Peer::Unknown] {
        for (method, path, body) in open.iter().chain(&job).chain(&asked).cloned().chain(managed())
        {
            let answer = world.ask_as(peer, method, &path, &[], body).await;
            assert_eq!(answer.refusal(), (401, "key_missing".into()), "{method} {path}");
            let wrong = [("authorization", "Bearer sk-unused")];
            let answer = world.ask_as(peer, method, &path, &wrong, body).await;
            assert_eq!(answer.refusal(), (401, "key_wrong".into()), "{method} {path}");
        }
    }
    assert_eq!(hive.starts(), 0);
}

#[tokio::test]
async fn another_user_with_a_key_may_ask_models_and_no_more() {
    let (world, hive) = World::one().await;
    hive.on("POST /v1/chat/completions", Reply::stream(CHUNKS));
    let made = world.manage("POST", "/v1/keys", r#"{"name":"nas","scope":"chat"}"#).await;
    assert_eq!(made.status, 201, "{made:?}");
    let made: serde_json::Value = serde_json::from_str(&made.body).unwrap();
    let bearer = format!("Bearer {}", made["key"].as_str().unwrap());
    let key = [("authorization", bearer.as_str())];
    let body = r#"{"model":"m","stream":true,"messages":[]}"#;
    let answer = world.ask_as(OTHER, "POST", "/v1/chat/completions", &key, body).await;
    assert!(answer.body.ends_with("data: [DONE]\n\n"), "{answer:?}");
    for (method, path, body) in managed() {
        let answer = world.ask_as(OTHER, method, &path, &key, body).await;
        assert_eq!(answer.refusal(), (401, "token_wrong".into()), "{method} {path}");
    }
    // It is told of no process and no file, not even by what happens for its own request.
    let events = [
        key[0],
        ("x-rbee-events", "1"),
        ("x-rbee-fresh", "1"),
        // Nor is it let say that its turn is somebody else's.
        ("x-rbee-caller", "owner"),
    ];
    let answer = world.ask_as(OTHER, "POST", "/v1/chat/completions", &events, body).await;
    assert_eq!(answer.body, CHUNKS, "OpenAI's stream to the letter");
    let sent = hive.seen("POST /v1/chat/completions").pop().unwrap().headers;
    assert_eq!(sent["x-rbee-fresh"], "0");
    assert_eq!(sent["x-rbee-caller"], "key:nas");
    let job = format!("/v1/jobs/{}/stream", answer.headers["x-rbee-job"].to_str().unwrap());
    assert_eq!(world.ask_as(OTHER, "GET", &job, &key, "").await.body, CHUNKS);
    let owner = world.get(&job).await.body;
    assert!(owner.contains("event: end") && owner.contains("id: 1"), "{owner}");
    for path in ["/metrics", "/v1/hives", "/v1/workers", "/v1/models/store", "/v1/models/store/m"] {
        let answer = world.ask_as(OTHER, "GET", path, &key, "").await;
        assert_eq!(answer.refusal(), (401, "token_wrong".into()), "{path}");
    }
    let health = world.ask_as(OTHER, "GET", "/health", &key, "").await.json();
    assert_eq!((&health["status"], &health["pid"]), (&"ok".into(), &0.into()), "{health}");
    assert_eq!((&health["exe_hash"], &health["source_root"]), (&"".into(), &().into()));
    assert_eq!(world.manage("DELETE", "/v1/keys/nas", "").await.status, 204);
    let answer = world.ask_as(OTHER, "POST", "/v1/chat/completions", &key, body).await;
    assert_eq!(answer.refusal(), (401, "key_wrong".into()));
}

#[tokio::test]
async fn the_hive_is_told_what_a_client_may_name_whatever_the_client_says_of_itself() {
    let (world, hive) = World::one().await;
    let line = "POST /v1/chat/completions";
    hive.on(line, Reply::stream(CHUNKS));
    let mut bearers = Vec::new();
    for scope in ["chat", "manage"] {
        let body = format!(r#"{{"name":"{scope}","scope":"{scope}"}}"#);
        let made = world.manage("POST", "/v1/keys", &body).await.json();
        bearers.push(format!("Bearer {}", made["key"].as_str().unwrap()));
    }
    let token = format!("Bearer {}", world.token);
    let body = r#"{"model":"m","stream":true,"messages":[]}"#;
    let cases = [
        (Peer::SameUser, None, "catalogue"),
        (Peer::SameUser, Some(&bearers[0]), "stored"),
        (OTHER, Some(&bearers[0]), "stored"),
        (Peer::Unknown, Some(&bearers[1]), "any"),
        (Peer::SameUser, Some(&token), "any"),
    ];
    for (nth, (peer, bearer, reach)) in cases.into_iter().enumerate() {
        // Nobody can ask for more than they have.
        let mut headers = vec![("x-rbee-models", "any")];
        headers.extend(bearer.map(|bearer| ("authorization", bearer.as_str())));
        let answer = world.ask_as(peer, "POST", "/v1/chat/completions", &headers, body).await;
        assert!(answer.body.ends_with("data: [DONE]\n\n"), "{answer:?}");
        let sent = hive.seen(line).remove(nth).headers;
        assert_eq!(sent["x-rbee-models"], reach, "{peer:?} {bearer:?}");
        let by_right = sent.get("authorization").map(|sent| sent == token.as_str());
        assert_eq!(by_right, (reach == "any").then_some(true), "{peer:?} {bearer:?}");
    }
}
