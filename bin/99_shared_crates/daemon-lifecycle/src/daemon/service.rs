use std::error::Error as StdError;

use hyper::{
    Request, Response,
    body::{Body, Incoming},
};
use tower::Service;

pub(super) type BoxError = Box<dyn StdError + Send + Sync>;

/// What answers a daemon's requests: any `tower` service of HTTP, such as an `axum::Router`.
pub trait HttpService:
    Service<
        Request<Incoming>,
        Response = Response<<Self as HttpService>::Body>,
        Error: Into<BoxError>,
        Future: Send,
    > + Clone
    + Send
    + 'static
{
    type Body: Body<Data: Send, Error: Into<BoxError>> + Send + 'static;
}

impl<S, B> HttpService for S
where
    S: Service<Request<Incoming>, Response = Response<B>, Error: Into<BoxError>, Future: Send>
        + Clone
        + Send
        + 'static,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    type Body = B;
}
