use std::{error::Error as StdError, fmt, time::Duration};

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use rbee_api::{ErrorBody, ErrorCode, ErrorDetail, causes};

/// A refusal or failure, as the client is told of it.
///
/// Its message is for the client: causes that are not belong into [`ApiError::internal`], which
/// logs them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    status: StatusCode,
    // Boxed, so that a `Result` with it stays small.
    detail: Box<ErrorDetail>,
    retry_after: Option<Duration>,
}

/// When to try again what is refused because others are in front, where nobody knows better.
const BUSY: Duration = Duration::from_secs(1);

impl ApiError {
    /// Status and class follow from `code`.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self::from(ErrorBody::new(code, message))
    }

    /// 500: logs `error` with its causes and tells the client a reference to that entry.
    pub fn internal(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        let error = error.into();
        let reference = reference();
        tracing::error!(reference, error = causes(error.as_ref()), "a request failed");
        let message = format!("something failed in here; the log has it under `{reference}`");
        Self::new(ErrorCode::Internal, message)
    }

    /// Names the request field at fault.
    #[must_use]
    pub fn param(mut self, param: impl Into<String>) -> Self {
        self.detail.param = Some(param.into());
        self
    }

    /// Says when to try again; rounded up to whole seconds.
    #[must_use]
    pub fn retry_after(mut self, retry_after: Duration) -> Self {
        self.retry_after = Some(retry_after);
        self
    }

    pub fn status(&self) -> StatusCode {
        self.status
    }

    pub fn code(&self) -> &ErrorCode {
        &self.detail.code
    }

    pub fn message(&self) -> &str {
        &self.detail.message
    }

    /// The body alone, for an error that comes after the response has begun.
    pub fn body(&self) -> ErrorBody {
        ErrorBody { error: (*self.detail).clone() }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail.message)
    }
}

impl StdError for ApiError {}

impl From<ErrorBody> for ApiError {
    /// Passes on what another process answered, with the status that it names.
    fn from(ErrorBody { error: mut detail }: ErrorBody) -> Self {
        let status = detail.status.unwrap_or_else(|| detail.code.status());
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
        detail.status = Some(status.as_u16());
        Self { status, detail: Box::new(detail), retry_after: None }
    }
}

impl From<ApiError> for ErrorBody {
    fn from(error: ApiError) -> Self {
        Self { error: *error.detail }
    }
}

impl IntoResponse for ApiError {
    /// The body is among the response's extensions too, for a layer that tells it in another shape.
    fn into_response(self) -> Response {
        let body = ErrorBody { error: *self.detail };
        let mut response = (self.status, Json(&body)).into_response();
        response.extensions_mut().insert(body);
        let headers = response.headers_mut();
        let busy = (self.status == StatusCode::TOO_MANY_REQUESTS).then_some(BUSY);
        if let Some(after) = self.retry_after.or(busy) {
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// A word that is in the log once.
fn reference() -> String {
    let mut random = [0; 4];
    match getrandom::fill(&mut random) {
        Ok(()) => format!("{:08x}", u32::from_ne_bytes(random)),
        // The entry is found by its time then.
        Err(_) => "unnumbered".to_owned(),
    }
}
