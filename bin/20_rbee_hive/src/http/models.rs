use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use chain_level::{Form, respond};
use http_guard::{ApiError, ApiJson, ApiPath};
use rbee_api::{ModelList, ModelRemoved, PullRequest};
use serde_json::json;

use crate::Hive;

pub(super) async fn list(State(hive): State<Hive>) -> Result<Json<ModelList>, ApiError> {
    Ok(Json(hive.models.list().await?))
}

pub(super) async fn remove(
    State(hive): State<Hive>,
    ApiPath(name): ApiPath<String>,
) -> Result<Json<ModelRemoved>, ApiError> {
    Ok(Json(hive.models.remove(name).await?))
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
        job.finish(pulled.map(|path| json!({"model": model, "path": path})));
    });
    match begun {
        Ok(id) => respond(hive.relays.jobs(), id, Form::Events).await,
        Err(error) => ApiError::from(error).into_response(),
    }
}
