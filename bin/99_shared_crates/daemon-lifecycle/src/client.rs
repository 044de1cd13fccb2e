//! Asking a daemon through its control socket.

use std::{io, path::Path, time::Duration};

use http_body_util::{BodyExt as _, Limited};
use hyper::{
    HeaderMap, Method, Request as HttpRequest, Response as HttpResponse, StatusCode,
    body::{Bytes, Incoming},
    header,
};
use hyper_util::rt::TokioIo;
use tokio_util::task::AbortOnDropHandle;

use crate::protocol::{Connection, Hello, Reply, Request};

/// The thread that answers does nothing else, so this is long.
pub(crate) const HELLO_LIMIT: Duration = Duration::from_secs(2);

pub(crate) async fn hello(socket: &Path) -> io::Result<Hello> {
    match ask(socket, &Request::Hello).await? {
        Reply::Hello(hello) => Ok(hello),
        other => Err(unexpected(&other)),
    }
}

pub(crate) async fn stop(socket: &Path, drain: Duration) -> io::Result<()> {
    match ask(socket, &Request::Stop { drain_ms: drain.as_millis() as u64 }).await? {
        Reply::Stopping => Ok(()),
        other => Err(unexpected(&other)),
    }
}

async fn ask(socket: &Path, request: &Request) -> io::Result<Reply> {
    let exchange = async { Connection::open(socket).await?.ask(request, HELLO_LIMIT).await };
    tokio::time::timeout(HELLO_LIMIT, exchange).await.map_err(io::Error::from)?
}

/// A request without a body.
#[derive(Debug)]
pub(crate) struct Ask<'a> {
    pub(crate) method: Method,
    pub(crate) path: &'a str,
    /// The daemon's address, as it told it.
    pub(crate) address: &'a str,
    pub(crate) headers: HeaderMap,
}

/// Status and body of the daemon's answer, which must come whole within `limit` and not be longer
/// than `max_bytes`.
pub(crate) async fn http(
    socket: &Path,
    ask: Ask<'_>,
    limit: Duration,
    max_bytes: usize,
) -> io::Result<(StatusCode, Bytes)> {
    let exchange = async {
        let (response, _connection) = begin_http(open_http(socket).await?, ask).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), max_bytes).collect().await;
        Ok((status, body.map_err(io::Error::other)?.to_bytes()))
    };
    tokio::time::timeout(limit, exchange).await.map_err(io::Error::from)?
}

/// A way to ask the daemon past its listener: that may be shared with another generation, and then
/// nobody can say who answers.
async fn open_http(socket: &Path) -> io::Result<Connection> {
    let mut control = Connection::open(socket).await?;
    match control.ask(&Request::Http, HELLO_LIMIT).await? {
        Reply::Http => Ok(control),
        other => Err(unexpected(&other)),
    }
}

async fn begin_http(
    control: Connection,
    Ask { method, path, address, headers }: Ask<'_>,
) -> io::Result<(HttpResponse<Incoming>, AbortOnDropHandle<hyper::Result<()>>)> {
    let io = TokioIo::new(control.into_inner());
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(io).await.map_err(io::Error::other)?;
    let connection = AbortOnDropHandle::new(tokio::spawn(connection));
    let mut request = HttpRequest::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, host_of(address))
        .header(header::CONNECTION, "close")
        .body(String::new())
        .map_err(io::Error::other)?;
    request.headers_mut().extend(headers);
    Ok((sender.send_request(request).await.map_err(io::Error::other)?, connection))
}

/// What is wrong with a daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unwell {
    pub(crate) why: String,
    /// It took too long: so does a good binary on a machine that stalls, so it is no proof.
    pub(crate) slow: bool,
    /// It has answered at its control socket.
    pub(crate) lives: bool,
}

impl Unwell {
    pub(crate) fn faulty(why: impl Into<String>) -> Self {
        Self { why: why.into(), slow: false, lives: false }
    }

    pub(crate) fn slow(why: impl Into<String>) -> Self {
        Self { why: why.into(), slow: true, lives: false }
    }
}

/// `None` when the request is answered well, else what was wrong.
///
/// A status below 500 is well: the daemon serves, even if it has nothing at that path.
pub(crate) async fn unwell(
    socket: &Path,
    path: &str,
    address: &str,
    limit: Duration,
) -> Option<Unwell> {
    let ask = Ask { method: Method::GET, path, address, headers: HeaderMap::new() };
    let mut lives = false;
    let exchange = async {
        let control = open_http(socket).await?;
        lives = true;
        Ok(begin_http(control, ask).await?.0.status())
    };
    let status: Result<io::Result<_>, _> = tokio::time::timeout(limit, exchange).await;
    let unwell = match status.map_err(io::Error::from).flatten() {
        Ok(status) if !status.is_server_error() => return None,
        Ok(status) => Unwell::faulty(format!("answered `GET {path}` with {}", status.as_u16())),
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            let limit = limit.as_secs_f32();
            Unwell::slow(format!("did not answer `GET {path}` within {limit} s"))
        }
        Err(error) => Unwell::faulty(format!("did not answer `GET {path}`: {error}")),
    };
    Some(Unwell { lives, ..unwell })
}

/// What a request to `address` names in its `Host` header.
fn host_of(address: &str) -> &str {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    match rest.split('/').next() {
        Some(host) if !host.is_empty() => host,
        _ => "localhost",
    }
}

fn unexpected(reply: &Reply) -> io::Error {
    match reply {
        Reply::Refused { why } => io::Error::other(why.clone()),
        other => io::Error::other(format!("unexpected answer {other:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_an_address_is_what_a_client_would_send() {
        assert_eq!(host_of("127.0.0.1:8500"), "127.0.0.1:8500");
        assert_eq!(host_of("http://localhost:1/v1"), "localhost:1");
        assert_eq!(host_of("/run/w.sock"), "localhost");
    }
}
