use axum::{
    Extension, Json,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse as _, Response},
};
use chain_level::{Form, Wanted, respond, to_its_end};
use http_guard::{ApiError, ApiJson, ApiPath};
use rbee_api::{
    HEADER_FRESH, LoadRequest, Model, ModelList, ModelReach, ModelRemoved, ModelUnloaded,
    PullRequest, UnloadRequest,
};
use serde_json::json;

use crate::Hive;

pub(super) async fn list(State(hive): State<Hive>) -> Result<Json<ModelList>, ApiError> {
    Ok(Json(hive.models.list().await?))
}

pub(super) async fn show(
    State(hive): State<Hive>,
    ApiPath(name): ApiPath<String>,
) -> Result<Json<Model>, ApiError> {
    Ok(Json(hive.models.show(&name).await?))
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

/// Loads the model; answers with the events of doing so. A worker with a stale binary will not do, unless
/// the request says that it does.
pub(super) async fn load(
    State(hive): State<Hive>,
    Extension(reach): Extension<ModelReach>,
    headers: HeaderMap,
    ApiJson(LoadRequest { model, keep_alive, part }): ApiJson<LoadRequest>,
) -> Response {
    let fresh = headers.get(HEADER_FRESH).is_none_or(|fresh| fresh.as_bytes() != b"0");
    let (pool, spelling) = (hive.pool.clone(), hive.models.spelling(&model));
    let begun = hive.relays.begin_with("model_load", async move |job| {
        if let Some(part) = part {
            match spelling {
                Ok(name) => pool.level().start_part(&name, part),
                Err(body) => return job.fail_with(body),
            }
        }
        let wanted = Wanted { job: Some(job.emitter()), reach, ..Wanted::of(fresh, false) };
        let loaded = tokio::select! {
            () = job.cancelled() => return job.cancelled_end(),
            loaded = pool.acquire(&model, wanted) => loaded,
        };
        job.finish(loaded.map(|(worker, _busy)| {
            if let Some(stay) = keep_alive {
                pool.level().keep(&worker, stay);
            }
            json!({"model": worker.model, "worker": worker.id})
        }));
    });
    match begun {
        Ok(id) => respond(hive.relays.jobs(), id, Form::Events).await,
        Err(error) => ApiError::from(error).into_response(),
    }
}

/// Ends the model's worker when it has answered what it has.
pub(super) async fn unload(
    State(hive): State<Hive>,
    ApiJson(UnloadRequest { model, lost }): ApiJson<UnloadRequest>,
) -> Result<Json<ModelUnloaded>, ApiError> {
    let name = hive.models.spelling(&model)?;
    let occupant = hive.pool.places().occupant(&name);
    let is_part = occupant.is_some_and(|running| running.handle.part.is_some());
    let was_loaded = if is_part || lost.is_some() {
        let (pool, name) = (hive.pool.clone(), name.clone());
        to_its_end(async move { pool.level().end_part(&pool, &name, lost).await }).await?
    } else {
        hive.pool.vacate(&name, "which is to be unloaded")
    };
    Ok(Json(ModelUnloaded { name, was_loaded }))
}
