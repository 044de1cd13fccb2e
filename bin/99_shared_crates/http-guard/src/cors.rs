//! What a browser has to be told so that a page of another origin may use this server.

use axum::{
    extract::Request,
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse as _, Response},
};

/// For how long a browser need not ask again, in seconds.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");

/// Whether a browser asks by this what it may send.
pub(crate) fn is_preflight(request: &Request) -> bool {
    request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// What a page may send. It carries no key, and answers nothing of what is asked for.
pub(crate) fn preflight() -> Response {
    let network = HeaderName::from_static("access-control-allow-private-network");
    let headers = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, DELETE")),
        (
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            HeaderValue::from_static(
                "anthropic-beta, anthropic-dangerous-direct-browser-access, anthropic-version, \
                 authorization, content-type, last-event-id, x-api-key, x-rbee-events, \
                 x-rbee-fresh, x-request-id",
            ),
        ),
        (header::ACCESS_CONTROL_MAX_AGE, MAX_AGE),
        (network, HeaderValue::from_static("true")),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

/// Lets the pages of `origin` read the response.
pub(crate) fn readable_by(origin: &HeaderValue, mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    headers.insert(
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static("retry-after, x-rbee-ignored, x-rbee-job, x-request-id"),
    );
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    response
}
