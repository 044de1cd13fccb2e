//! llama.cpp's `POST /tokenize`, `POST /detokenize` and `POST /apply-template`.
//!
//! As in vLLM, a chat may stand in the place of a text: who counts what one will take says it once.

use axum::{Json, extract::State};
use http_guard::{ApiBytes, ApiError};
use llama_cpp_2::token::LlamaToken;
use rbee_api::ErrorCode;
use serde::Serialize;
use worker_service::Asked;

use super::{
    Service, blocking, chat,
    error::{invalid_value, rejected},
    fields::Fields,
};
use crate::Model;

#[derive(Serialize)]
pub(super) struct Tokens {
    tokens: Vec<Token>,
    count: usize,
    /// What a prompt and its answer may take together.
    max_model_len: u32,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Token {
    Id(i32),
    Piece { id: i32, piece: Piece },
}

#[derive(Serialize)]
#[serde(untagged)]
enum Piece {
    Text(String),
    /// Where they are no whole characters.
    Bytes(Vec<u8>),
}

#[derive(Serialize)]
pub(super) struct Content {
    content: String,
}

#[derive(Serialize)]
pub(super) struct Prompt {
    prompt: String,
}

pub(super) async fn tokenize(
    State(service): State<Service>,
    ApiBytes(body): ApiBytes,
) -> Result<Json<Tokens>, ApiError> {
    let _hold = service.worker.hold();
    let answer = blocking(move || {
        let fields = Fields::parse_with(&body, &service.defaults, Asked::Prompt)?;
        let model = service.work.model();
        let ids = tokens(&fields, &service)?;
        let with_pieces = fields.flag("with_pieces")?;
        let count = ids.len();
        let tokens = ids.into_iter().map(|id| match with_pieces {
            true => Token::Piece { id, piece: piece(model, id) },
            false => Token::Id(id),
        });
        let max_model_len = service.work.config().context;
        Ok(Tokens { tokens: tokens.collect(), count, max_model_len })
    });
    answer.await.map(Json)
}

pub(super) async fn detokenize(
    State(service): State<Service>,
    ApiBytes(body): ApiBytes,
) -> Result<Json<Content>, ApiError> {
    const FIELD: &str = "tokens";
    let _hold = service.worker.hold();
    let content = blocking(move || {
        let fields = Fields::parse(&body)?;
        let Some(tokens) = fields.get::<Vec<i32>>(FIELD, "an array of token ids")? else {
            return Err(missing(FIELD));
        };
        let model = service.work.model();
        let vocabulary = model.facts.vocabulary;
        let mut bytes = Vec::new();
        for token in tokens {
            if u32::try_from(token).map_or(true, |id| id >= vocabulary) {
                let message = format!("token {token} is not in the vocabulary of {vocabulary}");
                return Err(invalid_value(FIELD, message));
            }
            model.piece(LlamaToken::new(token), true, &mut bytes);
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    });
    content.await.map(|content| Json(Content { content }))
}

pub(super) async fn apply_template(
    State(service): State<Service>,
    ApiBytes(body): ApiBytes,
) -> Result<Json<Prompt>, ApiError> {
    let _hold = service.worker.hold();
    let prompt = blocking(move || {
        let fields = Fields::parse_with(&body, &service.defaults, Asked::Prompt)?;
        let model = service.text()?.model();
        let context = chat::context(&fields, model)?;
        Ok(model.chat_text(&context)?)
    });
    prompt.await.map(|prompt| Json(Prompt { prompt }))
}

/// Of a text or of a chat.
fn tokens(fields: &Fields, service: &Service) -> Result<Vec<i32>, ApiError> {
    drop(fields.get::<String>("model", "a string")?);
    if fields.raw("messages").is_some() {
        let engine = service.text()?;
        let context = chat::context(fields, engine.model())?;
        let fits = |bytes| engine.require_room(bytes).map_err(|error| rejected(error, "messages"));
        return Ok(engine.model().chat_prompt(&context, fits)?.tokens);
    }
    // llama.cpp's name, and vLLM's, which do not mean the same where nothing more is said.
    let (field, special, special_by_default) = match fields.raw("prompt") {
        Some(_) => ("prompt", "add_special_tokens", true),
        None => ("content", "add_special", false),
    };
    let Some(text) = fields.get::<String>(field, "a string")? else { return Err(missing(field)) };
    let special = fields.get::<bool>(special, "true or false")?.unwrap_or(special_by_default);
    let parsed = fields.get::<bool>("parse_special", "true or false")?.unwrap_or(true);
    service.work.require_room(text.len()).map_err(|error| rejected(error, field))?;
    Ok(service.work.model().tokens_of(&text, special, parsed))
}

fn piece(model: &Model, id: i32) -> Piece {
    let mut bytes = Vec::new();
    model.piece(LlamaToken::new(id), true, &mut bytes);
    match String::from_utf8(bytes) {
        Ok(text) => Piece::Text(text),
        Err(error) => Piece::Bytes(error.into_bytes()),
    }
}

fn missing(field: &str) -> ApiError {
    ApiError::new(ErrorCode::MissingParameter, format!("`{field}` is missing")).param(field)
}
