use std::{borrow::Cow, error::Error as StdError, fmt, time::Duration};

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use rbee_api::{ErrorBody, ErrorDetail};

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

impl ApiError {
    /// The class that clients of OpenAI match on follows from `status`; `code` is a stable name.
    pub fn new(
        status: StatusCode,
        code: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Self {
        let code = code.into().into_owned();
        let body = ErrorBody::new(status.as_u16(), kind(status), code, message);
        Self { status, detail: Box::new(body.error), retry_after: None }
    }

    /// Passes on what another process answered.
    pub fn from_body(status: StatusCode, body: ErrorBody) -> Self {
        let detail = ErrorDetail { status: Some(status.as_u16()), ..body.error };
        Self { status, detail: Box::new(detail), retry_after: None }
    }

    /// 400: the request cannot be meant as it is.
    pub fn invalid(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// 404.
    pub fn not_found(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    /// 409: what is asked for does not fit the state that things are in.
    pub fn conflict(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, message)
    }

    /// 429: there is too much to do; `retry_after` is rounded up to whole seconds.
    pub fn busy(
        code: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
        retry_after: Duration,
    ) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, code, message).retry_after(retry_after)
    }

    /// 503: it cannot be done now; `retry_after` is rounded up to whole seconds.
    pub fn unavailable(
        code: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
        retry_after: Duration,
    ) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, message).retry_after(retry_after)
    }

    /// 500: logs `error` with its causes and tells the client a reference to that entry.
    pub fn internal(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        let error = error.into();
        let reference = reference();
        tracing::error!(reference, error = chain(error.as_ref()), "a request failed");
        let message = format!("something failed in here; the log has it under `{reference}`");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", message)
    }

    /// Names the request field at fault.
    #[must_use]
    pub fn param(mut self, param: impl Into<String>) -> Self {
        self.detail.param = Some(param.into());
        self
    }

    #[must_use]
    pub fn retry_after(mut self, retry_after: Duration) -> Self {
        self.retry_after = Some(retry_after);
        self
    }

    pub fn status(&self) -> StatusCode {
        self.status
    }

    pub fn code(&self) -> &str {
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

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(ErrorBody { error: *self.detail })).into_response();
        let headers = response.headers_mut();
        if let Some(after) = self.retry_after {
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

fn kind(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => "authentication_error",
        StatusCode::FORBIDDEN | StatusCode::MISDIRECTED_REQUEST => "permission_error",
        StatusCode::NOT_FOUND => "not_found_error",
        StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
        status if status.is_client_error() => "invalid_request_error",
        _ => "server_error",
    }
}

fn chain(error: &(dyn StdError + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
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
