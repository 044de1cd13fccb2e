//! Other APIs than OpenAI's chat completions: each request becomes one of those, and what comes of it
//! the answer that its client expects.

mod refusals; // errors as each API tells them
mod encode; // a job's events as another API's stream
pub(super) mod ollama; // Ollama's routes

use api_dialects::{Answer, Endpoint, Translated, anthropic, responses};
use axum::{
    Extension,
    extract::State,
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse as _, Response},
};
use chain_level::{Begun, Head, begun, of_job};
use http_guard::{ApiBytes, ApiError};
use job_server::frames_response;
use rbee_api::{ErrorBody, HEADER_IGNORED, ModelReach, paths};

use self::encode::Translating;
pub(super) use self::refusals::in_their_own_shape;
use crate::Queen;

/// How many bytes the list of what was ignored may have.
const IGNORED_MAX: usize = 1024;

pub(super) async fn messages(
    State(queen): State<Queen>,
    Extension(reach): Extension<ModelReach>,
    headers: HeaderMap,
    ApiBytes(body): ApiBytes,
) -> Result<Response, ApiError> {
    let version = headers.get(anthropic::VERSION_HEADER).map(HeaderValue::as_bytes);
    anthropic::require_version(version)?;
    answer(&queen, reach, &headers, anthropic::translate(&body)?).await
}

pub(super) async fn count_tokens(
    State(queen): State<Queen>,
    Extension(reach): Extension<ModelReach>,
    headers: HeaderMap,
    ApiBytes(body): ApiBytes,
) -> Result<Response, ApiError> {
    let version = headers.get(anthropic::VERSION_HEADER).map(HeaderValue::as_bytes);
    anthropic::require_version(version)?;
    answer(&queen, reach, &headers, anthropic::translate_count(&body)?).await
}

pub(super) async fn responses(
    State(queen): State<Queen>,
    Extension(reach): Extension<ModelReach>,
    headers: HeaderMap,
    ApiBytes(body): ApiBytes,
) -> Result<Response, ApiError> {
    answer(&queen, reach, &headers, responses::translate(&body)?).await
}

/// Has the chain answer the translated request.
async fn answer<A: Answer>(
    queen: &Queen,
    reach: ModelReach,
    headers: &HeaderMap,
    Translated { endpoint, body, mut answer, ignored }: Translated<A>,
) -> Result<Response, ApiError> {
    let path = match endpoint {
        Endpoint::ChatCompletions => paths::CHAT_COMPLETIONS,
        Endpoint::Completions => paths::COMPLETIONS,
        Endpoint::Embeddings => paths::EMBEDDINGS,
        Endpoint::Tokenize => paths::TOKENIZE,
    };
    let head = Head::read(headers, &body)?;
    let id = queen.relays.complete("completion", path, head, reach, body.into())?;
    let response = match begun(queen.relays.jobs(), id).await {
        Ok(Begun::Stream(events)) => {
            frames_response(events, A::CONTENT_TYPE, Translating::of(answer))
        }
        Ok(Begun::Whole(body)) => match answer.whole(&body) {
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

/// Says in a header what had no effect.
fn list_ignored(names: &[String], mut response: Response) -> Response {
    if names.is_empty() {
        return response;
    }
    tracing::info!(?names, "members of a request have no effect");
    let mut list = names.join(", ").escape_default().to_string();
    list.truncate(IGNORED_MAX);
    if let Ok(list) = HeaderValue::try_from(list) {
        response.headers_mut().insert(HEADER_IGNORED, list);
    }
    response
}
