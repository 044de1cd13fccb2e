use axum::{
    extract::State,
    http::{HeaderMap, Uri, header},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use completion_relay::{Attempt, Head, drive, job_refusal, respond};
use narration_core::job_span;
use tracing::Instrument as _;

use crate::{Hive, pool::Wanted};

/// Has a worker answer the request: the body goes to it as it came.
pub(super) async fn complete(
    State(hive): State<Hive>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let head = match Head::read(&headers, &body) {
        Ok(head) => head,
        Err(refusal) => return refusal.into_response(),
    };
    let job = match hive.jobs.create("completion") {
        Ok(job) => job,
        Err(error) => return job_refusal(&error).into_response(),
    };
    let id = job.id();
    let (jobs, form) = (hive.jobs.clone(), head.form);
    let emitter = job.emitter();
    let model = head.model.unwrap_or_else(|| hive.config.current().models.default.clone());
    let acquire = move |failed: usize| {
        let wanted = Wanted {
            model: model.clone(),
            fresh: head.fresh,
            distrust: failed > 0,
            job: Some(emitter.clone()),
        };
        let (pool, path, body) = (hive.pool.clone(), uri.path().to_owned(), body.clone());
        async move {
            let (client, guard) = pool.acquire(wanted).await?;
            let request = client.post(&path).header(header::CONTENT_TYPE, "application/json");
            Ok(Attempt { request: request.body(body), guard })
        }
    };
    let span = job_span(&id.to_string());
    tokio::spawn(drive(job, acquire).instrument(span));
    respond(&jobs, id, form).await
}
