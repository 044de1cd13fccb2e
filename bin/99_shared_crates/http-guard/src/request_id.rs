use axum::{
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue},
    middleware::Next,
    response::Response,
};
use rbee_api::HEADER_REQUEST_ID;
use tracing::{Instrument as _, Span};

const NAME: HeaderName = HeaderName::from_static(HEADER_REQUEST_ID);

/// The longest id that is taken over, in bytes.
const ID_MAX: usize = 128;

/// Gives the request an id, if it has none that can be passed on: one header of letters, digits and
/// `-_.:/+=`, since it goes into logs and into the requests of the next level.
pub(crate) fn settle(headers: &mut HeaderMap) -> HeaderValue {
    let mut sent = headers.get_all(NAME).iter();
    if let (Some(id), None) = (sent.next(), sent.next())
        && is_plain(id.as_bytes())
    {
        return id.clone();
    }
    let id = new_id();
    headers.insert(NAME, id.clone());
    id
}

/// What is logged for the request stands within this.
pub(crate) fn span(id: &HeaderValue) -> Span {
    // Settled ids are ASCII.
    tracing::info_span!("request", id = id.to_str().unwrap_or_default())
}

/// Names the request in its response.
pub(crate) fn tell(id: &HeaderValue, response: &mut Response) {
    response.headers_mut().insert(NAME, id.clone());
}

/// For servers without a guard, whose clients are rbee's own: logs within the request's id, and names
/// it in the response. For [`axum::middleware::from_fn`].
pub async fn with_request_id(mut request: Request, next: Next) -> Response {
    let id = settle(request.headers_mut());
    let path = request.uri().path().to_owned();
    let answered = async {
        let response = next.run(request).await;
        tracing::info!(path, status = response.status().as_u16(), "answers a request");
        response
    };
    let mut response = answered.instrument(span(&id)).await;
    tell(&id, &mut response);
    response
}

fn is_plain(id: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/+=".contains(byte);
    !id.is_empty() && id.len() <= ID_MAX && id.iter().all(plain)
}

fn new_id() -> HeaderValue {
    let mut random = [0; 16];
    if getrandom::fill(&mut random).is_err() {
        return HeaderValue::from_static("unnumbered");
    }
    let id = format!("{:032x}", u128::from_ne_bytes(random));
    HeaderValue::try_from(id).unwrap_or(HeaderValue::from_static("unnumbered"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_cannot_be_passed_on_is_replaced_by_a_new_one() {
        let long = "x".repeat(ID_MAX + 1);
        for (sent, stays) in [
            (vec!["req_1.a-b:c/d"], true),
            (vec![], false),
            (vec![""], false),
            (vec!["a b"], false),
            (vec!["a\"b"], false),
            (vec![long.as_str()], false),
            (vec!["a", "b"], false),
        ] {
            let mut headers = HeaderMap::new();
            for id in &sent {
                headers.append(NAME, HeaderValue::from_str(id).unwrap());
            }
            let id = settle(&mut headers);
            assert_eq!(headers.get_all(NAME).iter().collect::<Vec<_>>(), [&id], "{sent:?}");
            assert_eq!(sent.first().is_some_and(|sent| id == *sent), stays, "{sent:?}");
            assert!(is_plain(id.as_bytes()), "{id:?}");
        }
    }
}
