use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a key is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
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

/// Which models a request may name, and so have looked for and loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelReach {
    /// Those in a store, and the one that the configuration has for requests that name none.
    Stored,
    /// Those of the catalogue too, which says where they are to be had; they are downloaded when they
    /// are asked for.
    Catalogue,
    /// Whatever a name can lead to: files of the host, URLs, repositories.
    Any,
}

impl ModelReach {
    /// As [`crate::HEADER_MODELS`] has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Catalogue => "catalogue",
            Self::Any => "any",
        }
    }

    /// What is not understood reaches least.
    pub fn read(text: &[u8]) -> Self {
        let known = [Self::Any, Self::Catalogue].into_iter();
        known.into_iter().find(|reach| reach.as_str().as_bytes() == text).unwrap_or(Self::Stored)
    }
}

/// `POST /v1/keys`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyRequest {
    /// 1 to 64 letters, digits, `.`, `_`, `-`, `@`.
    pub name: String,
    pub scope: KeyScope,
}

/// The only time that the key itself is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyCreated {
    pub name: String,
    pub key: String,
}

/// `GET /v1/keys`, the oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyList {
    pub keys: Vec<KeyInfo>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyInfo {
    pub name: String,
    pub scope: KeyScope,
    /// Seconds since 1970.
    pub created: u64,
}
