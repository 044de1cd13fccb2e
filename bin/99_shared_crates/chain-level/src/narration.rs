use axum::{Router, extract::State, response::Response, routing::get};
use bytes::Bytes;
use daemon_lifecycle::Daemon;
use futures::{StreamExt as _, stream};
use http_guard::{Token, require_token};
use job_server::{JobId, JobServer, sse};
use narration_core::Narration;
use rbee_api::{event, paths, seen};
use tokio::sync::broadcast;

use crate::{Metrics, live::live};

/// What is kept for a listener who is slow; one who is slower loses the connection.
const QUEUE: usize = 256;

/// What a process narrates, for jobs or for nobody, to whoever listens.
#[derive(Debug, Clone)]
pub struct Told(broadcast::Sender<Bytes>);

impl Told {
    pub fn new() -> Self {
        Self(broadcast::Sender::new(QUEUE))
    }

    /// The narrations from now on, as JSON.
    pub fn listen(&self) -> broadcast::Receiver<Bytes> {
        self.0.subscribe()
    }

    /// Who knows a job's id may read it, so that is not told.
    fn tell(&self, narration: Narration) {
        if self.0.receiver_count() > 0 {
            let narration = Narration { job_id: None, ..narration };
            // Whoever listened may have gone.
            drop(self.0.send(narration_core::json(&narration).into()));
        }
    }
}

impl Default for Told {
    fn default() -> Self {
        Self::new()
    }
}

/// A sink for `narration_core::NarrationLayer`: what is narrated on behalf of a job goes into the
/// job's events, everything to who listens to `told`, and builds that end are counted.
pub fn narrate_into(
    jobs: JobServer,
    told: Told,
    metrics: Metrics,
) -> impl Fn(Narration) + Send + Sync + 'static {
    move |narration| {
        metrics.narrated(&narration);
        let id = narration.job_id.as_deref().and_then(|id| id.parse::<JobId>().ok());
        if let Some(job) = id.and_then(|id| jobs.emitter(&id)) {
            job.emit(Some(event::NARRATION), narration_core::json(&narration));
        }
        told.tell(narration);
    }
}

/// `GET /v1/events` of a process that has nothing but its narrations to tell; for who has the token.
pub fn told_routes(told: Told, daemon: Daemon, token: Token) -> Router {
    Router::new()
        .route(paths::EVENTS, get(tell))
        .route_layer(require_token(token))
        .with_state((told, daemon))
}

async fn tell(State((told, daemon)): State<(Told, Daemon)>) -> Response {
    let narrations = stream::unfold(told.listen(), async |mut narrations| {
        Some((narrations.recv().await.ok()?, narrations))
    });
    live(&daemon, narrations.map(|narration| sse::frame(seen::NARRATION, &narration)))
}
