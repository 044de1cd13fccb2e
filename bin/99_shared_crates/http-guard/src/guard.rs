use std::{
    convert::Infallible,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    body::HttpBody as _,
    extract::{DefaultBodyLimit, Request},
    http::{HeaderMap, HeaderName, HeaderValue, Method, Version, header},
    response::{IntoResponse as _, Response},
};
use rbee_api::{ErrorCode, HEADER_CALLER, HEADER_EVENTS, HEADER_FRESH};
use tower::{Layer, Service};
use tracing::Instrument as _;

use crate::{
    access::{Access, Admitted},
    authorize,
    bodies::{Bodies, BodyLimits},
    cors,
    error::ApiError,
    hosts::{Hosts, Names},
    request_id,
    token::Token,
};

/// What a listener demands of every request, before any route sees it.
///
/// - It is addressed to one of the listener's own names (else 421; 400 without any name).
/// - No foreign web page sent it (else 403).
/// - A body is `application/json`, or of any type and from no browser (else 415), and not over the limit (else 413), comes in time (else
///   408), and finds room beside the bodies of other requests (else 429): see [`BodyLimits`].
/// - Where the guard has a token, it carries that (else 401).
/// - Where the guard has an [`Access`], that lets it in (else 401); the route finds the
///   [`rbee_api::KeyScope`] and the [`rbee_api::ModelReach`] among the request's extensions. A
///   stranger, who only chats, gets neither events beside the answer nor fresh processes.
///
/// Every request has an `x-request-id` behind the guard, its own or a new one. The response names it, and
/// what is logged for the request stands in a span with it.
///
/// Responses are marked `nosniff`, and `no-store` unless the handler says how long they keep. Another
/// origin is allowed to read them only where [`Guard::names`] lists it.
///
/// An answer to a request whose body nobody has read says that it closes the connection: the body would
/// be in the way of the next request.
///
/// Reading the headers is the server's part, and so are its limits and its deadline.
///
/// ```
/// # use std::net::Ipv4Addr;
/// # fn serve() -> std::io::Result<()> {
/// use axum::{Router, routing::get};
/// use http_guard::{Guard, fallbacks};
///
/// let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
/// let guard = Guard::loopback(listener.local_addr()?.port());
/// let router = Router::new().route("/health", get(async || "ok"));
/// let router: Router = fallbacks(router).layer(guard.layer());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Guard {
    hosts: Hosts,
    names: Option<Arc<dyn Fn() -> Names + Send + Sync>>,
    token: Option<Token>,
    access: Option<Access>,
    limits: BodyLimits,
    bodies: Arc<Bodies>,
}

impl Guard {
    /// For a listener on loopback, at the port that it really is bound to.
    pub fn loopback(port: u16) -> Self {
        Self::new(Hosts::loopback(port))
    }

    /// For a listener on a Unix socket, where clients name `localhost` or nothing.
    pub fn unix() -> Self {
        Self::new(Hosts::unix())
    }

    fn new(hosts: Hosts) -> Self {
        let (limits, bodies) = (BodyLimits::default(), Arc::default());
        Self { hosts, names: None, token: None, access: None, limits, bodies }
    }

    /// Demands `token` of every request; [`crate::require_token`] does so for single routes.
    #[must_use]
    pub fn token(mut self, token: Option<Token>) -> Self {
        self.token = token;
        self
    }

    /// Takes requests by further names, by its own without a port, and from further origins, whose
    /// pages may then read the answers. `names` is asked when a request needs it, so that it may
    /// follow a configuration.
    #[must_use]
    pub fn names(mut self, names: impl Fn() -> Names + Send + Sync + 'static) -> Self {
        self.names = Some(Arc::new(names));
        self
    }

    /// Lets in whom `access` lets in.
    #[must_use]
    pub fn access(mut self, access: Access) -> Self {
        self.access = Some(access);
        self
    }

    #[must_use]
    pub fn max_body_bytes(mut self, max_body_bytes: usize) -> Self {
        self.limits.bytes = max_body_bytes;
        self
    }

    /// Other limits for the bodies of all requests.
    #[must_use]
    pub fn body_limits(mut self, limits: BodyLimits) -> Self {
        self.limits = limits;
        self
    }

    /// For [`axum::Router::layer`], as the outermost layer and after the fallbacks.
    pub fn layer(self) -> GuardLayer {
        GuardLayer { guard: Arc::new(self) }
    }

    /// The origin of the page that sent the request, where it is one of those that may.
    fn listed_origin(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        self.hosts.listed_origin(headers, &**self.names.as_ref()?).cloned()
    }

    fn check_host(&self, request: &Request) -> Result<(), ApiError> {
        let names = self.names.as_deref().map(|names| names as &dyn Fn() -> Names);
        let at = request.extensions().get().copied();
        self.hosts.check_host(request.uri(), request.headers(), at, names)
    }

