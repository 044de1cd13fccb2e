//! A level between a scripted next level and a client.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod level; // one more level, and what it gets

use std::{
    collections::VecDeque,
    io::Write as _,
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, StatusCode},
    response::Response,
};
use chain_level::{Attempt, Form, Head, NextLevel, Relays, job_routes, respond};
use daemon_lifecycle::Daemon;
use http_body_util::BodyExt as _;
use http_guard::Token;
use job_client::Source;
use job_server::{JobId, JobServer, Limits};
use rbee_api::{ErrorBody, HEADER_EVENTS, HEADER_JOB, JobRemains, JobState};
use reqwest::{Method, RequestBuilder};
use tokio::sync::watch;

const CHUNKS: &str = "data: {\"n\":1}\n\ndata: {\"n\":2}\n\ndata: [DONE]\n\n";

#[tokio::test]
async fn openai_clients_get_the_chunks_as_they_were_sent_and_nothing_else() {
    let narrated = "event: narration\ndata: {}\n\nevent: progress\ndata: {}\n\n";
    let level = Level::between([stream(&format!("{narrated}{CHUNKS}"))]);
    let (status, body) = level.answer(Form::OpenAiStream).await;
    assert_eq!((status, body.as_str()), (StatusCode::OK, CHUNKS));
}

#[tokio::test]
async fn clients_that_ask_for_events_get_them_with_ids_and_an_end() {
    let level = Level::between([stream(&format!("event: narration\ndata: {{}}\n\n{CHUNKS}"))]);
    let (_, body) = level.answer(Form::Events).await;
    let expected = "id: 1\nevent: narration\ndata: {}\n\nid: 2\ndata: {\"n\":1}\n\n\
                    id: 3\ndata: {\"n\":2}\n\nid: 4\ndata: [DONE]\n\n\
                    id: 5\nevent: end\ndata: {\"state\":\"completed\"}\n\n";
    assert_eq!(body, expected);
}

#[tokio::test]
async fn one_body_is_passed_on_as_it_is() {
    let level = Level::between([json("200 OK", "{\"whole\": true}")]);
    assert_eq!(level.answer(Form::Json).await, (StatusCode::OK, "{\"whole\": true}".to_owned()));
}

#[tokio::test]
async fn a_process_that_dies_before_its_first_word_is_asked_again() {
    let level = Level::between([String::new(), String::new(), stream(CHUNKS)]);
    let (status, body) = level.answer(Form::OpenAiStream).await;
    assert_eq!((status, body.as_str()), (StatusCode::OK, CHUNKS));
    assert_eq!(level.attempts(), [0, 1, 2]);
}

#[tokio::test]
async fn narration_is_not_an_answer_and_does_not_forbid_another_attempt() {
    let level = Level::between([stream("event: narration\ndata: {}\n\n"), stream(CHUNKS)]);
    assert_eq!(level.answer(Form::OpenAiStream).await.1, CHUNKS);
}

#[tokio::test]
async fn a_process_that_stays_dead_is_not_asked_for_ever() {
    let level = Level::between([String::new(), String::new(), String::new(), stream(CHUNKS)]);
    let (status, body) = level.answer(Form::OpenAiStream).await;
    assert_eq!(status, StatusCode::BAD_GATEWAY);
    assert!(body.contains("upstream_lost"), "{body}");
    assert_eq!(level.attempts().len(), 3);
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_not_begun_again() {
    let level = Level::between([stream("data: {\"n\":1}\n\n"), stream(CHUNKS)]);
    let job = level.begin();
    let response = respond(level.relays.jobs(), job, Form::Events).await;
    let body = String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().into());
    let body = body.unwrap();
    assert!(body.contains("event: error\ndata: {\"error\":{\"message\":\"the answer was cut off"));
    assert!(body.ends_with("event: end\ndata: {\"state\":\"failed\"}\n\n"), "{body}");
    assert_eq!(level.attempts(), [0]);
}

#[tokio::test]
async fn a_refusal_keeps_its_status_and_its_words() {
    let refusal = r#"{"error":{"message":"no","type":"t","code":"model_not_found","param":null}}"#;
    for form in [Form::OpenAiStream, Form::Json] {
        let level = Level::between([json("404 Not Found", refusal)]);
        let (status, body) = level.answer(form).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        assert!(body.contains("model_not_found"), "{body}");
        assert_eq!(level.attempts(), [0], "a refusal is an answer");
    }
}

