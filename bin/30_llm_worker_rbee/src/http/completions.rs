//! `POST /v1/completions`.

use axum::{extract::State, http::HeaderMap, response::Response};
use http_guard::{ApiBytes, ApiError, list_ignored};
use llama_cpp_2::token::LlamaToken;
use rbee_api::ErrorCode;
use serde::Deserialize;
use worker_service::Asked;

use super::{
    Service,
    answer::Answer,
    begun::Begun,
    blocking,
    error::{invalid_value, not_continuable, rejected, unsupported},
    fields::Fields,
    form,
    params::{CHOICES_MAX, Params, TOP_LOGPROBS_MAX},
    reader::Reader,
    voice::Voice,
    wire::Kind,
};
use crate::{Engine, Model, engine::Request};

const FIELD: &str = "prompt";
/// What OpenAI generates when nothing is said.
const MAX_TOKENS: u32 = 16;

/// Prompts, as text or as token ids.
#[derive(Deserialize)]
#[serde(untagged)]
enum Prompts {
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
    let (engine, defaults) = (service.text()?.clone(), service.defaults.clone());
    let (params, voices, ignored) = blocking(move || {
        let fields = Fields::parse_with(&body, &defaults, Asked::Completion)?;
        let (params, voices) = prepare(&engine, &fields, None)?;
        Ok((params, voices, fields.unread()))
    })
    .await?;
    let answer = Answer::new(Kind::Completion, &service, voices, hold);
    Ok(list_ignored(&ignored, answer.respond(&service, &params, &headers).await?))
}

/// What `fields` ask for, and the answers to it on their way; or the one that goes on with what has
/// `begun`.
pub(super) fn prepare(
    engine: &Engine,
    fields: &Fields,
    begun: Option<&Begun>,
) -> Result<(Params, Vec<Voice>), ApiError> {
    let model = engine.model();
    let params = Params::read(fields, model.facts.vocabulary, &model.eog)?;
    let logprobs = fields.integer("logprobs", 0..=TOP_LOGPROBS_MAX)?;
    let echo = fields.flag("echo")?;
    if echo && logprobs.is_some() {
        let message = "the worker knows no probabilities of a prompt, so not both";
        return Err(unsupported("echo", message));
    }
    if fields.integer("best_of", 1..=128)?.is_some_and(|best| best != i64::from(params.n)) {
        let message = "the worker gives all answers that it makes: leave `best_of` at `n`";
        return Err(unsupported("best_of", message));
    }
    let prompts = prompts(fields, engine)?;
    params.require_choices(prompts.len(), FIELD)?;
    if begun.is_some() && prompts.len() != 1 {
        return Err(not_continuable("it has several answers"));
    }
    let mut voices = Vec::new();
    for prompt in prompts {
        let echoed = echo.then(|| text_of(model, &prompt));
        let request = Request {
            prompt,
            begun: Vec::new(),
            max_tokens: params.max_tokens.unwrap_or(MAX_TOKENS),
            sampling: params.sampling.clone(),
            stop: params.stop.clone(),
            logprobs: logprobs.and_then(|top| usize::try_from(top).ok()),
            reuse_cache: params.reuse_cache,
            shown: Vec::new(),
        };
        if let Some(begun) = begun {
            let (echoed, reader) = (echoed.as_deref(), Reader::default());
            voices.push(begun.go_on(engine, &params, request, reader, echoed)?);
            continue;
        }
        for (index, request) in params.each(request).enumerate() {
            let events =
                engine.submit(request).map_err(|error| form::rejected(error, fields, FIELD))?;
            let mut voice = Voice::new(events, Reader::default());
            voice.echo.clone_from(&echoed);
            voice.shares_prompt = index > 0;
            voices.push(voice);
        }
    }
    Ok((params, voices))
}

fn prompts(fields: &Fields, engine: &Engine) -> Result<Vec<Vec<i32>>, ApiError> {
    let what = "a string or an array of strings, or token ids or an array of arrays of these";
    let suffix = fields.get::<String>("suffix", "a string")?.filter(|suffix| !suffix.is_empty());
    let tokens = |text: &str| {
        let bytes = text.len() + suffix.as_ref().map_or(0, String::len);
        engine.require_room(bytes).map_err(|error| rejected(error, FIELD))?;
        match &suffix {
            None => Ok(engine.model().tokenize(text)),
            Some(suffix) => engine.model().between(text, suffix).ok_or_else(|| {
                let message = "the model was not made to fill in a middle: its vocabulary has no tokens for that";
                unsupported("suffix", message)
            }),
        }
    };
    let Some(prompts) = fields.get::<Prompts>(FIELD, what)? else {
        return Err(ApiError::new(ErrorCode::MissingParameter, "`prompt` is missing").param(FIELD));
    };
    if matches!(prompts, Prompts::Tokens(_) | Prompts::Many(_)) && suffix.is_some() {
        return Err(unsupported("suffix", "it goes with a prompt of text"));
    }
    match prompts {
        Prompts::Text(text) => Ok(vec![tokens(&text)?]),
        Prompts::Tokens(tokens) => Ok(vec![tokens]),
        Prompts::Texts(texts) if texts.len() <= CHOICES_MAX => {
            texts.iter().map(|text| tokens(text)).collect()
        }
        Prompts::Texts(texts) => Err(too_many(texts.len())),
        Prompts::Many(prompts) => Ok(prompts),
    }
}

fn too_many(count: usize) -> ApiError {
    invalid_value(FIELD, format!("there may be {CHOICES_MAX} prompts, not {count}"))
}

/// The text that a prompt's tokens stand for.
fn text_of(model: &Model, tokens: &[i32]) -> String {
    let mut bytes = Vec::new();
    for &token in tokens {
        // What is no token is refused by the engine.
        if u32::try_from(token).is_ok_and(|id| id < model.facts.vocabulary) {
            model.piece(LlamaToken::new(token), false, &mut bytes);
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
