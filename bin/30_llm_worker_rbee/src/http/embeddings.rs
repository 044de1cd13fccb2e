//! `POST /v1/embeddings`.

use axum::{Json, extract::State};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http_guard::{ApiBytes, ApiError};
use rbee_api::ErrorCode;
use serde::{Deserialize, Serialize};

use super::{
    Service, blocking,
    error::{engine_failed, invalid_value, rejected},
    fields::Fields,
};
use crate::engine::Embedder;

const FIELD: &str = "input";
/// OpenAI's bound.
const TEXTS_MAX: usize = 2048;

/// Texts, or the tokens of texts.
#[derive(Deserialize)]
#[serde(untagged)]
enum Input {
    Text(String),
    Texts(Vec<String>),
    Tokens(Vec<i32>),
    Many(Vec<Vec<i32>>),
}

/// How the numbers of a vector are written.
#[derive(Debug, Clone, Copy)]
enum Encoding {
    Float,
    /// Their bytes, 32 bits each and the lowest first.
    Base64,
}

#[derive(Serialize)]
pub(super) struct Embeddings {
    object: &'static str,
    data: Vec<Embedding>,
    model: String,
    usage: Usage,
}

#[derive(Serialize)]
struct Embedding {
    object: &'static str,
    index: usize,
    embedding: Numbers,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Numbers {
    Float(Vec<f32>),
    Base64(String),
}

#[derive(Serialize)]
struct Usage {
    prompt_tokens: usize,
    total_tokens: usize,
}

pub(super) async fn create(
    State(service): State<Service>,
    ApiBytes(body): ApiBytes,
) -> Result<Json<Embeddings>, ApiError> {
    let _hold = service.worker.hold();
    let embedder = service.vectors()?.clone();
    let (encoding, dimensions, tokens, mut answer) = blocking(move || {
        let fields = Fields::parse(&body)?;
        drop(fields.get::<String>("model", "a string")?);
        let encoding = encoding(&fields)?;
        let dimensions = dimensions(&fields, embedder.model().facts.embedding)?;
        let texts = texts(&fields, &embedder)?;
        let tokens = texts.iter().map(Vec::len).sum();
        let answer = embedder.submit(texts).map_err(|error| rejected(error, FIELD))?;
        Ok((encoding, dimensions, tokens, answer))
    })
    .await?;
    let vectors = answer.recv().await.ok_or_else(|| engine_failed("the engine has stopped"))?;
    let vectors = vectors.map_err(engine_failed)?;
    let data = vectors.into_iter().enumerate().map(|(index, mut vector)| {
        vector.truncate(dimensions);
        let embedding = written(unit(vector), encoding);
        Embedding { object: "embedding", index, embedding }
    });
    let (data, model) = (data.collect(), service.name.to_string());
    let usage = Usage { prompt_tokens: tokens, total_tokens: tokens };
    Ok(Json(Embeddings { object: "list", data, model, usage }))
}

fn encoding(fields: &Fields) -> Result<Encoding, ApiError> {
    const NAME: &str = "encoding_format";
    match fields.get::<String>(NAME, "a string")?.as_deref() {
        None | Some("float") => Ok(Encoding::Float),
        Some("base64") => Ok(Encoding::Base64),
        Some(other) => {
            let message = format!("`{NAME}` is `{other}`: there are `float` and `base64`");
            Err(invalid_value(NAME, message))
        }
    }
}

/// How many numbers of a vector are wanted. No file says whether its model was trained to have its
/// vectors cut; whoever asks for it knows.
fn dimensions(fields: &Fields, all: u32) -> Result<usize, ApiError> {
    let wanted = fields.integer("dimensions", 1..=i64::from(all))?;
    Ok(wanted.and_then(|wanted| usize::try_from(wanted).ok()).unwrap_or(all as usize))
}

/// The tokens of each text.
fn texts(fields: &Fields, embedder: &Embedder) -> Result<Vec<Vec<i32>>, ApiError> {
    let what = "a string or an array of strings, or token ids or an array of arrays of these";
    let Some(input) = fields.get::<Input>(FIELD, what)? else {
        return Err(ApiError::new(ErrorCode::MissingParameter, "`input` is missing").param(FIELD));
    };
    let count = match &input {
        Input::Text(_) | Input::Tokens(_) => 1,
        Input::Texts(texts) => texts.len(),
        Input::Many(texts) => texts.len(),
    };
    if count == 0 || count > TEXTS_MAX {
        return Err(invalid_value(
            FIELD,
            format!("there may be 1 to {TEXTS_MAX} texts, not {count}"),
        ));
    }
    let tokens = |text: String| {
        if text.is_empty() {
            return Err(invalid_value(FIELD, "a text is empty"));
        }
        embedder.require_room(text.len()).map_err(|error| rejected(error, FIELD))?;
        Ok(embedder.model().tokenize_plain(&text))
    };
    match input {
        Input::Text(text) => Ok(vec![tokens(text)?]),
        Input::Texts(texts) => texts.into_iter().map(tokens).collect(),
        Input::Tokens(tokens) => Ok(vec![tokens]),
        Input::Many(texts) => Ok(texts),
    }
}

fn written(vector: Vec<f32>, encoding: Encoding) -> Numbers {
    match encoding {
        Encoding::Float => Numbers::Float(vector),
        Encoding::Base64 => {
            let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
            Numbers::Base64(STANDARD.encode(bytes))
        }
    }
}

/// The vector of that direction whose length is one.
fn unit(mut vector: Vec<f32>) -> Vec<f32> {
    let square: f64 = vector.iter().map(|&number| f64::from(number) * f64::from(number)).sum();
    if square > 0.0 {
        let length = square.sqrt();
        for number in &mut vector {
            // Rounded to what it was: 32 bits.
            *number = (f64::from(*number) / length) as f32;
        }
    }
    vector
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_keeps_its_direction_and_has_length_one() {
        assert_eq!(unit(vec![3.0, -4.0]), [0.6, -0.8]);
        assert_eq!(unit(vec![0.0, 0.0]), [0.0, 0.0]);
        assert_eq!(unit(vec![1e-30, 0.0]), [1.0, 0.0]);
    }

    #[test]
    fn in_base64_a_vector_is_its_bytes() {
        let Numbers::Base64(text) = written(vec![1.0, -2.5], Encoding::Base64) else { panic!() };
        assert_eq!(text, "AACAPwAAIMA=");
    }
}
