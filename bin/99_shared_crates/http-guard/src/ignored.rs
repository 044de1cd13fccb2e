use axum::{
    http::{HeaderName, HeaderValue},
    response::Response,
};
use rbee_api::HEADER_IGNORED;

/// How many bytes the list of what was ignored may have.
const IGNORED_MAX: usize = 1024;

/// Says in a header, and in the log, which members of a request had no effect.
pub fn list_ignored(names: &[String], response: Response) -> Response {
    if names.is_empty() {
        return response;
    }
    tracing::info!(?names, "members of a request have no effect");
    let mut list = names.join(", ").escape_default().to_string();
    list.truncate(IGNORED_MAX);
    match HeaderValue::try_from(list) {
        Ok(list) => say_ignored(&list, response),
        Err(_) => response,
    }
}

/// The same of a list that another process has made, behind what is listed already.
pub fn say_ignored(list: &HeaderValue, mut response: Response) -> Response {
    let name = HeaderName::from_static(HEADER_IGNORED);
    response.headers_mut().append(name, list.clone());
    response
}
