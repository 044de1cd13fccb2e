use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use chain_level::{Form, Wanted, respond};
use http_guard::ApiError;
use rbee_api::{Capabilities, Health, Leaving, WorkerList, WorkerState};

use crate::{Hive, devices};

pub(super) async fn health(State(hive): State<Hive>) -> Json<Health> {
    Json(hive.health())
}

pub(super) async fn capabilities() -> Result<Json<Capabilities>, ApiError> {
    devices::capabilities().map(Json).map_err(ApiError::internal)
}

pub(super) async fn workers(State(hive): State<Hive>) -> Json<WorkerList> {
    let workers = hive.pool.list().await;
    let silent = hive.pool.level().silent(&workers);
    let mut leaving = hive.pool.list_leaving().await;
    for worker in leaving.iter_mut().filter(|worker| worker.state == WorkerState::Ready) {
        worker.state = WorkerState::Draining;
    }
    Json(WorkerList { workers, silent, leaving, waiting: hive.pool.waiting() })
}

pub(super) async fn leaving(State(hive): State<Hive>) -> Json<Vec<Leaving>> {
    Json(hive.relays.leaving().await)
}

/// Replaces the workers that run stale binaries; answers with the events of doing so.
pub(super) async fn update_workers(State(hive): State<Hive>) -> Response {
    let pool = hive.pool.clone();
    let begun = hive.relays.begin_with("workers_update", async move |job| {
        let wanted = Wanted { job: Some(job.emitter()), ..Wanted::of(true, false) };
        let updated = tokio::select! {
            () = job.cancelled() => return job.cancelled_end(),
            updated = pool.update(&wanted) => updated,
        };
        match updated {
            Ok(()) => job.complete(),
            Err(body) => job.fail_with(body),
        }
    });
    match begun {
        Ok(id) => respond(hive.relays.jobs(), id, Form::Events).await,
        Err(error) => ApiError::from(error).into_response(),
    }
}