#[tokio::test]
async fn an_error_event_before_the_first_chunk_becomes_the_status() {
    let error = r#"{"error":{"message":"m","type":"t","code":"build_failed","status":503}}"#;
    let level = Level::between([stream(&format!("event: error\ndata: {error}\n\n"))]);
    let (status, body) = level.answer(Form::OpenAiStream).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(body.contains("build_failed"), "{body}");
}

#[tokio::test]
async fn a_client_that_goes_away_cancels_the_job() {
    let level = Level::between([stream("data: {\"n\":1}\n\n") + HOLD]);
    let job = level.begin();
    let mut body = respond(level.relays.jobs(), job, Form::OpenAiStream).await.into_body();
    body.frame().await.unwrap().unwrap();
    drop(body);
    tokio::time::timeout(DEADLINE, level.relays.jobs().idle()).await.unwrap();
    let info = rbee_api::JobInfo::from(level.relays.jobs().info(&job).unwrap());
    assert_eq!(info.state, JobState::Cancelled);
}

#[tokio::test]
async fn a_cancelled_job_ends_the_next_level_s_job_too() {
    let begun = named_stream("id: 1\ndata: {\"n\":1}\n\n");
    let level = Level::between([begun + HOLD, "HTTP/1.1 204 No Content\r\n\r\n".to_owned()]);
    let job = level.begin();
    let mut body = respond(level.relays.jobs(), job, Form::OpenAiStream).await.into_body();
    body.frame().await.unwrap().unwrap();
    drop(body);
    let ends = level.request(1).await;
    assert!(ends.starts_with("DELETE /v1/jobs/upstream "), "{ends}");
    assert!(ends.contains("x-rbee-owner: 0\r\n"), "{ends}");
}

#[tokio::test]
async fn an_answer_whose_job_has_a_name_goes_on_behind_what_was_seen() {
    let first = named_stream("id: 1\nevent: narration\ndata: {}\n\nid: 2\ndata: {\"n\":1}\n\n");
    let second = named_stream("id: 3\ndata: {\"n\":2}\n\n");
    let third = named_stream("id: 4\ndata: [DONE]\n\n");
    let level = Level::between([first, second, third]);
    let (status, body) = level.answer(Form::OpenAiStream).await;
    assert_eq!((status, body.as_str()), (StatusCode::OK, CHUNKS));
    assert_eq!(level.attempts(), [0], "the answer is not begun again");
    for (turn, last) in [(1, "2"), (2, "3")] {
        let request = level.request(turn).await;
        assert!(request.starts_with("GET /v1/jobs/upstream/stream "), "{request}");
        assert!(request.contains(&format!("last-event-id: {last}\r\n")), "{request}");
    }
}

/// The beginning of an answer, and an end of the next level's job that makes it no whole one.
fn half_of_an_answer(state: &str) -> String {
    let end = format!("id: 2\nevent: end\ndata: {{\"state\":\"{state}\"}}\n\n");
    named_stream(&format!("id: 1\ndata: {{\"n\":1}}\n\n{end}"))
}

#[tokio::test]
async fn half_an_answer_is_not_passed_on_as_a_whole_one() {
    for state in ["cancelled", "failed"] {
        let level = Level::between([half_of_an_answer(state)]);
        let (_, body) = level.answer(Form::Events).await;
        assert!(body.contains("event: error\ndata: {\"error\":{\"message\":\"the answer was cut"));
        assert!(body.ends_with("event: end\ndata: {\"state\":\"failed\"}\n\n"), "{body}");

        let level = Level::between([half_of_an_answer(state)]);
        let response = respond(level.relays.jobs(), level.begin(), Form::OpenAiStream).await;
        let mut body = response.into_body();
        let mut read = Vec::new();
        let cut = loop {
            match body.frame().await {
                Some(Ok(frame)) => read.extend_from_slice(&frame.into_data().unwrap()),
                Some(Err(_)) => break true,
                None => break false,
            }
        };
        let read = String::from_utf8(read).unwrap();
        assert!(cut && !read.contains("[DONE]"), "{state}: {read}");
        assert!(read.contains("data: {\"error\":"), "{state}: {read}");
    }
}

