//! `POST /v1/chat/completions`.

use axum::{extract::State, http::HeaderMap, response::Response};
use http_guard::{ApiBytes, ApiError};

use super::{
    Service,
    answer::{Answer, Kind},
    blocking,
    error::{invalid_value, rejected},
    fields::Fields,
    messages,
    params::{Params, TOP_LOGPROBS_MAX},
    tools::Tools,
};
use crate::{Model, engine::Request, json::Json, tools::CallStream};

pub(super) async fn create(
    State(service): State<Service>,
    headers: HeaderMap,
    ApiBytes(body): ApiBytes,
) -> Result<Response, ApiError> {
    let hold = service.worker.hold();
    let engine = service.text()?.clone();
    let (params, calls, events) = blocking(move || {
        let fields = Fields::parse(&body)?;
        let model = engine.model();
        let mut params = Params::read(&fields, model.facts.vocabulary, &model.eog)?;
        let logprobs = logprobs(&fields)?;
        let tools = Tools::read(&fields)?;
        let format = model.tool_format();
        if let Some(grammar) = tools.grammar(format)?
            && params.sampling.grammar.replace(grammar).is_some()
        {
            let message = "an answer that must be a call cannot have a `response_format`";
            return Err(invalid_value("tool_choice", message));
        }
        let calls = tools.any().then(|| CallStream::new(format, &tools.tools));
        let context = messages::template_context(&fields, tools, model.template_knows_tools())?;
        let fits = |bytes| engine.require_room(bytes).map_err(|error| rejected(error, "messages"));
        let request = Request {
            prompt: model.chat_prompt(&context, fits)?,
            max_tokens: params.max_tokens.unwrap_or(u32::MAX),
            sampling: params.sampling.clone(),
            stop: params.stop.clone(),
            logprobs,
            reuse_cache: params.reuse_cache,
            shown: calls.as_ref().and_then(|_| model.tool_opener()).into_iter().collect(),
        };
        let events = engine.submit(request).map_err(|error| rejected(error, "messages"))?;
        Ok((params, calls, events))
    })
    .await?;
    let answer = Answer::new(Kind::Chat, &service, events, hold).with_calls(calls);
    answer.respond(&service, &params, &headers).await
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
