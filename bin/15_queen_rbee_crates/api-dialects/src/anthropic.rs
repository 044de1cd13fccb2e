//! Anthropic's messages: `/v1/messages` and `/v1/messages/count_tokens`.

mod request; // from a body of Anthropic's
mod messages; // its messages
mod answer; // to an answer of Anthropic's
mod count; // its tokens alone
mod models; // what there is

use rbee_api::{ErrorBody, ErrorCode};
use serde::Serialize;

pub use crate::anthropic::{
    answer::Messages,
    count::{Count, translate as translate_count},
    models::{Models, models}, // (names) -> Models
    request::translate,
};
use crate::fields::refusal;

/// Names the version of the API that a client was made for.
pub const VERSION_HEADER: &str = "anthropic-version";

/// The first version whose streams are as they are now, by its date. Later ones have taken members of
/// requests away and added others.
const FIRST_VERSION: &str = "2023-06-01";

/// Refuses a version that is not spoken; a client that names none takes what comes.
///
/// # Errors
///
/// The refusal.
pub fn require_version(named: Option<&[u8]>) -> Result<(), ErrorBody> {
    if named.is_none_or(|named| is_date(named) && named >= FIRST_VERSION.as_bytes()) {
        return Ok(());
    }
    let message = format!("`{VERSION_HEADER}` can be a date from {FIRST_VERSION} on");
    Err(refusal(ErrorCode::InvalidValue, VERSION_HEADER, message))
}

/// Whether that is a date as `2023-06-01` is, so that later ones are greater.
fn is_date(text: &[u8]) -> bool {
    let is_like = |(byte, like): (&u8, &u8)| match like {
        b'-' => byte == like,
        _ => byte.is_ascii_digit(),
    };
    text.len() == FIRST_VERSION.len() && text.iter().zip(FIRST_VERSION.as_bytes()).all(is_like)
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
    fn an_older_version_is_refused_by_the_header_s_name() {
        for spoken in [None, Some("2023-06-01"), Some("2026-10-21")] {
            require_version(spoken.map(str::as_bytes)).unwrap();
        }
        for other in ["2023-01-01", "", "2026", "latest", "2026-10-21T", "9999999999"] {
            let error = require_version(Some(other.as_bytes())).unwrap_err().error;
            assert_eq!(error.param.as_deref(), Some(VERSION_HEADER), "{other}");
        }
    }
}
