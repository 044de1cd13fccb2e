use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode},
};
use http_guard::{ApiError, ApiJson};
use rbee_api::{JobCreated, JobRequest, paths};

use crate::Queen;

pub(super) async fn create(
    State(queen): State<Queen>,
    headers: HeaderMap,
    ApiJson(request): ApiJson<JobRequest>,
) -> Result<(StatusCode, Json<JobCreated>), ApiError> {
    let job_id = queen.accept(headers, request).await?.to_string();
    let sse_url = paths::job_stream(&job_id);
    Ok((StatusCode::CREATED, Json(JobCreated { job_id, sse_url })))
}
