use axum::{Json, extract::State, http::StatusCode};
use http_guard::{ApiError, ApiJson, ApiPath, KeysError};
use rbee_api::{ErrorCode, KeyCreated, KeyInfo, KeyList, KeyRequest};

use crate::Queen;

pub(super) async fn list(State(queen): State<Queen>) -> Result<Json<KeyList>, ApiError> {
    let keys = queen.keys.list().map_err(refusal)?;
    let info = |key: &http_guard::Key| KeyInfo {
        name: key.name.clone(),
        scope: key.scope,
        created: key.created,
    };
    Ok(Json(KeyList { keys: keys.iter().map(info).collect() }))
}

/// The answer is the only time that the secret is told.
pub(super) async fn add(
    State(queen): State<Queen>,
    ApiJson(request): ApiJson<KeyRequest>,
) -> Result<(StatusCode, Json<KeyCreated>), ApiError> {
    let key = queen.keys.add(&request.name, request.scope).map_err(refusal)?;
    Ok((StatusCode::CREATED, Json(KeyCreated { name: request.name, key })))
}

pub(super) async fn revoke(
    State(queen): State<Queen>,
    ApiPath(name): ApiPath<String>,
) -> Result<StatusCode, ApiError> {
    queen.keys.revoke(&name).map_err(refusal)?;
    Ok(StatusCode::NO_CONTENT)
}

fn refusal(error: KeysError) -> ApiError {
    match error {
        KeysError::BadName { .. } => ApiError::new(ErrorCode::InvalidKeyName, error.to_string()),
        KeysError::NameTaken { .. } => ApiError::new(ErrorCode::KeyPresent, error.to_string()),
        KeysError::Unknown { .. } => ApiError::new(ErrorCode::KeyNotFound, error.to_string()),
        error => ApiError::internal(error),
    }
}
