use std::{pin::Pin, time::Duration};

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use eventsource_stream::{Event, EventStreamError, Eventsource as _};
use futures::{Stream, StreamExt as _};
use http_guard::ApiError;
use job_server::JobWriter;
use rbee_api::{ErrorBody, ErrorCode, StreamEvent};
use serde_json::Value;
use tokio::time::{Instant, sleep_until, timeout};
use worker_service::Hold;

use super::Service;
use crate::upstream::said_error;

/// How long a failure before the first token is answered by a status of its own. After that the
/// stream begins without one, so that nobody on the way takes the worker for dead.
const HEADERS_WITHIN: Duration = Duration::from_secs(5);

const DONE: &str = "[DONE]";

/// An error within a stream has no status of its own.
const STATUS_WITHIN: u16 = 500;

/// One answer, whole; it holds the lease until it has been given.
pub(super) async fn whole(service: &Service, path: &str, body: Bytes, hold: Hold) -> Response {
    let asked = async {
        let response = service.upstream.ask(path, body).await?;
        let kind = response.headers().get(CONTENT_TYPE).cloned();
        let body = response.bytes().await.map_err(|error| service.upstream.lost(&error))?;
        Ok((kind, body))
    };
    let answered = tokio::select! {
        biased;
        why = service.broken() => Err(broken(why)),
        answered = asked => answered,
    };
    match answered {
        Ok((kind, body)) => {
            let kind = kind.unwrap_or(HeaderValue::from_static("application/json"));
            ([(CONTENT_TYPE, kind)], body).into_response()
        }
        Err(body) => {
            if is_loss(&body) {
                unanswered(service, hold).await;
            }
            refused(&body)
        }
    }
}

/// Whether the engine itself is at fault.
fn is_loss(body: &ErrorBody) -> bool {
    matches!(body.error.code, ErrorCode::UpstreamLost | ErrorCode::EngineFailed)
}

/// What the engine has lost before it has answered is left without an answer, if the engine is gone:
/// the connection ends with this process, and whoever asked may ask the next one.
async fn unanswered(service: &Service, hold: Hold) {
    if service.is_lost().await {
        drop(hold);
        std::future::pending::<()>().await;
    }
}

/// One answer, as a stream whose job holds the lease.
pub(super) async fn stream(
    service: Service,
    path: &str,
    headers: &HeaderMap,
    body: Bytes,
    hold: Hold,
) -> Result<Response, ApiError> {
    let (upstream, path) = (service.upstream.clone(), path.to_owned());
    let mut asked = Box::pin(async move { upstream.ask(&path, body).await });
    let first = tokio::select! {
        biased;
        why = service.broken() => Some(Err(broken(why))),
        first = timeout(HEADERS_WITHIN, &mut asked) => first.ok(),
    };
    if let Some(Err(body)) = first {
        if is_loss(&body) {
            unanswered(&service, hold).await;
        }
        return Ok(refused(&body));
    }
    let (job, response) = service.worker.begin(headers)?;
    tokio::spawn(async move {
        let answer = async {
            match first {
                Some(first) => first,
                None => asked.await,
            }
        };
        run(job, &service, answer, hold).await;
    });
    Ok(response)
}

/// From the engine's answer to the job's end.
async fn run(
    job: JobWriter,
    service: &Service,
    answer: impl Future<Output = Result<reqwest::Response, ErrorBody>>,
    hold: Hold,
) {
    let outcome = tokio::select! {
        biased;
        () = job.cancelled() => None,
        why = service.broken() => Some(Err(broken(why))),
        outcome = relay(&job, service, answer) => Some(outcome),
        why = hangs(service) => {
            service.break_down(why.clone());
            Some(Err(broken(why)))
        }
    };
    match outcome {
        Some(Ok(())) => {
            job.send(StreamEvent::Done);
            job.complete();
        }
        Some(Err(body)) => {
            if is_loss(&body) && !has_begun(service, &job) {
                unanswered(service, hold).await;
            }
            job.fail_with(body);
        }
        None => job.cancelled_end(),
    }
}

/// Whether a reader may have a part of the answer.
fn has_begun(service: &Service, job: &JobWriter) -> bool {
    service.worker.jobs().info(&job.id()).is_none_or(|info| info.last_event_id > 0)
}

/// The engine's events up to its `[DONE]`.
async fn relay(
    job: &JobWriter,
    service: &Service,
    answer: impl Future<Output = Result<reqwest::Response, ErrorBody>>,
) -> Result<(), ErrorBody> {
    let response = answer.await?;
    let mut events = Box::pin(response.bytes_stream().eventsource());
    while let Some(event) = next(job, &mut events).await {
        service.activity.send_replace(Instant::now());
        let event = event.map_err(|error| match error {
            EventStreamError::Transport(error) => service.upstream.lost(&error),
            other => {
                let message = format!("{} sent what is no stream: {other}", service.title);
                ErrorBody::new(ErrorCode::BadGateway, message)
            }
        })?;
        if event.data == DONE {
            return Ok(());
        }
        if let Some(body) = error_in(&event) {
            return Err(body);
        }
        job.emit(None, event.data);
    }
    let message = format!("{} broke off in the middle of its answer", service.title);
    Err(ErrorBody::new(ErrorCode::UpstreamLost, message))
}

/// The next one, once whoever reads the job has room for it.
async fn next<S: Stream>(job: &JobWriter, events: &mut Pin<Box<S>>) -> Option<S::Item> {
    job.room().await;
    events.next().await
}

/// Engines report what fails in the middle of an answer as one more event.
fn error_in(event: &Event) -> Option<ErrorBody> {
    let may_be = event.event == "error" || event.data.trim_start().starts_with("{\"error\"");
    if !may_be {
        return None;
    }
    let said = serde_json::from_str::<Value>(&event.data).ok()?;
    said_error(&said, STATUS_WITHIN)
}

/// Resolves when no request at all has got a token for too long.
///
/// That one request gets none means little: it waits for its turn.
async fn hangs(service: &Service) -> String {
    let mut activity = service.activity.subscribe();
    let begun = Instant::now();
    loop {
        let last = (*activity.borrow_and_update()).max(begun);
        tokio::select! {
            () = sleep_until(last + service.silence) => {
                return format!("{} has given no token for {} s", service.title, service.silence.as_secs());
            }
            changed = activity.changed() => if changed.is_err() {
                std::future::pending::<()>().await;
            },
        }
    }
}

fn broken(why: String) -> ErrorBody {
    ErrorBody::new(ErrorCode::EngineFailed, why)
}

fn refused(body: &ErrorBody) -> Response {
    let status = body.error.status.and_then(|status| StatusCode::from_u16(status).ok());
    let status = status.unwrap_or(StatusCode::BAD_GATEWAY);
    let text = serde_json::to_vec(body).unwrap_or_default();
    (status, [(CONTENT_TYPE, "application/json")], Body::from(text)).into_response()
}
