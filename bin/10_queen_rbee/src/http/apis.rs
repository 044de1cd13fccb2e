//! Other APIs than OpenAI's chat completions: each request becomes one of those, and what comes of it
//! the answer that its client expects.

mod refusals; // errors as each API tells them
mod encode; // a job's events as another API's stream
pub(super) mod ollama; // Ollama's routes

use api_dialects::{Answer, Endpoint, Translated, anthropic, responses};
use axum::{
    Extension,
    extract::{FromRequest, FromRequestParts as _, Request},
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use chain_level::{Beginning, Head, begun, of_job};
use http_guard::{ApiBytes, ApiError, list_ignored};
use job_server::frames_response;
use rbee_api::{ErrorBody, ModelReach, paths};

use self::encode::Translating;
pub(super) use self::refusals::{Shape, in_their_own_shape};
use crate::Queen;

/// A request in another API's words.
pub(super) struct Asked {
    queen: Queen,
    reach: ModelReach,
    headers: HeaderMap,
    body: Bytes,
}

impl FromRequest<Queen> for Asked {
    type Rejection = Response;

    async fn from_request(request: Request, queen: &Queen) -> Result<Self, Response> {
        let (mut parts, body) = request.into_parts();
        let reach = Extension::from_request_parts(&mut parts, queen).await;
        let Extension(reach) = reach.map_err(IntoResponse::into_response)?;
        let headers = parts.headers.clone();
        let body = ApiBytes::from_request(Request::from_parts(parts, body), queen).await;
        let ApiBytes(body) = body.map_err(IntoResponse::into_response)?;
        Ok(Self { queen: queen.clone(), reach, headers, body })
    }
}

impl Asked {
    /// Has the chain answer what `translate` makes of it.
    async fn answer<A: Answer>(
        &self,
        translate: impl FnOnce(&[u8]) -> Result<Translated<A>, ErrorBody>,
    ) -> Result<Response, ApiError> {
        let Translated { endpoint, body, mut answer, ignored } = translate(&self.body)?;
        let path = match endpoint {
            Endpoint::ChatCompletions => paths::CHAT_COMPLETIONS,
            Endpoint::Completions => paths::COMPLETIONS,
            Endpoint::Embeddings => paths::EMBEDDINGS,
            Endpoint::Tokenize => paths::TOKENIZE,
        };
        let head = Head::read(&self.headers, &body)?;
        let id = self.queen.relays.complete("completion", path, head, self.reach, body.into())?;
        // What the translation made has nothing that a worker does not know.
        let begun = begun(self.queen.relays.jobs(), id).await.map(|begun| begun.answer);
        let response = match begun {
            Ok(Beginning::Stream(events)) => {
                frames_response(events, A::CONTENT_TYPE, Translating::of(answer))
            }
            Ok(Beginning::Whole(body)) => match answer.whole(&body) {
                Ok(body) => {
                    let json = HeaderValue::from_static("application/json");
                    ([(header::CONTENT_TYPE, json)], body).into_response()
                }
                Err(unreadable) => ApiError::from(ErrorBody::from(unreadable)).into_response(),
            },
            Err(refusal) => refusal.into_response(),
        };
        Ok(list_ignored(&ignored, of_job(id, response)))
    }

    fn require_anthropic_version(&self) -> Result<(), ErrorBody> {
        let version = self.headers.get(anthropic::VERSION_HEADER).map(HeaderValue::as_bytes);
        anthropic::require_version(version)
    }
}

pub(super) async fn messages(asked: Asked) -> Result<Response, ApiError> {
    asked.require_anthropic_version()?;
    asked.answer(anthropic::translate).await
}

pub(super) async fn count_tokens(asked: Asked) -> Result<Response, ApiError> {
    asked.require_anthropic_version()?;
    asked.answer(anthropic::translate_count).await
}

pub(super) async fn responses(asked: Asked) -> Result<Response, ApiError> {
    asked.answer(responses::translate).await
}
