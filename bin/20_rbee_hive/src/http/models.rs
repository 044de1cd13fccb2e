use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use completion_relay::{Form, job_refusal, passed_on, respond};
use http_guard::{ApiError, ApiJson, ApiPath};
use narration_core::job_span;
use rbee_api::{EVENT_ERROR, EVENT_RESULT, ModelList, ModelRemoved, PullRequest};
use tracing::Instrument as _;

use crate::Hive;

pub(super) async fn list(State(hive): State<Hive>) -> Result<Json<ModelList>, ApiError> {
    Ok(Json(hive.models.list().await.map_err(passed_on)?))
}

pub(super) async fn remove(
    State(hive): State<Hive>,
    ApiPath(name): ApiPath<String>,
) -> Result<Json<ModelRemoved>, ApiError> {
    Ok(Json(hive.models.remove(name).await.map_err(passed_on)?))
}

/// Downloads the model; answers with the events of doing so.
pub(super) async fn pull(
    State(hive): State<Hive>,
    ApiJson(PullRequest { model }): ApiJson<PullRequest>,
) -> Response {
    let job = match hive.jobs.create("model_pull") {
        Ok(job) => job,
        Err(error) => return job_refusal(&error).into_response(),
    };
    let (jobs, id) = (hive.jobs.clone(), job.id());
    let pulling = async move {
        let outcome = tokio::select! {
            () = job.cancelled() => return job.cancelled_end(),
            outcome = hive.models.pull(model.clone(), Some(job.emitter())) => outcome,
        };
        match outcome {
            Ok(path) => {
                job.emit(
                    Some(EVENT_RESULT),
                    super::json(&serde_json::json!({
                        "model": model,
                        "path": path,
                    })),
                );
                job.complete();
            }
            Err(body) => {
                job.emit(Some(EVENT_ERROR), super::json(&body));
                job.fail(body.error.message);
            }
        }
    };
    tokio::spawn(pulling.instrument(job_span(&id.to_string())));
    respond(&jobs, id, Form::Events).await
}
