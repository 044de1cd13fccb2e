use std::time::Duration;

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use rbee_api::ErrorBody;

use crate::{engine::Rejected, template::TemplateError};

/// A refusal, in OpenAI's envelope.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    // Boxed: every fallible function here returns one.
    body: Box<ErrorBody>,
    retry_after: Option<Duration>,
}

impl ApiError {
    fn new(status: StatusCode, kind: &str, code: &str, message: impl Into<String>) -> Self {
        let body = ErrorBody::new(status.as_u16(), kind, code, message);
        Self { status, body: Box::new(body), retry_after: None }
    }

    /// The request is at fault.
    pub(super) fn invalid(code: &str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", code, message)
    }

    /// A field's value is at fault.
    pub(super) fn param(param: &str, message: impl Into<String>) -> Self {
        Self::invalid("invalid_value", message).of(param)
    }

    /// The worker does not do what a field asks for.
    pub(super) fn unsupported(param: &str, message: impl Into<String>) -> Self {
        Self::invalid("unsupported_parameter", message).of(param)
    }

    pub(super) fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self.body.error.status = Some(status.as_u16());
        self
    }

    pub(super) fn of(mut self, param: &str) -> Self {
        self.body.error.param = Some(param.to_owned());
        self
    }

    /// The engine is at fault.
    pub(super) fn engine(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", "engine_failed", message)
    }

    pub(super) fn not_found(path: &str) -> Self {
        let message = format!("the worker has no `{path}`");
        Self::new(StatusCode::NOT_FOUND, "not_found_error", "unknown_path", message)
    }

    pub(super) fn no_job(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found_error", "job_not_found", message)
    }

    pub(super) fn method_not_allowed(method: &str, path: &str) -> Self {
        let message = format!("`{path}` does not take {method}");
        Self::invalid("method_not_allowed", message).with_status(StatusCode::METHOD_NOT_ALLOWED)
    }

    pub(super) fn into_body(self) -> ErrorBody {
        *self.body
    }

    /// Names the field that carries the prompt.
    pub(super) fn rejected(rejected: Rejected, prompt: &str) -> Self {
        let message = rejected.to_string();
        match rejected {
            Rejected::Full { retry_after, .. } => {
                let error = Self::new(
                    StatusCode::TOO_MANY_REQUESTS,
                    "rate_limit_error",
                    "queue_full",
                    format!("{message}: try again in {} s", retry_after.as_secs().max(1)),
                );
                Self { retry_after: Some(retry_after), ..error }
            }
            Rejected::Empty | Rejected::UnknownToken { .. } => Self::param(prompt, message),
            Rejected::TooLong { .. } => {
                Self::invalid("context_length_exceeded", message).of(prompt)
            }
            Rejected::Grammar => Self::param("response_format", message),
            Rejected::Stopped => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", "stopping", message)
            }
        }
    }
}

impl From<TemplateError> for ApiError {
    fn from(error: TemplateError) -> Self {
        Self::param("messages", error.to_string())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body)).into_response();
        if let Some(after) = self.retry_after {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
        }
        response
    }
}
