use std::error::Error as _;

use axum::{
    Router,
    extract::{
        FromRequest, FromRequestParts, Path, Query, Request,
        rejection::{BytesRejection, PathRejection, QueryRejection},
    },
    http::{Method, StatusCode, Uri, request::Parts},
};
use bytes::Bytes;
use rbee_api::ErrorCode;
use serde::de::DeserializeOwned;

use crate::{
    bodies::BodyRefused,
    error::ApiError,
    guard::{is_json, not_json},
};

/// A JSON body; what cannot be read is refused with the field at fault.
#[derive(Debug, Clone, Copy, Default)]
pub struct ApiJson<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for ApiJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        if !is_json(request.headers()) {
            return Err(not_json());
        }
        let body = Bytes::from_request(request, state).await?;
        let mut reader = serde_json::Deserializer::from_slice(&body);
        let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
            let (path, error) = (error.path().to_string(), error.inner());
            let refusal = unreadable(error);
            // A dot is the path of the whole body.
            if error.is_data() && path != "." { refusal.param(path) } else { refusal }
        })?;
        reader.end().map_err(|error| unreadable(&error))?;
        Ok(Self(value))
    }
}

/// A body as it came.
#[derive(Debug, Clone, Default)]
pub struct ApiBytes(pub Bytes);

impl<S: Send + Sync> FromRequest<S> for ApiBytes {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        Ok(Self(Bytes::from_request(request, state).await?))
    }
}

/// The parameters in a path; those that do not parse make the path unknown.
#[derive(Debug, Clone, Copy, Default)]
pub struct ApiPath<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for ApiPath<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Path(value) = Path::from_request_parts(parts, state).await?;
        Ok(Self(value))
    }
}

/// The query of a URL.
#[derive(Debug, Clone, Copy, Default)]
pub struct ApiQuery<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for ApiQuery<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Query(value) = Query::from_request_parts(parts, state).await?;
        Ok(Self(value))
    }
}

/// Answers unknown paths with 404 and wrong methods with 405, in the envelope.
///
/// To be called when all routes are there: those added later answer 405 without a body.
pub fn fallbacks<S: Clone + Send + Sync + 'static>(router: Router<S>) -> Router<S> {
    wrong_methods(router.fallback(unknown_path))
}

/// Answers wrong methods with 405, in the envelope: for routes that are merged with others.
pub fn wrong_methods<S: Clone + Send + Sync + 'static>(router: Router<S>) -> Router<S> {
    router.method_not_allowed_fallback(wrong_method)
}

async fn unknown_path(uri: Uri) -> ApiError {
    ApiError::new(ErrorCode::UnknownPath, format!("there is nothing at `{}`", uri.path()))
}

async fn wrong_method(method: Method, uri: Uri) -> ApiError {
    let message = format!("`{}` does not take {method}", uri.path());
    ApiError::new(ErrorCode::MethodNotAllowed, message)
}

impl From<BytesRejection> for ApiError {
    fn from(rejection: BytesRejection) -> Self {
        let causes = std::iter::successors(rejection.source(), |cause| (*cause).source());
        let mut refusals = causes.filter_map(|cause| cause.downcast_ref::<BodyRefused>());
        if let Some(refused) = refusals.next() {
            return (*refused).into();
        }
        match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => {
                Self::new(ErrorCode::BodyTooLarge, "the body is too large")
            }
            _ => Self::new(ErrorCode::BodyUnreadable, rejection.body_text()),
        }
    }
}

impl From<PathRejection> for ApiError {
    fn from(rejection: PathRejection) -> Self {
        match rejection {
            PathRejection::FailedToDeserializePathParams(error) => {
                Self::new(ErrorCode::UnknownPath, error.body_text())
            }
            // The handler and its route disagree.
            other => Self::internal(other),
        }
    }
}

impl From<QueryRejection> for ApiError {
    fn from(rejection: QueryRejection) -> Self {
        Self::new(ErrorCode::InvalidQuery, rejection.body_text())
    }
}

fn unreadable(error: &serde_json::Error) -> ApiError {
    if error.is_data() {
        ApiError::new(ErrorCode::InvalidBody, format!("the body is not as it should be: {error}"))
    } else {
        ApiError::new(ErrorCode::InvalidJson, format!("the body is not JSON: {error}"))
    }
}
