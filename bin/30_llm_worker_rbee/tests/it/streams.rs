//! Streams that a hive resumes, and ends.

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode},
};
use http_body_util::BodyExt as _;
use rbee_api::{HEADER_EVENTS, HEADER_JOB};
use serde_json::json;
use tokio::time::timeout;
use tower::ServiceExt as _;

use crate::support::{DEADLINE, call, engine, routes};

#[tokio::test]
async fn a_stream_with_ids_is_read_again_behind_any_event() {
    let engine = engine(1, 512).await;
    let routes = routes(&engine);
    let whole = call(&routes, ask(8)).await;
    assert!(whole.body.starts_with("id: 1\ndata: "), "{}", whole.body);
    assert!(whole.body.ends_with("event: end\ndata: {\"state\":\"completed\"}\n\n"));

    let job = whole.headers[HEADER_JOB].to_str().unwrap();
    let again = Request::get(format!("/v1/jobs/{job}/stream")).header("last-event-id", "3");
    let rest = call(&routes, again.body(Body::empty()).unwrap()).await;

    let (_, expected) = whole.body.split_once("id: 4\n").unwrap();
    assert_eq!(rest.body, format!("id: 4\n{expected}"));
}

#[tokio::test]
async fn a_stream_that_is_ended_by_its_name_leaves_the_engine_free() {
    let engine = engine(1, 4096).await;
    let routes = routes(&engine);
    let response = routes.clone().oneshot(ask(4000)).await.unwrap();
    let job = response.headers()[HEADER_JOB].to_str().unwrap().to_owned();
    let mut body = response.into_body();
    body.frame().await.unwrap().unwrap();

    let end = Request::delete(format!("/v1/jobs/{job}")).body(Body::empty()).unwrap();
    assert_eq!(call(&routes, end).await.status, StatusCode::NO_CONTENT);

    let rest = timeout(DEADLINE, body.collect()).await.expect("the stream ends").unwrap();
    let rest = String::from_utf8(rest.to_bytes().into()).unwrap();
    assert!(rest.ends_with("event: end\ndata: {\"state\":\"cancelled\"}\n\n"), "{rest}");
}

#[tokio::test]
async fn a_stream_that_is_not_there_is_not_found() {
    let engine = engine(1, 512).await;
    let routes: Router = routes(&engine);
    for path in ["/v1/jobs/no-id/stream", "/v1/jobs/0199f5a0-0000-7000-8000-000000000000/stream"] {
        let answer = call(&routes, Request::get(path).body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
        assert_eq!(answer.json()["error"]["code"], "job_not_found");
    }
}

fn ask(max_tokens: u32) -> Request<Body> {
    let body = json!({
        "messages": [{"role": "user", "content": "Count."}],
        "stream": true,
        "max_tokens": max_tokens,
        "temperature": 0,
    });
    let request = Request::post("/v1/chat/completions").header(HEADER_EVENTS, "1");
    request.body(Body::from(body.to_string())).unwrap()
}
