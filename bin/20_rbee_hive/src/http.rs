//! The hive's routes.

mod completions; // what workers answer
mod host; // health, capabilities, workers
mod models; // the store

use axum::{
    Router,
    routing::{delete, get, post},
};
use completion_relay::job_routes;
use http_guard::{Guard, fallbacks, require_token};

use crate::Hive;

/// All routes of `hive`, guarded for a listener on the loopback `port`.
pub fn router(hive: Hive, port: u16) -> Router {
    let managed = Router::new()
        .route("/v1/models/pull", post(models::pull))
        .route("/v1/models/store/{*name}", delete(models::remove))
        .route("/v1/workers/update", post(host::update_workers))
        .route_layer(require_token(hive.token.clone()));
    let open = Router::new()
        .route("/health", get(host::health))
        .route("/v1/capabilities", get(host::capabilities))
        .route("/v1/workers", get(host::workers))
        .route("/v1/models/store", get(models::list))
        .route("/v1/chat/completions", post(completions::complete))
        .route("/v1/completions", post(completions::complete))
        .route("/v1/embeddings", post(completions::complete));
    let jobs = job_routes(hive.relays.clone());
    let routes = managed.merge(open).with_state(hive).merge(jobs);
    fallbacks(routes).layer(Guard::loopback(port).layer())
}
