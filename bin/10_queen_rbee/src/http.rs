//! The queen's routes.

mod completions; // OpenAI's endpoints
mod jobs; // work with a stream of events
mod chain; // health, hives, workers
mod models; // names and files

use axum::{
    Router,
    routing::{delete, get, post},
};
use http_guard::{Guard, fallbacks, require_token};

use crate::Queen;

/// All routes of `queen`, guarded for a listener on the loopback `port`.
pub fn router(queen: Queen, port: u16) -> Router {
    let managed = Router::new()
        .route("/v1/jobs", post(jobs::create))
        .route("/v1/jobs/{id}", delete(jobs::cancel))
        .route("/v1/models/store/{*name}", delete(models::remove))
        .route_layer(require_token(queen.token.clone()));
    let open = Router::new()
        .route("/health", get(chain::health))
        .route("/v1/jobs", get(jobs::list))
        .route("/v1/jobs/{id}", get(jobs::info))
        .route("/v1/jobs/{id}/stream", get(jobs::stream))
        .route("/v1/hives", get(chain::hives))
        .route("/v1/workers", get(chain::workers))
        .route("/v1/models", get(models::openai_list))
        .route("/v1/models/store", get(models::list))
        .route("/v1/chat/completions", post(completions::chat))
        .route("/v1/completions", post(completions::text))
        .route("/v1/embeddings", post(completions::embeddings));
    fallbacks(managed.merge(open)).layer(Guard::loopback(port).layer()).with_state(queen)
}