#[tokio::test]
async fn a_job_that_was_cancelled_before_its_first_word_is_not_begun_again() {
    let cancelled = named_stream("id: 1\nevent: end\ndata: {\"state\":\"cancelled\"}\n\n");
    let level = Level::between([cancelled]);
    let (status, body) = level.answer(Form::Json).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(body.contains("\"cancelled\""), "{body}");
    assert_eq!(level.attempts(), [0]);
}

#[tokio::test]
async fn a_next_level_that_has_forgotten_the_job_has_lost_the_answer() {
    let begun = named_stream("id: 1\ndata: {\"n\":1}\n\n");
    let level = Level::between([begun, json("404 Not Found", UNKNOWN)]);
    let response = respond(level.relays.jobs(), level.begin(), Form::Events).await;
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let body = String::from_utf8(body.into()).unwrap();
    assert!(body.contains("upstream_lost"), "{body}");
    assert!(body.ends_with("data: {\"state\":\"failed\"}\n\n"), "{body}");
}

#[tokio::test]
async fn a_request_that_was_lost_before_its_first_word_is_made_anew() {
    let begun = named_stream("id: 1\nevent: narration\ndata: {}\n\n");
    let level = Level::between([begun, json("404 Not Found", UNKNOWN), stream(CHUNKS)]);
    assert_eq!(level.answer(Form::OpenAiStream).await.1, CHUNKS);
    assert_eq!(level.attempts(), [0, 2]);
}

#[tokio::test]
async fn a_request_that_ends_each_process_that_begins_it_is_not_begun_for_ever() {
    let begun = || named_stream("id: 1\nevent: narration\ndata: {}\n\n");
    let lost = || json("404 Not Found", UNKNOWN);
    let times = [begun(), lost(), begun(), lost(), begun(), lost(), begun(), lost()];
    let level = Level::between(times.into_iter().chain([stream(CHUNKS)]));
    let (status, body) = level.answer(Form::OpenAiStream).await;
    assert_eq!(status, StatusCode::BAD_GATEWAY);
    assert!(body.contains("upstream_lost"), "{body}");
    assert_eq!(level.attempts().len(), 3);
}

#[tokio::test]
async fn whoever_comes_after_a_process_that_died_is_told_where_it_had_the_answer_from() {
    let origin = r#"{"at":"worker","job_id":"origin","last_event_id":6}"#;
    let level = Level::between([
        named_stream(&format!(
            "id: 1\nevent: origin\ndata: {origin}\n\nid: 2\ndata: {{\"n\":1}}\n\n"
        )),
        json("404 Not Found", UNKNOWN),
        "HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n".to_owned(),
        named_stream("id: 3\nevent: narration\ndata: {}\n\nid: 4\ndata: {\"n\":2}\n\n"),
        json("404 Not Found", UNKNOWN),
        "HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n".to_owned(),
        named_stream("id: 5\ndata: [DONE]\n\n"),
    ]);
    let (status, body) = level.answer(Form::OpenAiStream).await;
    assert_eq!((status, body.as_str()), (StatusCode::OK, CHUNKS));
    assert_eq!(level.attempts(), [0], "the answer is not begun again");
    for (turn, seen, origin) in [(2, 2, 7), (5, 4, 8)] {
        let request = level.request(turn).await;
        assert!(request.starts_with("PUT /v1/jobs/upstream "), "{request}");
        let body = request.split_once("\r\n\r\n").unwrap().1;
        let remains: JobRemains = serde_json::from_str(body).unwrap();
        assert_eq!((remains.last_event_id, remains.origin.last_event_id), (seen, origin));
        let request = level.request(turn + 1).await;
        assert!(request.contains(&format!("last-event-id: {seen}\r\n")), "{request}");
    }
}

