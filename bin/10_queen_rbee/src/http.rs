//! The queen's routes.

mod jobs; // work that is begun by name
mod chain; // health, hives, workers
mod models; // names and files
mod keys; // who else is let in
mod events; // what happens, and the page that shows it
mod openapi; // all of these, described
mod apis; // APIs other than OpenAI's chat completions

use axum::{
    Router,
    middleware::from_fn,
    routing::{delete, get, post},
};
use chain_level::{Level as _, completion_routes, job_routes, metrics_route};
use http_guard::{Guard, fallbacks, require_token, require_token_of_others};
use rbee_api::paths;

use self::apis::ollama;
use crate::Queen;

/// All routes of `queen`, guarded for a listener on the loopback `port`.
pub fn router(queen: Queen, port: u16) -> Router {
    let managed = Router::new()
        .route(paths::JOBS, post(jobs::create))
        .route(paths::STORED_MODEL, delete(models::remove))
        .route(paths::KEYS, get(keys::list).post(keys::add))
        .route(paths::KEY, delete(keys::revoke))
        .route(paths::MODEL_UNLOAD, post(models::unload))
        .route(paths::OLLAMA_PULL, post(ollama::pull))
        .route(paths::OLLAMA_COPY, post(ollama::copy))
        .route(paths::OLLAMA_DELETE, delete(ollama::delete))
        .route_layer(require_token(queen.token.clone()));
    let own = Router::new()
        .route(paths::HIVES, get(chain::hives))
        .route(paths::WORKERS, get(chain::workers))
        .route(paths::MODEL_STORE, get(models::list))
        .route(paths::STORED_MODEL, get(models::show))
        .route(paths::OLLAMA_PS, get(ollama::running))
        .route_layer(require_token_of_others(queen.token.clone()));
    let open = Router::new()
        .route(paths::HEALTH, get(chain::health))
        .route(paths::OPENAPI, get(openapi::serve))
        .route(paths::MODELS, get(models::public_list))
        .route(paths::MODEL, get(models::openai_model))
        .route(paths::RESPONSES, post(apis::responses))
        .route(paths::MESSAGES, post(apis::messages))
        .route(paths::MESSAGES_COUNT, post(apis::count_tokens))
        .route(paths::OLLAMA_CHAT, post(ollama::chat))
        .route(paths::OLLAMA_GENERATE, post(ollama::generate))
        .route(paths::OLLAMA_EMBED, post(ollama::embed))
        .route(paths::OLLAMA_EMBEDDINGS, post(ollama::embeddings))
        .route(paths::OLLAMA_TAGS, get(ollama::tags))
        .route(paths::OLLAMA_SHOW, post(ollama::show))
        .route(paths::OLLAMA_VERSION, get(ollama::version));
    let (access, names, relays) = (queen.access(), queen.names(), queen.relays.clone());
    let (page, events) = (events::page(&queen, port), events::routes(queen.clone()));
    let metrics = metrics_route(queen.hives.metrics().clone(), queen.token.clone());
    let routes = managed.merge(own).merge(open).with_state(queen).merge(events);
    let routes = routes.merge(completion_routes(relays.clone())).merge(job_routes(relays));
    let routes = routes.merge(metrics);
    let guard = Guard::loopback(port).names(names).access(access);
    fallbacks(routes).layer(guard.layer()).layer(from_fn(apis::in_their_own_shape)).merge(page)
}
