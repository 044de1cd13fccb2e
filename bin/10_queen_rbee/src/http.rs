//! The queen's routes.

mod completions; // OpenAI's endpoints
mod jobs; // work that is begun by name
mod chain; // health, hives, workers
mod models; // names and files

use axum::{
    Router,
    routing::{delete, get, post},
};
use completion_relay::job_routes;
use http_guard::{Guard, fallbacks, require_token};

use crate::Queen;

/// All routes of `queen`, guarded for a listener on the loopback `port`.
pub fn router(queen: Queen, port: u16) -> Router {
    let managed = Router::new()
        .route("/v1/jobs", post(jobs::create))
        .route("/v1/models/store/{*name}", delete(models::remove))
        .route_layer(require_token(queen.token.clone()));
    let open = Router::new()
        .route("/health", get(chain::health))
        .route("/v1/hives", get(chain::hives))
        .route("/v1/workers", get(chain::workers))
        .route("/v1/models", get(models::openai_list))
        .route("/v1/models/store", get(models::list))
        .route("/v1/chat/completions", post(completions::chat))
        .route("/v1/completions", post(completions::text))
        .route("/v1/embeddings", post(completions::embeddings));
    let jobs = job_routes(queen.relays.clone());
    let routes = managed.merge(open).with_state(queen).merge(jobs);
    fallbacks(routes).layer(Guard::loopback(port).layer())
}