    fn check(&self, request: &mut Request, is_listed: bool) -> Result<(), ApiError> {
        self.check_host(request)?;
        let headers = request.headers();
        if !is_listed {
            self.hosts.check_origin(headers)?;
        }
        if let Some(token) = &self.token {
            authorize::check(token, headers)?;
        }
        let size = request.body().size_hint();
        if size.lower() > self.limits.bytes as u64 {
            return Err(body_too_large(self.limits.bytes));
        }
        let has_body = size.exact() != Some(0) && request.method() != Method::GET;
        if has_body && !is_json(headers) {
            return Err(not_json());
        }
        if let Some(access) = &self.access {
            let Admitted { scope, reach, is_stranger, caller } = access.admit(request)?;
            if let Some(caller) = caller {
                // Whatever a client says: names of keys and numbers of users are plain.
                let caller = HeaderValue::try_from(caller).map_err(ApiError::internal)?;
                request.headers_mut().insert(HEADER_CALLER, caller);
            }
            request.extensions_mut().insert(scope);
            request.extensions_mut().insert(reach);
            if is_stranger {
                // What happens for a request names files and processes, and a build for it is the
                // owner's to ask for.
                for header in [HEADER_EVENTS, HEADER_FRESH] {
                    request.headers_mut().remove(header);
                }
            }
        }
        Ok(())
    }
}

#[derive(Debug, Clone)]
pub struct GuardLayer {
    guard: Arc<Guard>,
}

impl<S> Layer<S> for GuardLayer {
    type Service = Guarded<<DefaultBodyLimit as Layer<S>>::Service>;

    fn layer(&self, inner: S) -> Self::Service {
        // Ours holds for every body, axum's own lower one only for what its extractors read.
        let inner = DefaultBodyLimit::disable().layer(inner);
        Guarded { guard: Arc::clone(&self.guard), inner }
    }
}

/// A service behind a [`Guard`].
#[derive(Debug, Clone)]
pub struct Guarded<S> {
    guard: Arc<Guard>,
    inner: S,
}

impl<S> Service<Request> for Guarded<S>
where
    S: Service<Request, Response = Response, Error = Infallible, Future: Send + 'static>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let (has_body, version) = (!request.body().is_end_stream(), request.version());
        let id = request_id::settle(request.headers_mut());
        let span = request_id::span(&id);
        let entered = span.clone().entered();
        let origin = self.guard.listed_origin(request.headers());
        let is_listed = origin.is_some();
        let answer = move |mut response: Response| {
            request_id::tell(&id, &mut response);
            match &origin {
                Some(origin) => cors::readable_by(origin, marked(response)),
                None => marked(response),
            }
        };
        let refuse = |refusal: ApiError| {
            tracing::debug!(code = refusal.code().as_str(), "refused: {refusal}");
            let response = refusal.into_response();
            if has_body { closing(version, response) } else { response }
        };
        if is_listed && cors::is_preflight(&request) {
            let checked = self.guard.check_host(&request);
            let response = checked.map_or_else(refuse, |()| cors::preflight());
            return Box::pin(std::future::ready(Ok(answer(response))));
        }
        if let Err(refusal) = self.guard.check(&mut request, is_listed) {
            return Box::pin(std::future::ready(Ok(answer(refuse(refusal)))));
        }
        if !has_body {
            let response = self.inner.call(request);
            drop(entered);
            return Box::pin(async move { response.await.map(answer) }.instrument(span));
        }
        let (head, body) = request.into_parts();
        let (body, held) = match self.guard.bodies.admit(body, self.guard.limits) {
            Ok(admitted) => admitted,
            Err(refused) => {
                let response = refuse(refused.into());
                return Box::pin(std::future::ready(Ok(answer(response))));
            }
        };
        let response = self.inner.call(Request::from_parts(head, body));
        drop(entered);
        let answered = async move {
            let response = response.await?;
            let response = if held.is_read() { response } else { closing(version, response) };
            Ok(answer(response.map(|body| held.until_sent(body))))
        };
        Box::pin(answered.instrument(span))
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { hosts, access, limits, .. } = self;
        f.debug_struct("Guard")
            .field("hosts", hosts)
            .field("access", access)
            .field("limits", limits)
            .finish_non_exhaustive()
    }
}

/// Says that the connection is closed behind the response.
fn closing(version: Version, mut response: Response) -> Response {
    // Later versions have streams of their own for each request.
    if version <= Version::HTTP_11 {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn marked(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(
        HeaderName::from_static("x-content-type-options"),
        HeaderValue::from_static("nosniff"),
    );
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Whether the body may be JSON: a page may send other types without asking first, but not this one.
/// Programs call it what they like: `curl -d` a form, aiohttp a stream of octets.
pub(crate) fn is_json(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let content_type = match (types.next(), types.next()) {
        (Some(content_type), None) => content_type,
        (None, _) => return !is_of_a_page(headers),
        (Some(_), Some(_)) => return false,
    };
    let essence = content_type.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(b"application/json") || !is_of_a_page(headers)
}

/// Whether it says what browsers say with everything that a page sends.
fn is_of_a_page(headers: &HeaderMap) -> bool {
    let said = [header::ORIGIN, header::REFERER, HeaderName::from_static("sec-fetch-site")];
    said.iter().any(|name| headers.contains_key(name))
}

pub(crate) fn not_json() -> ApiError {
    let message = "the body must be JSON, with `content-type: application/json`";
    ApiError::new(ErrorCode::ContentTypeNotJson, message)
}

fn body_too_large(limit: usize) -> ApiError {
    let message = format!("the body is larger than {limit} bytes");
    ApiError::new(ErrorCode::BodyTooLarge, message)
}
