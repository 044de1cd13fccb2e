use serde::{Deserialize, Serialize};

/// OpenAI's error envelope, used by every endpoint of every process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    pub error: ErrorDetail,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorDetail {
    /// What failed, on what, and what to do: one sentence or two, for a person.
    pub message: String,
    /// OpenAI's coarse class: `invalid_request_error`, `not_found_error`, `server_error`, ...
    #[serde(rename = "type")]
    pub kind: String,
    /// A stable name to match on, such as `model_not_found`.
    pub code: String,
    /// The request field at fault.
    #[serde(default)]
    pub param: Option<String>,
    /// The HTTP status that the error has, or would have had if the response had not begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
}

impl ErrorBody {
    pub fn new(
        status: u16,
        kind: impl Into<String>,
        code: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        let (kind, code, message) = (kind.into(), code.into(), message.into());
        Self { error: ErrorDetail { message, kind, code, param: None, status: Some(status) } }
    }
}
