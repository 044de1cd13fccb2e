use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, header},
    response::{IntoResponse as _, Response},
};
use rbee_api::{ErrorCode, KeyScope, ModelReach};
use tower::{Layer, Service};

use crate::{error::ApiError, token::Token};

/// Demands `token` as `Authorization: Bearer` or as `x-api-key` of requests, for [`axum::Router::route_layer`].
///
/// A request that a guard's [`crate::Access`] let in with [`KeyScope::Manage`] is let through too.
/// Every other request is answered with 401.
pub fn require_token(token: Token) -> RequireToken {
    RequireToken { token, of_others: false }
}

/// As [`require_token`], but lets through whoever needs no key because they are the same user: for what
/// tells of this user's files and processes, which the same user can see anyway.
pub fn require_token_of_others(token: Token) -> RequireToken {
    RequireToken { token, of_others: true }
}

#[derive(Debug, Clone)]
pub struct RequireToken {
    token: Token,
    of_others: bool,
}

impl<S> Layer<S> for RequireToken {
    type Service = Authorized<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Authorized { token: self.token.clone(), of_others: self.of_others, inner }
    }
}

/// A service behind [`require_token`].
#[derive(Debug, Clone)]
pub struct Authorized<S> {
    token: Token,
    of_others: bool,
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
        let may_manage = request.extensions().get() == Some(&KeyScope::Manage);
        let is_same_user = request
            .extensions()
            .get()
            .is_some_and(|reach: &ModelReach| *reach >= ModelReach::Catalogue);
        match check(&self.token, request.headers()) {
            _ if may_manage || self.of_others && is_same_user => Box::pin(self.inner.call(request)),
            Ok(()) => Box::pin(self.inner.call(request)),
            Err(refusal) => Box::pin(std::future::ready(Ok(refusal.into_response()))),
        }
    }
}

pub(crate) fn check(token: &Token, headers: &HeaderMap) -> Result<(), ApiError> {
    match presented(headers) {
        Err(Ambiguous) | Ok(None) => {
            let message = "this needs the token as `Authorization: Bearer <token>`, once";
            Err(ApiError::new(ErrorCode::TokenMissing, message))
        }
        Ok(Some(presented)) if token.matches(presented) => Ok(()),
        Ok(Some(_)) => {
            Err(ApiError::new(ErrorCode::TokenWrong, "this is not the token that the server has"))
        }
    }
}

/// Where Anthropic's clients have their key.
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// A request that presents several secrets.
pub(crate) struct Ambiguous;

/// The one secret that the headers present, as `Authorization` or as `x-api-key` or the same as both;
/// empty where the header is none that we know.
pub(crate) fn presented(headers: &HeaderMap) -> Result<Option<&[u8]>, Ambiguous> {
    let authorization = only(headers, header::AUTHORIZATION)?;
    let bearer = authorization.map(|value| bearer(value).unwrap_or_default());
    match (bearer, only(headers, API_KEY)?.map(<[u8]>::trim_ascii)) {
        (Some(bearer), Some(key)) if bearer != key => Err(Ambiguous),
        (bearer, key) => Ok(bearer.or(key)),
    }
}

fn only(headers: &HeaderMap, name: HeaderName) -> Result<Option<&[u8]>, Ambiguous> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (value, None) => Ok(value.map(HeaderValue::as_bytes)),
        (_, Some(_)) => Err(Ambiguous),
    }
}

fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token.trim_ascii())
}
