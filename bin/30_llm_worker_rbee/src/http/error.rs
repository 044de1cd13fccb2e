use http_guard::ApiError;
use rbee_api::ErrorCode;

use crate::{engine::Rejected, template::TemplateError};

/// A field's value is at fault.
pub(super) fn invalid_value(param: &str, message: impl Into<String>) -> ApiError {
    ApiError::new(ErrorCode::InvalidValue, message).param(param)
}

/// The worker does not do what a field asks for.
pub(super) fn unsupported(param: &str, message: impl Into<String>) -> ApiError {
    ApiError::new(ErrorCode::UnsupportedParameter, message).param(param)
}

/// What there is of an answer does not say how it goes on.
pub(super) fn not_continuable(message: impl Into<String>) -> ApiError {
    ApiError::new(ErrorCode::NotContinuable, message)
}

/// The engine is at fault.
pub(super) fn engine_failed(message: impl Into<String>) -> ApiError {
    ApiError::new(ErrorCode::EngineFailed, message)
}

/// The engine does not take the request; `prompt` is the field that carries the prompt.
pub(super) fn rejected(rejected: Rejected, prompt: &str) -> ApiError {
    let message = rejected.to_string();
    match rejected {
        Rejected::Full { retry_after, .. } => {
            let seconds = retry_after.as_secs().max(1);
            let message = format!("{message}: try again in {seconds} s");
            ApiError::new(ErrorCode::QueueFull, message).retry_after(retry_after)
        }
        Rejected::Empty | Rejected::UnknownToken { .. } => invalid_value(prompt, message),
        Rejected::TooLong { .. } | Rejected::TextTooLong { .. } | Rejected::TooManyBytes { .. } => {
            ApiError::new(ErrorCode::ContextLengthExceeded, message).param(prompt)
        }
        Rejected::Form { .. } => invalid_value("grammar", message),
        Rejected::Unfit => not_continuable(message),
        Rejected::Stopped => ApiError::new(ErrorCode::Stopping, message),
    }
}

impl From<TemplateError> for ApiError {
    fn from(error: TemplateError) -> Self {
        invalid_value("messages", error.to_string())
    }
}
