//! Anthropic's messages: `POST /v1/messages`.

mod request; // from a body of Anthropic's
mod messages; // its messages
mod answer; // to an answer of Anthropic's
mod models; // what there is

use rbee_api::{ErrorBody, ErrorCode};
use serde::Serialize;

pub use crate::anthropic::{
    answer::Messages,
    models::{Models, models}, // (names) -> Models
    request::translate,
};
use crate::fields::refusal;

/// Names the version of the API that a client was made for.
pub const VERSION_HEADER: &str = "anthropic-version";

/// The only version that there is now, by its date.
const VERSION: &str = "2023-06-01";

/// Refuses a version that is not spoken; a client that names none takes the one that is.
///
/// # Errors
///
/// The refusal.
pub fn require_version(named: Option<&[u8]>) -> Result<(), ErrorBody> {
    match named {
        Some(named) if named != VERSION.as_bytes() => {
            let message =
                format!("`{VERSION_HEADER}` can be {VERSION}; that is what is spoken here");
            Err(refusal(ErrorCode::InvalidValue, VERSION_HEADER, message))
        }
        _ => Ok(()),
    }
}

#[derive(Debug, Serialize)]
struct Refused<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    error: Refusal<'a>,
}

#[derive(Debug, Serialize)]
struct Refusal<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    message: &'a str,
}

/// The error as Anthropic tells one, with the class that follows from its status.
pub fn error(body: &ErrorBody) -> impl Serialize + '_ {
    let status = body.error.status.unwrap_or_else(|| body.error.code.status());
    let kind = match status {
        401 => "authentication_error",
        403 | 421 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        400..500 => "invalid_request_error",
        504 => "timeout_error",
        _ => "api_error",
    };
    Refused { kind: "error", error: Refusal { kind, message: &body.error.message } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_class_of_anthropic_s() {
        for code in ErrorCode::ALL {
            let told = serde_json::to_value(error(&ErrorBody::new(code.clone(), "no"))).unwrap();
            assert_eq!((&told["type"], &told["error"]["message"]), (&"error".into(), &"no".into()));
            let kind = told["error"]["type"].as_str().unwrap();
            assert_eq!(kind == "api_error", code.status() >= 500, "{code}: {kind}");
        }
    }

    #[test]
    fn another_version_is_refused_by_the_header_s_name() {
        require_version(None).unwrap();
        require_version(Some(b"2023-06-01")).unwrap();
        let error = require_version(Some(b"2023-01-01")).unwrap_err().error;
        assert_eq!(error.param.as_deref(), Some(VERSION_HEADER));
    }
}
