use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{KeepAlive, Part};

/// The answer to the hive's `GET /v1/models/store`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ModelList {
    pub models: Vec<Model>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Model {
    /// The name that requests use, such as `smollm2:135m`.
    pub name: String,
    /// Size of the file: on disk when it is here, of the download when it is not; 0 if unknown.
    pub size_bytes: u64,
    /// Whether the size is only known roughly: the hub has the exact one.
    #[serde(default)]
    pub is_approximate: bool,
    /// Memory that a hive wants free to load it; `None` where nobody has told.
    #[serde(default)]
    pub memory_bytes: Option<u64>,
    /// Whether the file is in the store.
    pub local: bool,
    pub path: Option<String>,
    /// SHA-256 in hex, where the catalogue pins it or the store has computed it.
    pub sha256: Option<String>,
    pub license: Option<String>,
    pub description: Option<String>,
    /// What it can be asked for; empty where its files do not tell, or are not here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub abilities: Vec<Ability>,
    /// How its makers say that tokens are to be chosen, where neither a request nor the configuration says
    /// so.
    #[serde(default, skip_serializing_if = "Sampling::is_empty")]
    pub sampling: Sampling,
}

/// What a model can be asked for, in Ollama's words as far as it has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ability {
    /// It goes on with a text.
    Completion,
    /// Its template shows tools and their calls.
    Tools,
    /// It thinks before it answers.
    Thinking,
    /// It says what lies between two texts.
    Insert,
    /// It makes a vector of a text.
    Embedding,
    /// It says how well one text answers another.
    Rerank,
}

/// How tokens are chosen; what is empty here is as the worker has it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Sampling {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_p: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeat_penalty: Option<f64>,
}

impl Sampling {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What is there, by its names.
    pub fn members(&self) -> impl Iterator<Item = (&'static str, f64)> {
        let Self { temperature, top_p, top_k, min_p, repeat_penalty } = *self;
        let all = [
            ("temperature", temperature),
            ("top_p", top_p),
            ("top_k", top_k.map(f64::from)),
            ("min_p", min_p),
            ("repeat_penalty", repeat_penalty),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value?)))
    }
}

/// The body of the hive's `POST /v1/models/pull`; the answer is an SSE stream of job events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PullRequest {
    pub model: String,
}

/// The answer to `DELETE /v1/models/store/{name}` of hive and queen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ModelRemoved {
    pub name: String,
    pub freed_bytes: u64,
}

/// The body of the hive's `POST /v1/models/load`; the answer is an SSE stream of job events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoadRequest {
    pub model: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_alive: Option<KeepAlive>,
    /// The hive's part of a model that several compute together. The answer comes when it is there; a
    /// head is when all others are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<Part>,
}

/// The body of `POST /v1/models/unload` of hive and queen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnloadRequest {
    pub model: String,
    /// Of a part of a model that several hives compute together: why it is of no use any more. Its
    /// requests end with that, and the answer comes when it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<String>,
}

/// The answer to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelUnloaded {
    /// In its one spelling.
    pub name: String,
    /// Whether it was loaded; its requests under way end first.
    pub was_loaded: bool,
}
