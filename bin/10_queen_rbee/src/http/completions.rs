use axum::{
    extract::State,
    http::HeaderMap,
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use completion_relay::{Form, Head, job_refusal, respond};

use crate::{Queen, work::Completion};

pub(super) async fn chat(queen: State<Queen>, headers: HeaderMap, body: Bytes) -> Response {
    complete(queen, "/v1/chat/completions", &headers, body).await
}

pub(super) async fn text(queen: State<Queen>, headers: HeaderMap, body: Bytes) -> Response {
    complete(queen, "/v1/completions", &headers, body).await
}

pub(super) async fn embeddings(queen: State<Queen>, headers: HeaderMap, body: Bytes) -> Response {
    complete(queen, "/v1/embeddings", &headers, body).await
}

async fn complete(
    State(queen): State<Queen>,
    path: &'static str,
    headers: &HeaderMap,
    body: Bytes,
) -> Response {
    let head = match Head::read(headers, &body) {
        Ok(head) => head,
        Err(refusal) => return refusal.into_response(),
    };
    let completion = Completion {
        path,
        model: head.model.unwrap_or_else(|| queen.config.current().models.default.clone()),
        fresh: head.fresh,
        events: head.form != Form::Json,
        body,
    };
    match queen.complete("completion", completion) {
        Ok(id) => respond(queen.relays.jobs(), id, head.form).await,
        Err(error) => job_refusal(&error).into_response(),
    }
}
