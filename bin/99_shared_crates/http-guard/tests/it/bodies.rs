use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{StatusCode, header},
    response::Response,
    routing::post,
};
use bytes::Bytes;
use futures::StreamExt as _;
use http_body_util::BodyExt as _;
use http_guard::{ApiBytes, BodyLimits, Guard};
use tokio::sync::Notify;
use tower::ServiceExt as _;

use crate::server::Server;

const JSON: &str = "content-type: application/json";
const ORDER: &str = r#"{"model":"m","messages":[{"role":"user"}]}"#;

#[tokio::test]
async fn json_is_read() {
    let server = Server::start().await;
    for content_type in [JSON, "content-type: Application/JSON; charset=utf-8"] {
        let answer = server.post("/order", &[content_type], ORDER).await;
        assert_eq!((answer.status, &*answer.body), (200, "m for user"), "{content_type}");
    }
}

#[tokio::test]
async fn what_a_page_may_send_without_asking_is_refused() {
    let server = Server::start().await;
    let types = [
        "content-type: text/plain",
        "content-type: application/x-www-form-urlencoded",
        "content-type: multipart/form-data; boundary=x",
        "content-type: text/plain; application/json",
        "content-type: application/jsonx",
        "content-type: text/plain\r\ncontent-type: application/json",
        "content-type: application/json\r\ncontent-type: text/plain",
    ];
    for path in ["/order", "/raw", "/nowhere"] {
        for content_type in types {
            for header in OF_A_PAGE {
                let answer = server.post(path, &[content_type, header], ORDER).await;
                let refusal = (415, "content_type_not_json".to_owned());
                assert_eq!(answer.refusal(), refusal, "{path} {content_type} {header}");
            }
        }
    }
}

/// What browsers say with what a page sends, here to its own origin.
const OF_A_PAGE: [&str; 4] = [
    "origin: http://{host}",
    "referer: http://{host}/",
    "sec-fetch-site: same-origin",
    "sec-fetch-site: none",
];

#[tokio::test]
async fn a_body_of_no_type_or_any_is_taken_from_who_is_no_browser() {
    let server = Server::start().await;
    // As of programs that say nothing, of `curl -d`, of aiohttp.
    for headers in [
        &[][..],
        &["content-type: application/x-www-form-urlencoded"],
        &["content-type: application/octet-stream"],
        &["content-type: text/plain; charset=utf-8"],
    ] {
        let answer = server.post("/order", headers, ORDER).await;
        assert_eq!((answer.status, &*answer.body), (200, "m for user"), "{headers:?}");
    }
    let two = ["content-type: text/plain", "content-type: application/json"];
    assert_eq!(server.post("/order", &two, ORDER).await.refusal().0, 415);
    for header in OF_A_PAGE {
        let answer = server.post("/order", &[header], ORDER).await;
        assert_eq!(answer.refusal(), (415, "content_type_not_json".into()), "{header}");
    }
    for header in ["origin: https://evil.example", "origin: null", "sec-fetch-site: cross-site"] {
        assert_eq!(server.post("/order", &[header], ORDER).await.refusal().0, 403, "{header}");
    }
}

#[tokio::test]
async fn a_body_that_does_not_say_its_length_needs_its_type_too() {
    let server = Server::start().await;
    let chunked = "POST /raw HTTP/1.1\r\nhost: {host}\r\ncontent-type: text/plain\r\n\
                   origin: http://{host}\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n1\r\na\r\n0\r\n\r\n";
    assert_eq!(server.send(chunked).await.refusal().0, 415);
}

