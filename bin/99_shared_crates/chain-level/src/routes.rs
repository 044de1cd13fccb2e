//! What can be asked about jobs, the same on every level.

use std::iter;

use axum::{
    Extension, Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
    routing::{delete, get, post},
};
use http_guard::{ApiError, ApiJson, ApiPath, require_token};
use job_server::{
    Error, JobId,
    sse::{SseOptions, last_event_id, owner, sse_response},
};
use rbee_api::{ErrorCode, JobInfo, JobList, JobRemains, ModelReach, paths};

use crate::{next::NextLevel, relays::Relays, transfer::Transfer};

/// What a JSON number can say exactly everywhere; counting from there on does not overflow either.
const EVENT_ID_MAX: u64 = 1 << 53;

/// `GET /v1/jobs`, and of one job `GET`, its `stream`, `DELETE`, its `release` to a later generation,
/// and `PUT` by whoever read it from a generation that died. The list and the last three take the
/// token; for the others the job's id is enough, which is random and told to nobody else. A job that
/// an earlier generation has comes here when it is asked for.
pub fn job_routes<N: NextLevel>(relays: Relays<N>) -> Router {
    let managed = Router::new()
        .route(paths::JOBS, get(list))
        .route(paths::JOB, delete(cancel).put(restore))
        .route(paths::JOB_RELEASE, post(release))
        .route_layer(require_token(relays.token().clone()));
    Router::new()
        .route(paths::JOB, get(info))
        .route(paths::JOB_STREAM, get(stream))
        .merge(managed)
        .with_state(relays)
}

async fn list<N: NextLevel>(State(relays): State<Relays<N>>) -> Json<JobList> {
    Json(JobList { jobs: relays.jobs().history().await.into_iter().map(JobInfo::from).collect() })
}

async fn info<N: NextLevel>(
    State(relays): State<Relays<N>>,
    ApiPath(id): ApiPath<String>,
) -> Result<Json<JobInfo>, ApiError> {
    let (id, known) = found(&relays, &id).await?;
    Ok(Json(known.ok_or(Error::Unknown { id })?.into()))
}

/// The job's events, from the one after `Last-Event-ID`; whoever only chats gets the answer's alone,
/// since the others tell of processes and files.
async fn stream<N: NextLevel>(
    State(relays): State<Relays<N>>,
    reach: Option<Extension<ModelReach>>,
    ApiPath(id): ApiPath<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let after = last_event_id(&headers)?;
    let id = here(&relays, &id).await?;
    if let Some(owner) = owner(&headers)? {
        relays.jobs().own(&id, owner)?;
    }
    let subscription = relays.jobs().subscribe(&id, after)?;
    let options = match reach {
        Some(Extension(ModelReach::Stored)) => SseOptions::openai(),
        _ => SseOptions::named(),
    };
    Ok(sse_response(subscription, options))
}

async fn cancel<N: NextLevel>(
    State(relays): State<Relays<N>>,
    ApiPath(id): ApiPath<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let id = here(&relays, &id).await?;
    relays.jobs().cancel(&id, owner(&headers)?)?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Lets the job go to whoever asks, which is a later generation of this process.
async fn release<N: NextLevel>(
    State(relays): State<Relays<N>>,
    ApiPath(id): ApiPath<String>,
) -> Result<Json<Transfer>, ApiError> {
    let id = id.parse()?;
    let released = relays.release(id).await;
    Ok(Json(released.ok_or(Error::Unknown { id })?))
}

/// Goes on with a job whose process died, behind what the one who asks has of it.
async fn restore<N: NextLevel>(
    State(relays): State<Relays<N>>,
    ApiPath(id): ApiPath<String>,
    ApiJson(remains): ApiJson<JobRemains>,
) -> Result<StatusCode, ApiError> {
    let id = id.parse()?;
    require_plausible(remains.last_event_id)?;
    for origin in iter::successors(Some(&remains.origin), |origin| origin.origin.as_deref()) {
        // It becomes a part of a path at the next level.
        let _: JobId = origin.job_id.parse()?;
        require_plausible(origin.last_event_id)?;
    }
    relays.restore(id, remains)?;
    Ok(StatusCode::NO_CONTENT)
}

fn require_plausible(event_id: u64) -> Result<(), ApiError> {
    if event_id > EVENT_ID_MAX {
        let message = format!("no stream has {event_id} events");
        return Err(ApiError::new(ErrorCode::InvalidLastEventId, message));
    }
    Ok(())
}

async fn here<N: NextLevel>(relays: &Relays<N>, id: &str) -> Result<JobId, ApiError> {
    Ok(found(relays, id).await?.0)
}

/// Makes sure that the job is here, if any generation has it, or what outlived one; says what is known.
async fn found<N: NextLevel>(
    relays: &Relays<N>,
    id: &str,
) -> Result<(JobId, Option<job_server::JobInfo>), ApiError> {
    let id = id.parse()?;
    relays.fetch(id).await;
    let known = match relays.jobs().info(&id) {
        Some(known) => Some(known),
        None => relays.jobs().recall(&id).await,
    };
    Ok((id, known))
}
