use axum::{Extension, Json, extract::State};
use rbee_api::{Health, HiveList, ModelReach, WorkerList};

use crate::Queen;

pub(super) async fn health(
    State(queen): State<Queen>,
    Extension(reach): Extension<ModelReach>,
) -> Json<Health> {
    let health = queen.health();
    // Of the process and its files only its owner is told.
    Json(if reach == ModelReach::Stored { health.without_process() } else { health })
}

pub(super) async fn hives(State(queen): State<Queen>) -> Json<HiveList> {
    Json(queen.hives.list(queen.pool.places()).await)
}

pub(super) async fn workers(State(queen): State<Queen>) -> Json<WorkerList> {
    Json(queen.hives.workers(queen.pool.places()).await)
}
