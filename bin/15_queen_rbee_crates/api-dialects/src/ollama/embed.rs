use std::time::Instant;

use rbee_api::{ErrorBody, KeepAlive};
use serde::{Deserialize, Serialize};
use serde_json::Number;

use super::request::keep_alive;
use crate::{
    answer::{OneBody, Translated, Unreadable, read_as, write},
    completion::Usage,
    fields::{Fields, Raw, invalid, missing},
    request::Endpoint,
};

/// Vectors of texts.
#[derive(Debug)]
pub struct Embeddings {
    model: String,
    asked: Instant,
    /// Whether the answer is of the older route, which has one vector.
    one: bool,
}

#[derive(Debug, Serialize)]
struct Request<'a> {
    model: &'a str,
    input: Raw,
    encoding_format: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    dimensions: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    keep_alive: Option<KeepAlive>,
}

#[derive(Debug, Deserialize)]
struct Made {
    data: Vec<Vector>,
    usage: Option<Usage>,
}

#[derive(Debug, Deserialize)]
struct Vector {
    embedding: Raw,
}

#[derive(Debug, Serialize)]
struct Several<'a> {
    model: &'a str,
    embeddings: Vec<Raw>,
    total_duration: u64,
    load_duration: u64,
    prompt_eval_count: u64,
}

#[derive(Debug, Serialize)]
struct One {
    embedding: Option<Raw>,
}

/// A request of `/api/embed`.
///
/// # Errors
///
/// What is missing, not as it should be, or not supported; by name.
pub fn translate(body: &[u8]) -> Result<Translated<Embeddings>, ErrorBody> {
    let mut fields = Fields::parse(body)?;
    let input = fields.raw("input").ok_or_else(|| missing("input"))?;
    if !input.get().starts_with(['"', '[']) {
        return Err(invalid("input", "`input` must be a string or an array of strings"));
    }
    let dimensions = fields.take("dimensions")?;
    finish(fields, input, dimensions, false)
}

/// A request of the older `/api/embeddings`.
///
/// # Errors
///
/// As [`translate`].
pub fn translate_older(body: &[u8]) -> Result<Translated<Embeddings>, ErrorBody> {
    let mut fields = Fields::parse(body)?;
    let input = fields.raw("prompt").ok_or_else(|| missing("prompt"))?;
    if !input.get().starts_with('"') {
        return Err(invalid("prompt", "`prompt` must be a string"));
    }
    finish(fields, input, None, true)
}

fn finish(
    mut fields: Fields,
    input: Raw,
    dimensions: Option<Number>,
    one: bool,
) -> Result<Translated<Embeddings>, ErrorBody> {
    let model: String = fields.require("model")?;
    let keep_alive = keep_alive(&mut fields)?;
    let request =
        Request { model: &model, input, encoding_format: "float", dimensions, keep_alive };
    Ok(Translated {
        endpoint: Endpoint::Embeddings,
        body: write(&request).into_bytes(),
        answer: Embeddings { model, asked: Instant::now(), one },
        ignored: fields.rest(),
    })
}

impl OneBody for Embeddings {
    fn body(&mut self, body: &[u8]) -> Result<Vec<u8>, Unreadable> {
        let Made { data, usage } = read_as(body)?;
        let mut embeddings: Vec<Raw> = data.into_iter().map(|vector| vector.embedding).collect();
        if self.one {
            return Ok(write(&One { embedding: embeddings.pop() }).into_bytes());
        }
        let several = Several {
            model: &self.model,
            embeddings,
            total_duration: self.asked.elapsed().as_nanos() as u64,
            // A worker does not say what of it that was.
            load_duration: 0,
            prompt_eval_count: usage.unwrap_or_default().prompt_tokens,
        };
        Ok(write(&several).into_bytes())
    }
}
