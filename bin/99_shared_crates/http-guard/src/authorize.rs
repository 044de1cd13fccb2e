use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use axum::{
    extract::Request,
    http::{HeaderMap, header},
    response::{IntoResponse as _, Response},
};
use rbee_api::ErrorCode;
use tower::{Layer, Service};

use crate::{error::ApiError, token::Token};

/// Demands `token` as `Authorization: Bearer` of requests, for [`axum::Router::route_layer`].
///
/// Every other request is answered with 401.
pub fn require_token(token: Token) -> RequireToken {
    RequireToken { token }
}

#[derive(Debug, Clone)]
pub struct RequireToken {
    token: Token,
}

impl<S> Layer<S> for RequireToken {
    type Service = Authorized<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Authorized { token: self.token.clone(), inner }
    }
}

/// A service behind [`require_token`].
#[derive(Debug, Clone)]
pub struct Authorized<S> {
    token: Token,
    inner: S,
}

impl<S> Service<Request> for Authorized<S>
where
    S: Service<Request, Response = Response, Error = Infallible, Future: Send + 'static>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        match check(&self.token, request.headers()) {
            Ok(()) => Box::pin(self.inner.call(request)),
            Err(refusal) => Box::pin(std::future::ready(Ok(refusal.into_response()))),
        }
    }
}

pub(crate) fn check(token: &Token, headers: &HeaderMap) -> Result<(), ApiError> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        let message = "this needs the token as `Authorization: Bearer <token>`, once";
        return Err(ApiError::new(ErrorCode::TokenMissing, message));
    };
    if bearer(value.as_bytes()).is_some_and(|presented| token.matches(presented)) {
        return Ok(());
    }
    Err(ApiError::new(ErrorCode::TokenWrong, "this is not the token that the server has"))
}

fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token.trim_ascii())
}
