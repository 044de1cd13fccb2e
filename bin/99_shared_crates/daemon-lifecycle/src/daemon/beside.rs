//! Answers that are not kept waiting by anything that the daemon computes.

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
    pin::pin,
    time::Duration,
};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::UnixStream, task::JoinSet, time::timeout};
use tokio_util::task::AbortOnDropHandle;
use tower::ServiceExt as _;

use super::{
    control::ACCEPT_PAUSE,
    listener::{Kind, Listener},
    service::HttpService,
};
use crate::instance;

/// Connections at once; the next one waits.
const MOST: usize = 16;

/// For a request and its answer.
const LIMIT: Duration = Duration::from_secs(10);

/// Requests are answered on a socket of their own for as long as this lives and the daemon is not to end.
#[derive(Debug)]
pub struct Beside {
    _answering: AbortOnDropHandle<()>,
}

/// Removed when this is dropped.
struct SocketFile(PathBuf);

impl Beside {
    /// To be called on the lifecycle thread.
    pub(super) fn start<S: HttpService>(
        path: &Path,
        listener: Listener,
        service: S,
        end: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        let path = path.to_owned();
        let answering = tokio::spawn(async move {
            let mut answering = pin!(answer(listener, service));
            // Dropped first: what is there once nobody listens any more may be the next daemon's.
            let _file = SocketFile(path);
            tokio::select! {
                () = &mut answering => {}
                () = end => {}
            }
        });
        Self { _answering: AbortOnDropHandle::new(answering) }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        instance::remove(&self.0);
    }
}

async fn answer<S: HttpService>(mut listener: Listener, service: S) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = connections.join_next() => {}
            anew = listener.anew() => listener = anew,
            accepted = accept(&listener), if connections.len() < MOST => match accepted {
                Ok(stream) => drop(connections.spawn(answer_one(stream, service.clone()))),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
}

async fn accept(listener: &Listener) -> std::io::Result<UnixStream> {
    match &listener.kind {
        Kind::Unix(listener, _) => Ok(listener.accept().await?.0),
        Kind::Tcp(_) => Err(ErrorKind::Unsupported.into()),
    }
}

async fn answer_one<S: HttpService>(stream: UnixStream, service: S) {
    let answer = service_fn(move |request| service.clone().oneshot(request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), answer);
    match timeout(LIMIT, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection failed"),
        Err(_) => tracing::debug!("a connection took too long"),
    }
}
