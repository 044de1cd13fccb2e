use axum::{
    Extension,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use chain_level::{Head, respond};
use http_guard::{ApiBytes, ApiError};
use rbee_api::{ModelReach, paths};

use crate::Queen;

pub(super) async fn chat(
    queen: State<Queen>,
    reach: Extension<ModelReach>,
    headers: HeaderMap,
    ApiBytes(body): ApiBytes,
) -> Response {
    complete(queen, paths::CHAT_COMPLETIONS, reach, &headers, body).await
}

pub(super) async fn text(
    queen: State<Queen>,
    reach: Extension<ModelReach>,
    headers: HeaderMap,
    ApiBytes(body): ApiBytes,
) -> Response {
    complete(queen, paths::COMPLETIONS, reach, &headers, body).await
}

async fn complete(
    State(queen): State<Queen>,
    path: &'static str,
    Extension(reach): Extension<ModelReach>,
    headers: &HeaderMap,
    body: Bytes,
) -> Response {
    let begun = Head::read(headers, &body).and_then(|head| {
        let form = head.form;
        Ok((queen.complete("completion", path, head, reach, body)?, form))
    });
    match begun {
        Ok((id, form)) => respond(queen.relays.jobs(), id, form).await,
        Err(refusal) => ApiError::into_response(refusal),
    }
}
