//! `POST /v1/chat/completions`.

use axum::{extract::State, http::HeaderMap, response::Response};
use http_guard::{ApiBytes, ApiError, list_ignored};
use worker_service::Asked;

use super::{
    Service,
    answer::Answer,
    begun::Begun,
    blocking,
    error::{invalid_value, rejected},
    fields::Fields,
    form, messages,
    params::{Params, TOP_LOGPROBS_MAX},
    reader::Reader,
    reasoning,
    tools::{Constraint, Tools},
    voice::Voice,
    wire::Kind,
};
use crate::{
    Engine, Model,
    engine::{Form, Holds, Request},
    json::Json,
    thoughts::ThoughtStream,
    tools::CallStream,
};

pub(super) async fn create(
    State(service): State<Service>,
    headers: HeaderMap,
    ApiBytes(body): ApiBytes,
) -> Result<Response, ApiError> {
    let hold = service.worker.hold();
    let (engine, defaults) = (service.text()?.clone(), service.defaults.clone());
    let (params, voices, ignored) = blocking(move || {
        let fields = Fields::parse_with(&body, &defaults, Asked::Chat)?;
        let (params, voices) = prepare(&engine, &fields, None)?;
        Ok((params, voices, fields.unread()))
    })
    .await?;
    let answer = Answer::new(Kind::Chat, &service, voices, hold);
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
    let mut params = Params::read(fields, model.facts.vocabulary, &model.eog)?;
    let logprobs = logprobs(fields)?;
    let tools = Tools::read(fields)?;
    let notation = model.notation();
    let is_read = tools.any() || notation.is_everywhere();
    let calls = is_read.then(|| CallStream::new(notation, &tools.tools));
    let constraint = tools.constraint(notation, params.sampling.form.is_some())?;
    let context = messages::template_context(fields, tools, model.template_knows_tools())?;
    let fits = |bytes| engine.require_room(bytes).map_err(|error| rejected(error, "messages"));
    let prompt = model.chat_prompt(&context, fits)?;
    let thoughts = model.thoughts();
    let is_apart = reasoning::is_apart(fields)?;
    let sampling = &mut params.sampling;
    match (constraint, thoughts) {
        (Some(Constraint::Opened { grammar, opener }), _) => {
            sampling.form = Some(Form::Gbnf(grammar));
            sampling.holds = Holds::InCalls { opener };
        }
        (Some(Constraint::Whole(grammar)), _) => sampling.form = Some(Form::Gbnf(grammar)),
        (None, _) => {}
    }
    if let (Some(tags), Some(_), Holds::Throughout) = (thoughts, &sampling.form, sampling.holds) {
        let (open, opened) = (model.token_of(tags.open), prompt.opens_thoughts);
        sampling.holds = Holds::AfterThoughts { open, close: tags.close, opened };
    }
    let mut shown = Vec::new();
    if calls.is_some() {
        shown.extend(notation.controls().iter().filter_map(|text| model.token_of(text)));
    }
    if let Some(tags) = thoughts {
        shown.extend(tags.controls().iter().filter_map(|text| model.token_of(text)));
    }
    let thoughts = thoughts.filter(|_| is_apart);
    let thoughts = thoughts.map(|tags| ThoughtStream::new(tags, prompt.opens_thoughts));
    let reader = Reader { thoughts, calls };
    let request = Request {
        prompt: prompt.tokens,
        begun: Vec::new(),
        max_tokens: params.max_tokens.unwrap_or(u32::MAX),
        sampling: params.sampling.clone(),
        stop: params.stop.clone(),
        logprobs,
        reuse_cache: params.reuse_cache,
        shown,
    };
    if let Some(begun) = begun {
        let voice = begun.go_on(engine, &params, request, reader, None)?;
        return Ok((params, vec![voice]));
    }
    let mut voices = Vec::new();
    for (index, request) in params.each(request).enumerate() {
        let events =
            engine.submit(request).map_err(|error| form::rejected(error, fields, "messages"))?;
        let mut voice = Voice::new(events, reader.clone());
        voice.shares_prompt = index > 0;
        voices.push(voice);
    }
    Ok((params, voices))
}

/// What the model's template is rendered with for the chat in `fields`.
pub(super) fn context(fields: &Fields, model: &Model) -> Result<Json, ApiError> {
    messages::template_context(fields, Tools::read(fields)?, model.template_knows_tools())
}

fn logprobs(fields: &Fields) -> Result<Option<usize>, ApiError> {
    let top = fields.integer("top_logprobs", 0..=TOP_LOGPROBS_MAX)?;
    if !fields.flag("logprobs")? {
        return match top {
            Some(1..) => {
                Err(invalid_value("top_logprobs", "`top_logprobs` is only for `logprobs`: true"))
            }
            _ => Ok(None),
        };
    }
    Ok(Some(top.and_then(|top| usize::try_from(top).ok()).unwrap_or(0)))
}
