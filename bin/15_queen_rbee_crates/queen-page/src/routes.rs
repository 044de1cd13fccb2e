use axum::{
    Router,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::get,
};

use crate::assets::{ASSETS, Asset};

/// What the page may load and do: its own files, and requests to whom it came from. Nothing inline,
/// nothing from elsewhere, no text that becomes markup, no frame around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
     require-trusted-types-for 'script'; trusted-types 'none'";

const HEADERS: [(HeaderName, &str); 6] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    // Asked about each time, and sent only when it is another one.
    (header::CACHE_CONTROL, "no-cache"),
];

/// A route for each file.
pub fn routes() -> Router {
    ASSETS.iter().fold(Router::new(), |routes, asset| {
        let body = asset.body();
        let etag = format!("\"{}\"", &blake3::hash(body.as_bytes()).to_hex()[..32]);
        let etag = HeaderValue::try_from(etag).expect("hexadecimal digits are fit for a header");
        let answer = move |headers: HeaderMap| {
            let response = answer(*asset, &body, &etag, &headers);
            std::future::ready(response)
        };
        routes.route(asset.path, get(answer))
    })
}

fn answer(asset: Asset, body: &str, etag: &HeaderValue, asked: &HeaderMap) -> Response {
    let mut response = if is_known(asked, etag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        body.to_owned().into_response()
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(asset.content_type));
    headers.insert(header::ETAG, etag.clone());
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Whether the client says that it has this very file.
fn is_known(asked: &HeaderMap, etag: &HeaderValue) -> bool {
    let known = asked.get_all(header::IF_NONE_MATCH).iter();
    let mut known =
        known.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    known.any(|known| known.trim().trim_start_matches("W/").as_bytes() == etag.as_bytes())
}
