//! `POST /v1/continuations`: the rest of a stream whose worker has ended.
//!
//! The model reads the prompt and what has come of the answer, and goes on behind it. What stands
//! between the model's text and the client (stop strings, calls, a grammar) is brought to where it was
//! by the same text.

use axum::{extract::State, http::HeaderMap, response::Response};
use http_guard::{ApiBytes, ApiError};
use rbee_api::{Continuation, ErrorBody, ErrorCode, paths};
use worker_service::{Asked, Defaults};

use super::{
    Service, answer::Answer, begun::Begun, blocking, chat, completions, error::not_continuable,
    fields::Fields, params::Params, voice::Voice, wire::Kind,
};
use crate::Engine;

pub(super) async fn create(
    State(service): State<Service>,
    headers: HeaderMap,
    ApiBytes(body): ApiBytes,
) -> Result<Response, ApiError> {
    let hold = service.worker.hold();
    let (engine, defaults) = (service.text()?.clone(), service.defaults.clone());
    let (kind, begun, mut params, voices) = blocking(move || {
        let continuation = serde_json::from_slice(&body).map_err(|error| {
            let message = format!("the body is no continuation: {error}");
            ApiError::new(ErrorCode::InvalidBody, message)
        })?;
        prepare(&engine, &defaults, &continuation).map_err(|error| match error.status().as_u16() {
            // Whatever is wrong with it now, its client has the beginning of an answer.
            400..=428 | 430..=499 => not_continuable(ErrorBody::from(error).error.message),
            _ => error,
        })
    })
    .await?;
    params.include_usage &= !begun.is_counted;
    let answer = Answer::new(kind, &service, voices, hold).behind(begun.id, begun.created);
    answer.respond(&service, &params, &headers).await
}

fn prepare(
    engine: &Engine,
    defaults: &Defaults,
    Continuation { path, request, delivered }: &Continuation,
) -> Result<(Kind, Begun, Params, Vec<Voice>), ApiError> {
    let (kind, asked) = match path.as_str() {
        paths::CHAT_COMPLETIONS => (Kind::Chat, Asked::Chat),
        paths::COMPLETIONS => (Kind::Completion, Asked::Completion),
        other => return Err(not_continuable(format!("`{other}` has no answer in parts"))),
    };
    let begun = Begun::read(delivered)?;
    let fields = Fields::parse_with(request.get().as_bytes(), defaults, asked)?;
    let (params, voices) = match kind {
        Kind::Chat => chat::prepare(engine, &fields, Some(&begun))?,
        Kind::Completion => completions::prepare(engine, &fields, Some(&begun))?,
    };
    Ok((kind, begun, params, voices))
}
