//! The queen's routes.

mod jobs; // work that is begun by name
mod chain; // health, hives, workers
mod models; // names and files
mod keys; // who else is let in
mod apis; // Anthropic's API

use axum::{
    Router,
    middleware::from_fn,
    routing::{delete, get, post},
};
use chain_level::{completion_routes, job_routes};
use http_guard::{Guard, fallbacks, require_token, require_token_of_others};
use rbee_api::paths;

use crate::Queen;

/// All routes of `queen`, guarded for a listener on the loopback `port`.
pub fn router(queen: Queen, port: u16) -> Router {
    let managed = Router::new()
        .route(paths::JOBS, post(jobs::create))
        .route(paths::STORED_MODEL, delete(models::remove))
        .route(paths::KEYS, get(keys::list).post(keys::add))
        .route(paths::KEY, delete(keys::revoke))
        .route_layer(require_token(queen.token.clone()));
    let own = Router::new()
        .route(paths::HIVES, get(chain::hives))
        .route(paths::WORKERS, get(chain::workers))
        .route(paths::MODEL_STORE, get(models::list))
        .route_layer(require_token_of_others(queen.token.clone()));
    let open = Router::new()
        .route(paths::HEALTH, get(chain::health))
        .route(paths::MODELS, get(models::public_list))
        .route(paths::MESSAGES, post(apis::messages));
    let (access, names, relays) = (queen.access(), queen.names(), queen.relays.clone());
    let routes = managed.merge(own).merge(open).with_state(queen);
    let routes = routes.merge(completion_routes(relays.clone())).merge(job_routes(relays));
    let guard = Guard::loopback(port).names(names).access(access);
    fallbacks(routes).layer(guard.layer()).layer(from_fn(apis::in_their_own_shape))
}
