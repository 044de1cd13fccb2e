use std::{error::Error as StdError, time::Duration};

use axum::http::StatusCode;
use http_guard::ApiError;
use job_server::{Error, JobWriter};
use rbee_api::{EVENT_ERROR, EVENT_RESULT, ErrorBody};
use serde::Serialize;

/// What a client is told to wait when every job that there is room for is running.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The client's view of a job that is not to be had.
pub fn job_refusal(error: &Error) -> ApiError {
    let message = error.to_string();
    match error {
        Error::Full { .. } => ApiError::busy("too_many_jobs", message, RETRY_AFTER),
        Error::Unknown { .. } => ApiError::not_found("job_not_found", message),
        Error::AlreadyEnded { .. } => ApiError::conflict("job_ended", message),
        Error::Present { .. } => ApiError::conflict("job_present", message),
        Error::Ahead { .. } => ApiError::invalid("invalid_last_event_id", message),
        Error::Gone { .. } => ApiError::new(StatusCode::GONE, "events_gone", message),
    }
}

/// An error of the next level, with the status that it names.
pub fn passed_on(body: ErrorBody) -> ApiError {
    let status = body.error.status.and_then(|status| StatusCode::from_u16(status).ok());
    ApiError::from_body(status.unwrap_or(StatusCode::BAD_GATEWAY), body)
}

/// Ends a job with its result, or with what kept it from having one.
pub fn finish<T: Serialize>(job: JobWriter, outcome: Result<T, ErrorBody>) {
    let data =
        outcome.and_then(|result| serde_json::to_vec(&result).map_err(|error| internal(&error)));
    match data {
        Ok(data) => {
            job.emit(Some(EVENT_RESULT), data);
            job.complete();
        }
        Err(body) => fail(job, &body),
    }
}

/// Ends a job with an error, as an event and as its state.
pub fn fail(job: JobWriter, body: &ErrorBody) {
    let data = serde_json::to_vec(body).expect("an error body holds only strings and numbers");
    job.emit(Some(EVENT_ERROR), data);
    job.fail(body.error.message.clone());
}

/// What the client is told of an error that it cannot help, with its causes on one line.
pub fn internal(error: &dyn StdError) -> ErrorBody {
    ErrorBody::new(500, "server_error", "internal", causes(error))
}

/// An error with its causes, on one line.
pub fn causes(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