#[tokio::test]
async fn clients_that_ask_for_events_learn_where_the_chunks_come_from() {
    let narrated = "id: 1\ndata: 1\n\nid: 2\nevent: narration\ndata: {}\n\n";
    let level = Level::between([named_stream(&format!(
        "{narrated}id: 3\ndata: 3\n\nid: 4\ndata: [DONE]\n\n"
    ))]);
    let (_, body) = level.answer(Form::Events).await;
    let origin = |last: u64| {
        let origin = format!(r#"{{"at":"next","job_id":"upstream","last_event_id":{last}}}"#);
        format!("event: origin\ndata: {origin}\n\n")
    };
    let expected = format!(
        "id: 1\n{}id: 2\ndata: 1\n\nid: 3\nevent: narration\ndata: {{}}\n\n\
         id: 4\n{}id: 5\ndata: 3\n\nid: 6\ndata: [DONE]\n\n\
         id: 7\nevent: end\ndata: {{\"state\":\"completed\"}}\n\n",
        origin(0),
        origin(2)
    );
    assert_eq!(body, expected);
}

#[tokio::test]
async fn whoever_goes_on_with_an_answer_owns_the_next_level_s_job_from_then_on() {
    let level = Level::between([
        named_stream("id: 8\ndata: {\"n\":2}\n\n") + HOLD,
        "HTTP/1.1 204 No Content\r\n\r\n".to_owned(),
    ]);
    let (url, client) = serve(&level).await;
    let job = JobServer::new(Limits::default()).create("completion").unwrap().id();
    let upstream = JobServer::new(Limits::default()).create("completion").unwrap().id();
    let body = format!(
        r#"{{"last_event_id":2,"origin":{{"at":"next","job_id":"{upstream}","last_event_id":7,"owner":3}}}}"#
    );
    let request = client
        .put(format!("{url}/{job}"))
        .header("content-type", "application/json")
        .header("authorization", level.token.authorization())
        .body(body);
    assert_eq!(request.send().await.unwrap().status(), 204);
    let reads = level.request(0).await;
    assert!(reads.starts_with(&format!("GET /v1/jobs/{upstream}/stream ")), "{reads}");
    assert!(reads.contains("x-rbee-owner: 4\r\n"), "{reads}");
    level.relays.jobs().cancel(&job, None).unwrap();
    let ends = level.request(1).await;
    assert!(ends.starts_with(&format!("DELETE /v1/jobs/{upstream} ")), "{ends}");
    assert!(ends.contains("x-rbee-owner: 4\r\n"), "{ends}");
}

/// The level's job routes, and a client for them.
async fn serve(level: &Level) -> (String, reqwest::Client) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1/jobs", listener.local_addr().unwrap());
    let routes = job_routes(level.relays.clone());
    tokio::spawn(async move { axum::serve(listener, routes).await });
    (url, reqwest::Client::builder().timeout(DEADLINE).build().unwrap())
}

#[tokio::test]
async fn what_no_stream_can_have_is_refused() {
    let level = Level::between([]);
    let job = level.relays.jobs().create("completion").unwrap().id();
    let (url, client) = serve(&level).await;
    let url = format!("{url}/{job}");
    let (known, path) = (job.to_string(), "x/../../health");
    for (seen, origin, at, status, says) in [
        (u64::MAX, 0, known.as_str(), 400, "no stream has 18446744073709551615 events"),
        (0, u64::MAX, &known, 400, "no stream has 18446744073709551615 events"),
        (0, 0, path, 404, "there is no such job"),
    ] {
        let body = format!(
            r#"{{"last_event_id":{seen},"origin":{{"at":"next","job_id":"{at}","last_event_id":{origin}}}}}"#
        );
        let request = client
            .put(&url)
            .header("content-type", "application/json")
            .header("authorization", level.token.authorization())
            .body(body);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), status);
        let text = response.text().await.unwrap();
        assert!(text.contains(says), "{text}");
    }
}

#[tokio::test]
async fn the_response_names_its_job() {
    let level = Level::between([stream(CHUNKS)]);
    let job = level.begin();
    let response: Response<Body> = respond(level.relays.jobs(), job, Form::OpenAiStream).await;
    assert_eq!(response.headers()[HEADER_JOB], job.to_string().as_str());
}

