use std::time::Duration;

use axum::{
    http::{HeaderName, HeaderValue, header},
    response::{IntoResponse as _, Response},
};
use futures::StreamExt as _;
use http_guard::ApiError;
use job_server::{
    Event, JobId, JobServer, JobState, Subscription,
    sse::{SseOptions, sse_response},
};
use rbee_api::{ErrorBody, ErrorCode, HEADER_JOB, event};

/// How long a job waits for its client to come back before it is cancelled. A client that asked
/// for ids can go on from the last one; any other has lost its stream for good.
pub(crate) const RECONNECT_GRACE: Duration = Duration::from_secs(15);

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

/// Answers with the job's events, in the form that the client asked for.
///
/// With [`Form::Events`] the response begins at once and errors are events. Otherwise it begins
/// with the first chunk, so that an error before it has its own HTTP status. The client's going
/// away cancels the job.
pub async fn respond(jobs: &JobServer, id: JobId, form: Form) -> Response {
    let mut response = match answer(jobs, id, form).await {
        Ok(response) => response,
        Err(error) => ApiError::from(error).into_response(),
    };
    if let Ok(value) = HeaderValue::from_str(&id.to_string()) {
        response.headers_mut().insert(HeaderName::from_static(HEADER_JOB), value);
    }
    response
}

async fn answer(jobs: &JobServer, id: JobId, form: Form) -> Result<Response, job_server::Error> {
    let subscribe = |grace| Ok(jobs.subscribe(&id, None)?.cancel_on_drop(grace));
    if form == Form::Events {
        return Ok(sse_response(subscribe(RECONNECT_GRACE)?, SseOptions::named()));
    }
    let mut events: Subscription = subscribe(Duration::ZERO)?;
    while let Some(event) = events.next().await {
        let event: Event = event?;
        match event.name {
            None => {
                // From the start again, while this one still stands for the client.
                return Ok(sse_response(subscribe(Duration::ZERO)?, SseOptions::openai()));
            }
            Some(event::ERROR) => return Ok(refusal(&event.data)),
            Some(event::RESULT) => {
                let json = HeaderValue::from_static("application/json");
                return Ok(([(header::CONTENT_TYPE, json)], event.data).into_response());
            }
            Some(_) => {}
        }
    }
    // A job that was cancelled, or goes on elsewhere, ends without a word.
    let (code, message) = match events.state() {
        JobState::Moved => (ErrorCode::Replaced, "the server was replaced; send the request again"),
        _ => (ErrorCode::Cancelled, "the job was cancelled before it had an answer"),
    };
    Ok(ApiError::new(code, message).into_response())
}

fn refusal(data: &[u8]) -> Response {
    match serde_json::from_slice::<ErrorBody>(data) {
        Ok(body) => ApiError::from(body).into_response(),
        Err(error) => ApiError::internal(error).into_response(),
    }
}
