//! `POST /v1/completions`.

use axum::{extract::State, http::HeaderMap, response::Response};
use http_guard::{ApiBytes, ApiError};
use rbee_api::ErrorCode;
use serde::Deserialize;

use super::{
    Service,
    answer::{Answer, Kind},
    blocking,
    error::{rejected, unsupported},
    fields::Fields,
    params::{Params, TOP_LOGPROBS_MAX},
};
use crate::{Engine, engine::Request};

/// What OpenAI generates when nothing is said.
const MAX_TOKENS: u32 = 16;

/// One prompt, as text or as token ids, alone or in an array.
#[derive(Deserialize)]
#[serde(untagged)]
enum Prompt {
    Text(String),
    Tokens(Vec<i32>),
    Texts(Vec<String>),
    Many(Vec<Vec<i32>>),
}

pub(super) async fn create(
    State(service): State<Service>,
    headers: HeaderMap,
    ApiBytes(body): ApiBytes,
) -> Result<Response, ApiError> {
    let hold = service.worker.hold();
    let engine = service.text()?.clone();
    let (params, events) = blocking(move || {
        let fields = Fields::parse(&body)?;
        let model = engine.model();
        let params = Params::read(&fields, model.facts.vocabulary, &model.eog)?;
        refuse_extras(&fields)?;
        let logprobs = fields.integer("logprobs", 0..=TOP_LOGPROBS_MAX)?;
        let request = Request {
            prompt: prompt(&fields, &engine)?,
            max_tokens: params.max_tokens.unwrap_or(MAX_TOKENS),
            sampling: params.sampling.clone(),
            stop: params.stop.clone(),
            logprobs: logprobs.and_then(|top| usize::try_from(top).ok()),
            reuse_cache: params.reuse_cache,
            shown: Vec::new(),
        };
        let events = engine.submit(request).map_err(|error| rejected(error, "prompt"))?;
        Ok((params, events))
    })
    .await?;
    let answer = Answer::new(Kind::Completion, &service, events, hold);
    answer.respond(&service, &params, &headers).await
}

fn prompt(fields: &Fields, engine: &Engine) -> Result<Vec<i32>, ApiError> {
    let what = "a string, an array of one string, or token ids";
    let one = || unsupported("prompt", "the worker completes one prompt a request");
    let tokens = |text: &str| {
        engine.require_room(text.len()).map_err(|error| rejected(error, "prompt"))?;
        Ok(engine.model().tokenize(text))
    };
    match fields.get::<Prompt>("prompt", what)? {
        None => {
            Err(ApiError::new(ErrorCode::MissingParameter, "`prompt` is missing").param("prompt"))
        }
        Some(Prompt::Text(text)) => tokens(&text),
        Some(Prompt::Tokens(tokens)) => Ok(tokens),
        Some(Prompt::Texts(texts)) => match texts.as_slice() {
            [text] => tokens(text),
            _ => Err(one()),
        },
        Some(Prompt::Many(prompts)) => match <[_; 1]>::try_from(prompts) {
            Ok([tokens]) => Ok(tokens),
            Err(_) => Err(one()),
        },
    }
}

fn refuse_extras(fields: &Fields) -> Result<(), ApiError> {
    if fields.flag("echo")? {
        return Err(unsupported("echo", "the worker does not echo the prompt"));
    }
    if fields.get::<String>("suffix", "a string")?.is_some_and(|suffix| !suffix.is_empty()) {
        return Err(unsupported("suffix", "the worker does not fill in the middle"));
    }
    if fields.integer("best_of", 1..=128)?.unwrap_or(1) != 1 {
        return Err(unsupported("best_of", "the worker makes one answer: leave `best_of` at 1"));
    }
    Ok(())
}
