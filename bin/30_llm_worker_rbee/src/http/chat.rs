//! `POST /v1/chat/completions`.

use axum::{extract::State, http::HeaderMap, response::Response};
use http_guard::{ApiBytes, ApiError};
use serde_json::Value;

use super::{
    Service,
    answer::{Answer, Kind},
    blocking,
    error::{invalid_value, rejected, unsupported},
    fields::Fields,
    messages,
    params::{Params, TOP_LOGPROBS_MAX},
};
use crate::engine::Request;

pub(super) async fn create(
    State(service): State<Service>,
    headers: HeaderMap,
    ApiBytes(body): ApiBytes,
) -> Result<Response, ApiError> {
    let hold = service.worker.hold();
    let engine = service.engine.clone();
    let (params, events) = blocking(move || {
        let fields = Fields::parse(&body)?;
        let model = engine.model();
        let params = Params::read(&fields, model.facts.vocabulary, &model.eog)?;
        let logprobs = logprobs(&fields)?;
        refuse_tools(&fields)?;
        let context = messages::template_context(&fields)?;
        let fits = |bytes| engine.require_room(bytes).map_err(|error| rejected(error, "messages"));
        let request = Request {
            prompt: model.chat_prompt(&context, fits)?,
            max_tokens: params.max_tokens.unwrap_or(u32::MAX),
            sampling: params.sampling.clone(),
            stop: params.stop.clone(),
            logprobs,
            reuse_cache: params.reuse_cache,
        };
        let events = engine.submit(request).map_err(|error| rejected(error, "messages"))?;
        Ok((params, events))
    })
    .await?;
    let answer = Answer::new(Kind::Chat, &service.name, events, hold);
    answer.respond(&service, &params, &headers).await
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

/// Tools that the model must not call change nothing; others would be ignored silently.
fn refuse_tools(fields: &Fields) -> Result<(), ApiError> {
    let forbidden = |name: &str| fields.raw(name).is_some_and(|choice| choice == "\"none\"");
    for (param, choice) in [("tools", "tool_choice"), ("functions", "function_call")] {
        let tools = fields.get::<Vec<Value>>(param, "an array")?.unwrap_or_default();
        if !tools.is_empty() && !forbidden(choice) {
            return Err(unsupported(
                param,
                format!("the worker calls no tools: leave `{param}` out"),
            ));
        }
    }
    Ok(())
}