#[tokio::test]
async fn an_answer_without_a_look_at_the_body_says_that_the_connection_closes() {
    let server = Server::start().await;
    // Whether it does, which the next request on the connection sees too.
    let closes = async |path: &str, header: &str, body: &str| {
        let first = format!(
            "{path} HTTP/1.1\r\nhost: {{host}}\r\n{JSON}\r\n{header}content-length: {}\r\n\r\n{body}",
            body.len()
        );
        let next = "GET /health HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n";
        let answers = server.send(&(first + next)).await;
        let says = answers.header("connection") == Some("close");
        assert_eq!(says, !answers.body.contains("HTTP/1.1 200 OK"), "{path} {answers:?}");
        says
    };
    for (path, header) in
        [("POST /nowhere", ""), ("PUT /order", ""), ("POST /order", "origin: null\r\n")]
    {
        assert!(closes(path, header, ORDER).await, "{path}");
        assert!(!closes(path, header, "").await, "{path}");
    }
    assert!(!closes("POST /order", "", ORDER).await);
}

#[tokio::test]
async fn a_request_without_a_body_needs_no_type() {
    let server = Server::start().await;
    let answer = server.post("/raw", &[], "").await;
    assert_eq!((answer.status, &*answer.body), (200, "0"));
}

#[tokio::test]
async fn a_body_up_to_the_limit_is_taken_and_one_over_it_is_not() {
    let server = Server::start_with(|guard| guard.max_body_bytes(100), None).await;
    let fits = server.post("/raw", &[JSON], &"x".repeat(100)).await;
    assert_eq!((fits.status, &*fits.body), (200, "100"));
    let over = server.post("/raw", &[JSON], &"x".repeat(101)).await;
    assert_eq!(over.refusal(), (413, "body_too_large".into()));
}

#[tokio::test]
async fn a_body_that_grows_over_the_limit_is_cut_off() {
    let server = Server::start_with(|guard| guard.max_body_bytes(100), None).await;
    let chunked = |path: &str| {
        let chunk = format!("40\r\n{}\r\n", "x".repeat(64));
        format!(
            "POST {path} HTTP/1.1\r\nhost: {{host}}\r\n{JSON}\r\ntransfer-encoding: chunked\r\n\
             connection: close\r\n\r\n{chunk}{chunk}0\r\n\r\n"
        )
    };
    assert_eq!(server.send(&chunked("/order")).await.refusal(), (413, "body_too_large".into()));
    assert_eq!(server.send(&chunked("/raw")).await.status, 418, "the handler saw a whole body");
}

