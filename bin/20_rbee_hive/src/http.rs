//! The hive's routes.

mod host; // health, capabilities, workers
mod models; // the store

use axum::{
    Router,
    routing::{delete, get, post},
};
use chain_level::{Level as _, completion_routes, job_routes, metrics_route, told_routes};
use http_guard::{Guard, fallbacks, require_token};
use rbee_api::paths;

use crate::Hive;

/// All routes of `hive`, guarded for a listener on the loopback `port`; without one, on a Unix socket
/// that no other user reaches.
pub fn router(hive: Hive, port: impl Into<Option<u16>>) -> Router {
    let managed = Router::new()
        .route(paths::MODEL_PULL, post(models::pull))
        .route(paths::STORED_MODEL, delete(models::remove))
        .route(paths::MODEL_LOAD, post(models::load))
        .route(paths::MODEL_UNLOAD, post(models::unload))
        .route(paths::WORKERS_UPDATE, post(host::update_workers))
        .route(paths::LEAVING, get(host::leaving))
        .route_layer(require_token(hive.token.clone()));
    let open = Router::new()
        .route(paths::HEALTH, get(host::health))
        .route(paths::CAPABILITIES, get(host::capabilities))
        .route(paths::WORKERS, get(host::workers))
        .route(paths::MODEL_STORE, get(models::list))
        .route(paths::STORED_MODEL, get(models::show));
    let access = hive.access();
    let relays = hive.relays.clone();
    let told = told_routes(hive.told.clone(), hive.daemon.clone(), hive.token.clone());
    let metrics = metrics_route(hive.pool.level().metrics().clone(), hive.token.clone());
    let routes = managed.merge(open).with_state(hive).merge(told);
    let routes = routes.merge(completion_routes(relays.clone())).merge(job_routes(relays));
    let routes = routes.merge(metrics);
    let guard = port.into().map_or_else(Guard::unix, Guard::loopback);
    fallbacks(routes).layer(guard.access(access).layer())
}
