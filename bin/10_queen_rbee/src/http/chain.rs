use axum::{Json, extract::State};
use rbee_api::{Health, HiveList, WorkerList};

use crate::Queen;

pub(super) async fn health(State(queen): State<Queen>) -> Json<Health> {
    Json(queen.health())
}

pub(super) async fn hives(State(queen): State<Queen>) -> Json<HiveList> {
    Json(queen.hives.list().await)
}

pub(super) async fn workers(State(queen): State<Queen>) -> Json<WorkerList> {
    Json(queen.hives.workers().await)
}
