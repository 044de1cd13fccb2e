//! The routes that every worker has.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Request, StatusCode},
};
use rbee_api::{HEADER_EVENTS, HEADER_JOB, HEADER_OWNER, Health, Status, StreamEvent};
use tower::ServiceExt as _;
use worker_service::{Lease, WorkerService};

fn worker() -> WorkerService {
    let health = || Health {
        status: Status::Ok,
        role: "a-worker".to_owned(),
        instance_id: String::new(),
        pid: 0,
        start_time: 0,
        exe_hash: String::new(),
        source_root: None,
        version: String::new(),
        uptime_s: 0,
    };
    WorkerService::new(Lease::new(Duration::from_secs(600)), health)
}

async fn call(routes: &Router, request: axum::http::request::Builder) -> (StatusCode, String) {
    let request: Request<Body> = request.body(Body::empty()).unwrap();
    let response = routes.clone().oneshot(request).await.unwrap();
    let status = response.status();
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn a_stream_with_ids_is_read_again_behind_any_event() {
    let worker = worker();
    let mut headers = HeaderMap::new();
    headers.insert(HEADER_EVENTS, "1".parse().unwrap());
    let (job, response) = worker.begin(&headers).unwrap();
    for text in ["one", "two", "three"] {
        job.send(StreamEvent::Chunk(text.to_owned()));
    }
    job.send(StreamEvent::Done);
    let id = response.headers()[HEADER_JOB].to_str().unwrap().to_owned();
    job.complete();

    let whole = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let again = Request::get(format!("/v1/jobs/{id}/stream")).header("last-event-id", "2");
    let (status, rest) = call(&worker.routes(), again).await;

    let whole = String::from_utf8(whole.to_vec()).unwrap();
    assert!(whole.starts_with("id: 1\ndata: one\n\nid: 2\ndata: two\n\n"), "{whole}");
    assert_eq!(status, StatusCode::OK);
    assert_eq!(Some(rest.as_str()), whole.find("id: 3\n").map(|at| &whole[at..]));
}

#[tokio::test]
async fn without_ids_a_stream_is_openai_s_and_its_reader_s_leaving_cancels_it() {
    let worker = worker();
    let (job, response) = worker.begin(&HeaderMap::new()).unwrap();
    drop(response);
    tokio::time::timeout(Duration::from_secs(20), job.cancelled()).await.expect("a cancellation");
}

#[tokio::test]
async fn a_stream_is_ended_by_its_name_and_no_other() {
    let worker = worker();
    let (job, _response) = worker.begin(&HeaderMap::new()).unwrap();
    let routes = worker.routes();
    let other = "/v1/jobs/0199f5a0-0000-7000-8000-000000000000";
    assert_eq!(call(&routes, Request::delete(other)).await.0, StatusCode::NOT_FOUND);
    assert!(!job.is_cancelled());
    let own = format!("/v1/jobs/{}", job.id());
    assert_eq!(call(&routes, Request::delete(own)).await.0, StatusCode::NO_CONTENT);
    assert!(job.is_cancelled());
}

#[tokio::test]
async fn a_stream_that_another_reads_on_is_not_ended_by_whoever_had_it_before() {
    let worker = worker();
    let (job, _response) = worker.begin(&HeaderMap::new()).unwrap();
    let (routes, own) = (worker.routes(), format!("/v1/jobs/{}", job.id()));
    let reading = Request::get(format!("{own}/stream")).header(HEADER_OWNER, "1");
    let later = routes.clone().oneshot(reading.body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(later.status(), StatusCode::OK);
    let ended = |owner: &str| Request::delete(&own).header(HEADER_OWNER, owner);
    let (status, why) = call(&routes, ended("0")).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert!(why.contains("job_taken_over"), "{why}");
    assert!(!job.is_cancelled());
    let (status, why) = call(&routes, ended("me")).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(why.contains("`me` in `x-rbee-owner` is not the number of an owner"), "{why}");
    assert_eq!(call(&routes, ended("1")).await.0, StatusCode::NO_CONTENT);
    assert!(job.is_cancelled());
}

#[tokio::test]
async fn a_renewal_tells_how_many_requests_are_answered() {
    let worker = worker();
    let hold = worker.hold();
    let (_, during) = call(&worker.routes(), Request::post("/v1/lease")).await;
    drop(hold);
    let (_, after) = call(&worker.routes(), Request::post("/v1/lease")).await;
    assert_eq!(during, r#"{"lease_s":600.0,"active_requests":1}"#);
    assert_eq!(after, r#"{"lease_s":600.0,"active_requests":0}"#);
}
