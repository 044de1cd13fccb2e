use axum::{
    extract::State,
    http::HeaderMap,
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use chain_level::{Head, respond};
use http_guard::ApiError;
use rbee_api::paths;

use crate::Queen;

pub(super) async fn chat(queen: State<Queen>, headers: HeaderMap, body: Bytes) -> Response {
    complete(queen, paths::CHAT_COMPLETIONS, &headers, body).await
}

pub(super) async fn text(queen: State<Queen>, headers: HeaderMap, body: Bytes) -> Response {
    complete(queen, paths::COMPLETIONS, &headers, body).await
}

async fn complete(
    State(queen): State<Queen>,
    path: &'static str,
    headers: &HeaderMap,
    body: Bytes,
) -> Response {
    let begun = Head::read(headers, &body).and_then(|head| {
        let form = head.form;
        Ok((queen.complete("completion", path, head, body)?, form))
    });
    match begun {
        Ok((id, form)) => respond(queen.relays.jobs(), id, form).await,
        Err(refusal) => ApiError::into_response(refusal),
    }
}
