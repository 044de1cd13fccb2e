use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use completion_relay::{Form, finish, job_refusal, passed_on, respond};
use http_guard::{ApiError, ApiJson, ApiPath};
use rbee_api::{ModelList, ModelRemoved, PullRequest};
use serde_json::json;

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
    let models = hive.models.clone();
    let begun = hive.relays.begin_with("model_pull", async move |job| {
        let pulled = tokio::select! {
            () = job.cancelled() => return job.cancelled_end(),
            pulled = models.pull(model.clone(), Some(job.emitter())) => pulled,
        };
        finish(job, pulled.map(|path| json!({"model": model, "path": path})));
    });
    match begun {
        Ok(id) => respond(hive.relays.jobs(), id, Form::Events).await,
        Err(error) => job_refusal(&error).into_response(),
    }
}
