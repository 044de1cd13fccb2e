use axum::{
    Extension,
    extract::State,
    http::{HeaderMap, HeaderValue, Method, Uri, header},
    response::{IntoResponse as _, Response},
};
use chain_level::{Attempt, Form, Head, respond};
use daemon_lifecycle::Waits;
use http_guard::{ApiBytes, ApiError};
use rbee_api::{HEADER_EVENTS, ModelReach};

use crate::{Hive, pool::Wanted};

/// Has a worker answer the request: the body goes to it as it came.
pub(super) async fn complete(
    State(hive): State<Hive>,
    Extension(reach): Extension<ModelReach>,
    uri: Uri,
    headers: HeaderMap,
    ApiBytes(body): ApiBytes,
) -> Response {
    let Head { model, form, fresh } = match Head::read(&headers, &body) {
        Ok(head) => head,
        Err(refusal) => return refusal.into_response(),
    };
    let model = model.unwrap_or_else(|| hive.config.current().models.default.clone());
    let (pool, relays) = (hive.pool.clone(), hive.relays.clone());
    let begun = relays.begin("completion", move |job, failed| {
        // Only a person asks for fresh processes.
        let waits = if fresh { Waits::Person } else { Waits::Program };
        let (model, job) = (model.clone(), Some(job));
        let wanted = Wanted { model, reach, fresh, distrust: failed > 0, waits, job };
        let (pool, path, body) = (pool.clone(), uri.path().to_owned(), body.clone());
        async move {
            let (worker, guard) = pool.acquire(wanted).await?;
            let client = worker.client;
            let request = match form {
                Form::Json => client.request(Method::POST, &path),
                Form::Events | Form::OpenAiStream => client
                    .stream(Method::POST, &path)
                    .header(HEADER_EVENTS, HeaderValue::from_static("1")),
            };
            let request = request.header(header::CONTENT_TYPE, "application/json").body(body);
            Ok(Attempt { request, at: worker.id, guard: Some(guard) })
        }
    });
    match begun {
        Ok(id) => respond(relays.jobs(), id, form).await,
        Err(error) => ApiError::from(error).into_response(),
    }
}
