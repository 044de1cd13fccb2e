use std::fmt;

use serde::{Deserialize, Serialize};

/// What a key is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyScope {
    /// Asking models by their names, and one's own jobs.
    Chat,
    /// Everything else too.
    Manage,
}

impl fmt::Display for KeyScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Chat => "chat",
            Self::Manage => "manage",
        })
    }
}

/// `POST /v1/keys`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRequest {
    /// 1 to 64 letters, digits, `.`, `_`, `-`, `@`.
    pub name: String,
    pub scope: KeyScope,
}

/// The only time that the key itself is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyCreated {
    pub name: String,
    pub key: String,
}

/// `GET /v1/keys`, the oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyList {
    pub keys: Vec<KeyInfo>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyInfo {
    pub name: String,
    pub scope: KeyScope,
    /// Seconds since 1970.
    pub created: u64,
}
