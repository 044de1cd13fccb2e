use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use completion_relay::{Form, job_refusal, respond};
use http_guard::ApiError;
use narration_core::job_span;
use rbee_api::{Capabilities, EVENT_ERROR, Health, WorkerList};
use tracing::Instrument as _;

use crate::{Hive, devices};

pub(super) async fn health(State(hive): State<Hive>) -> Json<Health> {
    Json(hive.health())
}

pub(super) async fn capabilities() -> Result<Json<Capabilities>, ApiError> {
    devices::capabilities().map(Json).map_err(ApiError::internal)
}

pub(super) async fn workers(State(hive): State<Hive>) -> Json<WorkerList> {
    Json(hive.pool.list().await)
}

/// Replaces the workers that run stale binaries; answers with the events of doing so.
pub(super) async fn update_workers(State(hive): State<Hive>) -> Response {
    let job = match hive.jobs.create("workers_update") {
        Ok(job) => job,
        Err(error) => return job_refusal(&error).into_response(),
    };
    let (jobs, id) = (hive.jobs.clone(), job.id());
    let updating = async move {
        let emitter = job.emitter();
        let updated = tokio::select! {
            () = job.cancelled() => return job.cancelled_end(),
            updated = hive.pool.update(&emitter) => updated,
        };
        match updated {
            Ok(()) => job.complete(),
            Err(body) => {
                job.emit(Some(EVENT_ERROR), super::json(&body));
                job.fail(body.error.message);
            }
        }
    };
    tokio::spawn(updating.instrument(job_span(&id.to_string())));
    respond(&jobs, id, Form::Events).await
}
