use std::{fmt, str::FromStr};

use http_guard::ApiError;
use rbee_api::ErrorCode;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The name of a job: unique across servers, and later jobs sort behind earlier ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct JobId(Uuid);

impl JobId {
    /// A new name; it cannot be guessed from others.
    pub fn generate() -> Self {
        Self(Uuid::now_v7())
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

impl FromStr for JobId {
    type Err = ParseJobIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self).map_err(|source| ParseJobIdError { text: text.to_owned(), source })
    }
}

impl TryFrom<String> for JobId {
    type Error = ParseJobIdError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<JobId> for String {
    fn from(id: JobId) -> Self {
        id.to_string()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not the id of a job")]
pub struct ParseJobIdError {
    text: String,
    source: uuid::Error,
}

impl From<ParseJobIdError> for ApiError {
    fn from(error: ParseJobIdError) -> Self {
        Self::new(ErrorCode::JobNotFound, format!("there is no such job: {error}"))
    }
}
