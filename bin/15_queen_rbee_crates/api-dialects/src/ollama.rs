//! Ollama's API: `/api/chat`, `/api/generate`, `/api/embed`, and what it tells of models.

mod request; // what chat and generate have in common
mod chat; // messages
mod generate; // prompts
mod answer; // lines of JSON, or one
mod embed; // vectors
mod models; // what there is, what is loaded, what is fetched

use rbee_api::ErrorBody;
use serde::Serialize;

pub use crate::ollama::{
    answer::Lines,
    chat::translate as translate_chat,
    embed::{Embeddings, translate as translate_embed, translate_older as translate_embeddings},
    generate::translate as translate_generate,
    models::{Copy, Named, Pull, Pulled, Show, Unload, running, show, tags},
};

/// What lines of JSON are called.
pub const LINES: &str = "application/x-ndjson";

/// The version of Ollama whose API this is; clients refuse what is too old.
#[derive(Debug, Serialize)]
pub struct Version {
    version: &'static str,
}

pub const VERSION: Version = Version { version: "0.12.0" };

/// The error as Ollama tells one.
#[derive(Debug, Serialize)]
pub struct Refused<'a> {
    error: &'a str,
}

pub fn error(body: &ErrorBody) -> Refused<'_> {
    Refused { error: &body.error.message }
}
