use std::time::Duration;

use axum::{
    http::{HeaderName, HeaderValue, header},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use futures::StreamExt as _;
use http_guard::{ApiError, say_ignored};
use job_server::{
    Error, Event, JobId, JobServer, JobState, Subscription,
    sse::{SseOptions, sse_response},
};
use rbee_api::{ErrorBody, ErrorCode, HEADER_JOB, event};

/// What the client asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A stream with ids, narration and progress between the chunks.
    Events,
    /// OpenAI's stream to the letter.
    OpenAiStream,
    /// One JSON body.
    Json,
}

/// How the answer to a client begins who asked for no events beside it.
#[derive(Debug)]
pub struct Begun {
    pub answer: Beginning,
    /// Which members of the request had no effect, if any.
    pub ignored: Option<HeaderValue>,
}

/// What an answer begins with.
#[derive(Debug)]
pub enum Beginning {
    /// With the first chunk, which the subscription begins with.
    Stream(Subscription),
    /// It is one body.
    Whole(Bytes),
}

/// Answers with the job's events, in the form that the client asked for.
///
/// With [`Form::Events`] the response begins at once and errors are events. Otherwise it begins
/// with the first chunk, so that an error before it has its own HTTP status. The client's going
/// away cancels the job.
pub async fn respond(jobs: &JobServer, id: JobId, form: Form) -> Response {
    let response = match form {
        Form::Events => jobs.subscribe(&id, None).map_err(ApiError::from).map(|subscription| {
            // A client that asked for ids can go on from the last one; any other has lost its stream.
            let absence = jobs.limits().absence;
            sse_response(subscription.cancel_on_drop(absence), SseOptions::named())
        }),
        Form::OpenAiStream | Form::Json => begun(jobs, id).await.map(|begun| {
            let response = match begun.answer {
                Beginning::Stream(subscription) => sse_response(subscription, SseOptions::openai()),
                Beginning::Whole(body) => {
                    let json = HeaderValue::from_static("application/json");
                    ([(header::CONTENT_TYPE, json)], body).into_response()
                }
            };
            match begun.ignored {
                Some(list) => say_ignored(&list, response),
                None => response,
            }
        }),
    };
    of_job(id, response.unwrap_or_else(ApiError::into_response))
}

/// Names the job behind a response.
pub fn of_job(id: JobId, mut response: Response) -> Response {
    if let Ok(value) = HeaderValue::from_str(&id.to_string()) {
        response.headers_mut().insert(HeaderName::from_static(HEADER_JOB), value);
    }
    response
}

/// Waits for the beginning of the job's answer. Dropping what is returned cancels the job.
///
/// # Errors
///
/// The job's, if it comes before the first chunk; and that it was ended without an answer.
pub async fn begun(jobs: &JobServer, id: JobId) -> Result<Begun, ApiError> {
    let subscribe = || Ok::<_, Error>(jobs.subscribe(&id, None)?.cancel_on_drop(Duration::ZERO));
    let mut events: Subscription = subscribe()?;
    let mut ignored = None;
    while let Some(event) = events.next().await {
        let event: Event = event?;
        match event.name {
            // From the start again, while this one still stands for the client.
            None => return Ok(Begun { answer: Beginning::Stream(subscribe()?), ignored }),
            Some(event::ERROR) => return Err(refusal(&event.data)),
            Some(event::RESULT) => {
                return Ok(Begun { answer: Beginning::Whole(event.data), ignored });
            }
            Some(event::IGNORED) => ignored = list(&event.data),
            Some(_) => {}
        }
    }
    // A job that was cancelled, or goes on elsewhere, ends without a word.
    let (code, message) = match events.state() {
        JobState::Moved => (ErrorCode::Replaced, "the server was replaced; send the request again"),
        _ => (ErrorCode::Cancelled, "the job was cancelled before it had an answer"),
    };
    Err(ApiError::new(code, message))
}

fn list(data: &[u8]) -> Option<HeaderValue> {
    HeaderValue::try_from(serde_json::from_slice::<String>(data).ok()?).ok()
}

fn refusal(data: &[u8]) -> ApiError {
    serde_json::from_slice::<ErrorBody>(data).map_or_else(ApiError::internal, ApiError::from)
}
