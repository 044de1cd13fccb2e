//! Streams as jobs: their events are kept until they have ended, so that a hive that takes another's
//! place goes on reading where that one stopped.

use std::time::Duration;

use axum::{
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode},
    response::Response,
};
use http_guard::{ApiError, ApiPath};
use job_server::{
    JobId, JobServer, Limits,
    sse::{SseOptions, last_event_id, sse_response},
};
use rbee_api::{HEADER_EVENTS, HEADER_JOB};

use super::Service;

/// How long a stream waits for a reader who asked for ids to come back before it is cancelled.
const RECONNECT_GRACE: Duration = Duration::from_secs(15);

/// A hive that reads keeps up; what has ended is only of use to one that was just being replaced.
const LIMITS: Limits = Limits {
    max_jobs: 1024,
    retain: Duration::from_secs(30),
    event_bytes_per_job: 4 << 20,
    event_bytes_of_ended_jobs: 1 << 20,
};

pub(super) fn server() -> JobServer {
    JobServer::new(LIMITS)
}

/// The events of a stream that has just begun: with ids and an end for whoever asked for them, else
/// OpenAI's to the letter. The reader's going away cancels it.
pub(super) fn respond(
    service: &Service,
    id: JobId,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let events = headers.get(HEADER_EVENTS).is_some_and(|value| value.as_bytes() == b"1");
    let (grace, options) = match events {
        true => (RECONNECT_GRACE, SseOptions::named()),
        false => (Duration::ZERO, SseOptions::openai()),
    };
    let subscription = service.jobs.subscribe(&id, None)?.cancel_on_drop(grace);
    let mut response = sse_response(subscription, options);
    if let Ok(value) = HeaderValue::from_str(&id.to_string()) {
        response.headers_mut().insert(HeaderName::from_static(HEADER_JOB), value);
    }
    Ok(response)
}

/// The stream's events, from the one after `Last-Event-ID`.
pub(super) async fn stream(
    State(service): State<Service>,
    ApiPath(id): ApiPath<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let subscription = service.jobs.subscribe(&id.parse()?, last_event_id(&headers)?)?;
    Ok(sse_response(subscription, SseOptions::named()))
}

pub(super) async fn cancel(
    State(service): State<Service>,
    ApiPath(id): ApiPath<String>,
) -> Result<StatusCode, ApiError> {
    service.jobs.cancel(&id.parse()?)?;
    Ok(StatusCode::NO_CONTENT)
}
