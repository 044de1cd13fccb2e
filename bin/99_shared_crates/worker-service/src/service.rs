use std::{fmt, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode},
    response::Response,
    routing::{get, post},
};
use daemon_lifecycle::Pulse;
use http_guard::{ApiError, ApiPath};
use job_server::{
    JobId, JobServer, JobWriter, Limits,
    sse::{SseOptions, last_event_id, owner, sse_response},
};
use rbee_api::{HEADER_EVENTS, HEADER_JOB, Health, JobInfo, Lease as Renewed, Status, paths};

use crate::{Hold, Lease};

/// How long a stream waits for a reader who asked for ids to come back before it is cancelled.
const RECONNECT_GRACE: Duration = Duration::from_secs(15);

/// A hive that reads keeps up; what has ended is only of use to one that was just being replaced.
const LIMITS: Limits = Limits {
    max_jobs: 1024,
    retain: Duration::from_secs(30),
    absence: RECONNECT_GRACE,
    event_bytes_per_job: 4 << 20,
    event_bytes_of_running_jobs: 64 << 20,
    event_bytes_of_ended_jobs: 1 << 20,
    unread: Duration::ZERO,
    event_bytes_of_unread_jobs: 0,
};

/// How long what has ended is kept for a reader with ids who has not said that nothing is missing. A hive that
/// waits for whoever reads more slowly has by then taken what lies in its connection, or has given them up.
const UNREAD: Duration = Duration::from_mins(1);

/// Of what is kept only for that.
const UNREAD_BYTES: usize = 16 << 20;

/// Health, lease and streams of one worker. Clones are of the same worker.
#[derive(Clone)]
pub struct WorkerService {
    lease: Lease,
    /// The streams.
    jobs: JobServer,
    health: Arc<dyn Fn() -> Health + Send + Sync>,
}

impl WorkerService {
    /// `health` is asked at every `GET /health`.
    pub fn new(lease: Lease, health: impl Fn() -> Health + Send + Sync + 'static) -> Self {
        Self { lease, jobs: JobServer::new(LIMITS), health: Arc::new(health) }
    }

    /// The same for a worker whose streams nobody else can go on with: what its readers have not got is kept
    /// for them, until they say that they have all.
    #[must_use]
    pub fn keeping_what_is_unread(self) -> Self {
        let (unread, event_bytes_of_unread_jobs) = (UNREAD, UNREAD_BYTES);
        let limits = Limits { unread, event_bytes_of_unread_jobs, ..LIMITS };
        Self { jobs: JobServer::new(limits), ..self }
    }

    /// Waits until no stream is under way, and no reader is waited for who may have got less of one than was
    /// sent.
    pub async fn read_out(&self) {
        self.jobs.read_out(UNREAD).await;
    }

    /// Every route that all workers have.
    pub fn routes(&self) -> Router {
        Router::new()
            .route(paths::HEALTH, get(health))
            .route(paths::LEASE, post(renew_lease))
            .route(paths::JOB, get(job).delete(cancel))
            .route(paths::JOB_STREAM, get(stream))
            .with_state(self.clone())
    }

    /// Those by which whoever keeps the worker knows that it is well, to be answered on a thread of their
    /// own: one whose other threads come to nothing says that it is stuck.
    pub fn routes_beside(&self) -> Router {
        let pulse = Pulse::start();
        let health = async move |State(worker): State<Self>| {
            let mut health = (worker.health)();
            if pulse.has_stopped() {
                tracing::error!("no task has come to its turn for some time");
                health.status = Status::Stuck;
            }
            Json(health)
        };
        Router::new()
            .route(paths::HEALTH, get(health))
            .route(paths::LEASE, post(renew_lease))
            .with_state(self.clone())
    }

    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Keeps the worker from leaving while a request is answered.
    #[must_use]
    pub fn hold(&self) -> Hold {
        self.lease.hold()
    }

    pub fn jobs(&self) -> &JobServer {
        &self.jobs
    }

    /// A stream that begins now, and the response that reads it from its first event: with ids and an
    /// end for whoever asked for them, else OpenAI's to the letter. The reader's going away
    /// cancels it.
    ///
    /// # Errors
    ///
    /// When as many streams are under way as there is room for.
    pub fn begin(&self, headers: &HeaderMap) -> Result<(JobWriter, Response), ApiError> {
        let job = self.jobs.create("completion")?;
        let response = self.read(job.id(), headers)?;
        Ok((job, response))
    }

    fn read(&self, id: JobId, headers: &HeaderMap) -> Result<Response, ApiError> {
        let events = headers.get(HEADER_EVENTS).is_some_and(|value| value.as_bytes() == b"1");
        let (grace, options) = match events {
            true => (RECONNECT_GRACE, SseOptions::named()),
            false => (Duration::ZERO, SseOptions::openai()),
        };
        let subscription = self.jobs.subscribe(&id, None)?.cancel_on_drop(grace);
        let mut response = sse_response(subscription, options);
        if let Ok(value) = HeaderValue::from_str(&id.to_string()) {
            response.headers_mut().insert(HeaderName::from_static(HEADER_JOB), value);
        }
        Ok(response)
    }
}

impl fmt::Debug for WorkerService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerService").field("lease", &self.lease).finish_non_exhaustive()
    }
}

async fn health(State(worker): State<WorkerService>) -> Json<Health> {
    Json((worker.health)())
}

async fn renew_lease(State(worker): State<WorkerService>) -> Json<Renewed> {
    worker.lease.renew();
    let active_requests = u32::try_from(worker.lease.requests()).unwrap_or(u32::MAX);
    Json(Renewed { lease_s: worker.lease.duration().as_secs_f64(), active_requests })
}

/// Whether the stream is here, and how it is.
async fn job(
    State(worker): State<WorkerService>,
    ApiPath(id): ApiPath<String>,
) -> Result<Json<JobInfo>, ApiError> {
    let id = id.parse()?;
    let job = worker.jobs.info(&id).ok_or(job_server::Error::Unknown { id })?;
    Ok(Json(job.into()))
}

/// The stream's events, from the one after `Last-Event-ID`.
async fn stream(
    State(worker): State<WorkerService>,
    ApiPath(id): ApiPath<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let (id, after) = (id.parse()?, last_event_id(&headers)?);
    if let Some(owner) = owner(&headers)? {
        worker.jobs.own(&id, owner)?;
    }
    let subscription = worker.jobs.subscribe(&id, after)?;
    Ok(sse_response(subscription, SseOptions::named()))
}

async fn cancel(
    State(worker): State<WorkerService>,
    ApiPath(id): ApiPath<String>,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    worker.jobs.cancel(&id.parse()?, owner(&headers)?)?;
    Ok(StatusCode::NO_CONTENT)
}
