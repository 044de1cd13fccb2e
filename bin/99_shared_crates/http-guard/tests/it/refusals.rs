use std::{
    io,
    sync::{Arc, Mutex},
};

use axum::http::StatusCode;
use http_guard::ApiError;
use rbee_api::{ErrorBody, ErrorCode};

use crate::server::Server;

#[tokio::test]
async fn unknown_paths_and_wrong_methods_have_the_envelope() {
    let server = Server::start().await;
    assert_eq!(server.get("/nowhere", &[]).await.refusal(), (404, "unknown_path".into()));
    let wrong = server.get("/order", &[]).await;
    assert_eq!(wrong.refusal(), (405, "method_not_allowed".into()));
    assert_eq!(wrong.header("allow"), Some("post"));
}

#[tokio::test]
async fn parameters_that_do_not_parse_have_the_envelope() {
    let server = Server::start().await;
    assert_eq!(server.get("/number/7", &[]).await.body, "7");
    assert_eq!(server.get("/number/x", &[]).await.refusal(), (404, "unknown_path".into()));
    assert_eq!(server.get("/page?limit=7", &[]).await.body, "7");
    assert_eq!(server.get("/page?limit=x", &[]).await.refusal(), (400, "invalid_query".into()));
    assert_eq!(server.get("/page", &[]).await.refusal(), (400, "invalid_query".into()));
}

#[tokio::test]
async fn responses_are_neither_sniffed_nor_kept() {
    let server = Server::start().await;
    let origin = ["origin: null"];
    for answer in [
        server.get("/health", &[]).await,
        server.get("/nowhere", &[]).await,
        server.get("/health", &origin).await,
    ] {
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{answer:?}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{answer:?}");
    }
    let cached = server.get("/cached", &[]).await;
    assert_eq!(cached.header("cache-control"), Some("max-age=60"), "{cached:?}");
}

#[tokio::test]
async fn what_cannot_be_done_now_says_when_to_try_again() {
    let server = Server::start().await;
    let answer = server.get("/busy", &[]).await;
    assert_eq!(answer.refusal(), (503, "hive_unavailable".into()));
    assert_eq!(answer.header("retry-after"), Some("2"));
}

#[tokio::test]
async fn an_internal_error_is_in_the_log_and_only_its_reference_in_the_answer() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(log.clone()).finish();
    let logging = tracing::subscriber::set_default(subscriber);
    let server = Server::start().await;
    let answer = server.get("/broken", &[]).await;
    drop(logging);
    assert_eq!(answer.refusal(), (500, "internal_error".into()));
    assert!(!answer.body.contains("1234"), "{answer:?}");
    let reference = answer.body.split('`').nth(1).unwrap();
    let log = log.text();
    assert!(log.contains("password 1234") && log.contains(reference), "{log}");
}

#[test]
fn classes_follow_from_the_status() {
    let kind = |code: ErrorCode| ApiError::new(code, "m").body().error.kind;
    assert_eq!(kind(ErrorCode::InvalidJson), "invalid_request_error");
    assert_eq!(kind(ErrorCode::TokenMissing), "authentication_error");
    assert_eq!(kind(ErrorCode::OriginNotAllowed), "permission_error");
    assert_eq!(kind(ErrorCode::UnknownPath), "not_found_error");
    assert_eq!(kind(ErrorCode::QueueFull), "rate_limit_error");
    assert_eq!(kind(ErrorCode::HiveUnavailable), "server_error");
}

#[test]
fn every_code_has_the_status_that_its_body_names() {
    for code in ErrorCode::ALL {
        let error = ApiError::new(code.clone(), "m");
        assert_eq!(error.body().error.status, Some(error.status().as_u16()), "{code}");
        assert_eq!(error.status().as_u16(), code.status(), "{code}");
    }
}

#[test]
fn an_error_of_another_process_is_passed_on_with_its_own_words() {
    let original = ApiError::new(ErrorCode::QueueFull, "too many").param("model");
    let passed = ApiError::from(original.body());
    assert_eq!(passed.body(), original.body());
    assert_eq!((passed.code().as_str(), passed.to_string()), ("queue_full", "too many".to_owned()));
}

#[test]
fn an_error_of_a_stranger_keeps_its_code_and_its_status() {
    let body = r#"{"error":{"message":"m","type":"BadRequestError","param":null,"code":400,"status":400}}"#;
    let passed = ApiError::from(serde_json::from_str::<ErrorBody>(body).unwrap());
    assert_eq!((passed.status(), passed.code().as_str()), (StatusCode::BAD_REQUEST, "400"));
    assert_eq!(passed.body().error.kind, "BadRequestError");
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> tracing_subscriber::fmt::MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