#[test]
fn the_head_is_read_from_headers_and_body() {
    let mut headers = HeaderMap::new();
    let head = Head::read(&headers, br#"{"model":"m","stream":true,"n":1}"#).unwrap();
    assert_eq!((head.model.as_deref(), head.form), (Some("m"), Form::OpenAiStream));
    headers.insert(HEADER_EVENTS, HeaderValue::from_static("1"));
    assert_eq!(Head::read(&headers, br#"{"stream":true}"#).unwrap().form, Form::Events);
    assert_eq!(Head::read(&headers, b"{}").unwrap().form, Form::Json);
}

#[test]
fn a_body_that_is_no_request_is_refused() {
    for body in [&b""[..], b"[]", b"{\"model\":1}", b"{\"stream\":\"yes\"}", b"{"] {
        let refusal = Head::read(&HeaderMap::new(), body).unwrap_err();
        assert_eq!(refusal.status(), StatusCode::BAD_REQUEST, "{body:?}");
    }
}

const UNKNOWN: &str = r#"{"error":{"message":"m","type":"t","code":"job_not_found"}}"#;

/// At the end of a script: the connection stays open.
const HOLD: &str = "HOLD";

const DEADLINE: Duration = Duration::from_secs(10);

struct Level {
    relays: Relays<Next>,
    token: Token,
    next: Next,
    attempts: Arc<Mutex<Vec<usize>>>,
    /// What the next level was sent, a text for each connection.
    requests: watch::Receiver<Vec<String>>,
}

#[derive(Debug, Clone)]
struct Next(SocketAddr);

impl Source for Next {
    type Held = ();
    type Error = ErrorBody;

    async fn request(
        &self,
        at: &str,
        method: Method,
        path: &str,
        _: usize,
    ) -> Result<(RequestBuilder, ()), ErrorBody> {
        assert_eq!(at, "next");
        let client = reqwest::Client::builder().build().unwrap();
        Ok((client.request(method, format!("http://{}{path}", self.0)), ()))
    }
}

impl NextLevel for Next {}

impl Level {
    /// A level whose next one answers each connection with one of `scripts`, and then closes it.
    fn between(scripts: impl IntoIterator<Item = String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let next = Next(listener.local_addr().unwrap());
        let mut scripts: VecDeque<String> = scripts.into_iter().collect();
        let (seen, requests) = watch::channel(Vec::new());
        thread::spawn(move || {
            let mut held = Vec::new();
            while let Some(script) = scripts.pop_front() {
                let (mut connection, _) = listener.accept().unwrap();
                let hold = script.ends_with(HOLD);
                // The request is read, so that closing does not reset the connection.
                let mut request = [0; 4096];
                let length = std::io::Read::read(&mut connection, &mut request).unwrap();
                let request = String::from_utf8_lossy(&request[..length]).into_owned();
                seen.send_modify(|requests| requests.push(request));
                connection.write_all(script.trim_end_matches(HOLD).as_bytes()).unwrap();
                if hold {
                    held.push(connection);
                }
            }
            // Until the test ends.
            while !held.is_empty() {
                thread::park();
            }
        });
        let folder = tempfile::tempdir().unwrap();
        let token = Token::load_or_create(&folder.path().join("token")).unwrap();
        let daemon = Daemon::attach("level").unwrap();
        let jobs = JobServer::new(Limits::default());
        let relays = Relays::new(jobs, next.clone(), daemon, token.clone());
        Self { relays, token, next, attempts: Arc::default(), requests }
    }

    /// The request of that connection, once it has come.
    async fn request(&self, turn: usize) -> String {
        let mut requests = self.requests.clone();
        let come = requests.wait_for(|requests| requests.len() > turn);
        let requests = tokio::time::timeout(DEADLINE, come).await.unwrap().unwrap();
        requests[turn].clone()
    }

    fn begin(&self) -> JobId {
        let (relays, attempts) = (self.relays.clone(), Arc::clone(&self.attempts));
        let next = self.next.clone();
        let begun = relays.begin("completion", move |_, again| {
            attempts.lock().unwrap().push(again.failed);
            let next = next.clone();
            async move {
                let (request, guard) =
                    next.request("next", Method::POST, "/", again.failed).await?;
                let (request, at) = (request.body("{}"), "next".to_owned());
                Ok(Attempt { request, at, guard, elsewhere: false })
            }
        });
        begun.unwrap()
    }

    async fn answer(&self, form: Form) -> (StatusCode, String) {
        let response = respond(self.relays.jobs(), self.begin(), form).await;
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.into()).unwrap())
    }

    fn attempts(&self) -> Vec<usize> {
        self.attempts.lock().unwrap().clone()
    }
}

/// A stream that can be resumed.
fn named_stream(body: &str) -> String {
    let head = "content-type: text/event-stream\r\nconnection: close\r\nx-rbee-job: upstream";
    format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{body}")
}

fn stream(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n{body}")
}

fn json(status: &str, body: &str) -> String {
    let head = "content-type: application/json\r\nconnection: close";
    format!("HTTP/1.1 {status}\r\n{head}\r\n\r\n{body}")
}
