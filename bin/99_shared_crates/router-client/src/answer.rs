use axum::http::{HeaderMap, StatusCode};
use rbee_api::ErrorBody;
use serde_json::Value;

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
    /// Whether the body broke off.
    pub cut: bool,
}

impl Answer {
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Status and code of a refusal, after checking that its body says the same.
    #[track_caller]
    pub fn refusal(&self) -> (u16, String) {
        let body: ErrorBody =
            serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"));
        assert_eq!(body.error.status, Some(self.status.as_u16()), "{self:?}");
        (self.status.as_u16(), body.error.code.to_string())
    }
}