#[tokio::test]
async fn bodies_over_the_frameworks_own_limit_are_taken_by_default() {
    let server = Server::start().await;
    let order = format!(r#"{{"model":"{}"}}"#, "m".repeat(3 << 20));
    assert_eq!(server.post("/order", &[JSON], &order).await.status, 200);
    let order = format!(r#"{{"model":"{}"}}"#, "m".repeat(8 << 20));
    assert_eq!(server.post("/order", &[JSON], &order).await.refusal().0, 413);
}

#[tokio::test]
async fn what_is_not_json_or_does_not_fit_is_refused_with_its_place() {
    let server = Server::start().await;
    let cases = [
        ("{", "invalid_json", None),
        (r#"{"model":"m"} x"#, "invalid_json", None),
        ("{}", "invalid_body", None),
        (r#"{"model":7}"#, "invalid_body", Some("model")),
        (r#"{"model":"m","messages":[{"role":"user"},{}]}"#, "invalid_body", Some("messages[1]")),
    ];
    for (body, code, param) in cases {
        let answer = server.post("/order", &[JSON], body).await;
        assert_eq!(answer.refusal(), (400, code.to_owned()), "{body}");
        assert_eq!(answer.param().as_deref(), param, "{body}");
    }
    let missing = server.post("/order", &[JSON], "{}").await;
    assert!(missing.body.contains("missing field `model`"), "{missing:?}");
}

const LIMITS: BodyLimits =
    BodyLimits { bytes: 1000, bytes_at_once: 3000, at_once: 4, time: Duration::from_secs(60) };

/// A server that keeps what it has read until its answer has been sent, which `go` lets it begin.
fn keeper(go: &Arc<Notify>) -> Router {
    let go = Arc::clone(go);
    let keep = async move |ApiBytes(body): ApiBytes| {
        go.notified().await;
        body
    };
    let router = Router::new().route("/", post(keep));
    router.layer(Guard::loopback(8500).body_limits(LIMITS).layer())
}

fn request(body: Body) -> Request {
    let request = Request::post("/").header(header::HOST, "127.0.0.1:8500");
    request.header(header::CONTENT_TYPE, "application/json").body(body).unwrap()
}

/// The first `bytes` of a body whose rest does not come.
fn half(bytes: usize) -> Body {
    let begun = futures::stream::iter([Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; bytes]))]);
    Body::from_stream(begun.chain(futures::stream::pending()))
}

fn spawn(router: &Router, body: Body) -> tokio::task::JoinHandle<Response> {
    let router = router.clone();
    tokio::spawn(async move { router.oneshot(request(body)).await.unwrap() })
}

async fn code(response: Response) -> (StatusCode, String) {
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let body: rbee_api::ErrorBody = serde_json::from_slice(&body).unwrap();
    (status, body.error.code.to_string())
}

async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn half_bodies_take_their_share_and_no_more_and_no_longer() {
    let go = Arc::new(Notify::new());
    let router = keeper(&go);
    // Three fill the room, so what comes of the fourth is refused.
    let halves: Vec<_> = (0..3).map(|_| spawn(&router, half(1000))).collect();
    settle().await;
    let refused = spawn(&router, half(1)).await.unwrap();
    assert!(refused.headers().contains_key(header::RETRY_AFTER));
    assert_eq!(code(refused).await, (StatusCode::TOO_MANY_REQUESTS, "too_many_bodies".into()));
    // Nobody waits for them for ever, and then there is room again.
    for half in halves {
        let refused = code(half.await.unwrap()).await;
        assert_eq!(refused, (StatusCode::REQUEST_TIMEOUT, "body_too_slow".into()));
    }
    let whole = spawn(&router, Body::from(vec![b'x'; 1000]));
    settle().await;
    go.notify_one();
    assert_eq!(whole.await.unwrap().status(), StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn bodies_that_come_are_bounded_in_number() {
    let router = keeper(&Arc::default());
    let empty: Vec<_> = (0..4).map(|_| spawn(&router, half(0))).collect();
    settle().await;
    let refused = code(spawn(&router, half(0)).await.unwrap()).await;
    assert_eq!(refused, (StatusCode::TOO_MANY_REQUESTS, "too_many_bodies".into()));
    for one in &empty {
        one.abort();
    }
    settle().await;
    let late = code(spawn(&router, half(0)).await.unwrap()).await;
    assert_eq!(late, (StatusCode::REQUEST_TIMEOUT, "body_too_slow".into()), "it had a place");
}

#[tokio::test(start_paused = true)]
async fn a_body_has_its_room_until_its_request_has_been_answered() {
    let go = Arc::new(Notify::new());
    let router = keeper(&go);
    let kept: Vec<_> = (0..3).map(|_| spawn(&router, Body::from(vec![b'x'; 1000]))).collect();
    settle().await;
    let full = || async {
        let refused = code(spawn(&router, Body::from("x")).await.unwrap()).await;
        assert_eq!(refused, (StatusCode::TOO_MANY_REQUESTS, "too_many_bodies".into()));
    };
    full().await;
    go.notify_waiters();
    let mut answers = Vec::new();
    for kept in kept {
        answers.push(kept.await.unwrap());
    }
    // They have been answered and the answers have not been sent.
    full().await;
    assert_eq!(answers.pop().unwrap().into_body().collect().await.unwrap().to_bytes().len(), 1000);
    let fits = spawn(&router, Body::from("x"));
    settle().await;
    go.notify_one();
    assert_eq!(fits.await.unwrap().status(), StatusCode::OK);
}
