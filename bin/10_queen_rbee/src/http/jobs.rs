use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
};
use completion_relay::job_refusal;
use http_guard::{ApiError, ApiJson, ApiPath};
use job_server::{
    Error, JobId, ParseJobIdError,
    sse::{SseOptions, last_event_id, sse_response},
};
use rbee_api::{JobCreated, JobInfo, JobList, JobRequest};

use crate::Queen;

pub(super) async fn create(
    State(queen): State<Queen>,
    ApiJson(request): ApiJson<JobRequest>,
) -> Result<(StatusCode, Json<JobCreated>), ApiError> {
    let job_id = queen.begin(request).map_err(|error| job_refusal(&error))?.to_string();
    let sse_url = format!("/v1/jobs/{job_id}/stream");
    Ok((StatusCode::CREATED, Json(JobCreated { job_id, sse_url })))
}

pub(super) async fn list(State(queen): State<Queen>) -> Json<JobList> {
    Json(JobList { jobs: queen.jobs.list().into_iter().map(JobInfo::from).collect() })
}

pub(super) async fn info(
    State(queen): State<Queen>,
    ApiPath(id): ApiPath<String>,
) -> Result<Json<JobInfo>, ApiError> {
    let id = parse(&id)?;
    let info = queen.jobs.info(&id).ok_or_else(|| job_refusal(&Error::Unknown { id }))?;
    Ok(Json(info.into()))
}

/// The job's events, from the one after `Last-Event-ID`.
pub(super) async fn stream(
    State(queen): State<Queen>,
    ApiPath(id): ApiPath<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let after = last_event_id(&headers)
        .map_err(|error| ApiError::invalid("invalid_last_event_id", error.to_string()))?;
    let subscription =
        queen.jobs.subscribe(&parse(&id)?, after).map_err(|error| job_refusal(&error))?;
    Ok(sse_response(subscription, SseOptions::named()))
}

pub(super) async fn cancel(
    State(queen): State<Queen>,
    ApiPath(id): ApiPath<String>,
) -> Result<Response, ApiError> {
    queen.jobs.cancel(&parse(&id)?).map_err(|error| job_refusal(&error))?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn parse(id: &str) -> Result<JobId, ApiError> {
    id.parse().map_err(|error: ParseJobIdError| {
        ApiError::not_found("job_not_found", format!("there is no such job: {error}"))
    })
}
