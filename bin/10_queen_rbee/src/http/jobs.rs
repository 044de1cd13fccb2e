use axum::{Json, extract::State, http::StatusCode};
use completion_relay::job_refusal;
use http_guard::{ApiError, ApiJson};
use rbee_api::{JobCreated, JobRequest};

use crate::Queen;

pub(super) async fn create(
    State(queen): State<Queen>,
    ApiJson(request): ApiJson<JobRequest>,
) -> Result<(StatusCode, Json<JobCreated>), ApiError> {
    let job_id = queen.begin(request).map_err(|error| job_refusal(&error))?.to_string();
    let sse_url = format!("/v1/jobs/{job_id}/stream");
    Ok((StatusCode::CREATED, Json(JobCreated { job_id, sse_url })))
}
