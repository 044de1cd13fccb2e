use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ErrorCode;

/// OpenAI's error envelope, used by every endpoint of every process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    pub error: ErrorDetail,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorDetail {
    /// What failed, on what, and what to do: one sentence or two, for a person.
    pub message: String,
    /// OpenAI's coarse class: `invalid_request_error`, `not_found_error`, `server_error`, ...
    #[serde(rename = "type")]
    pub kind: String,
    /// What to match on.
    #[schema(value_type = String)]
    pub code: ErrorCode,
    /// The request field at fault.
    #[serde(default)]
    pub param: Option<String>,
    /// The HTTP status that the error has, or would have had if the response had not begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
}

impl ErrorBody {
    /// Status and class follow from the code.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        let (kind, status) = (code.kind().to_owned(), Some(code.status()));
        Self { error: ErrorDetail { message: message.into(), kind, code, param: None, status } }
    }
}
