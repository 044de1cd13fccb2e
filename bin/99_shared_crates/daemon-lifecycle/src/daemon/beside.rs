//! Answers that are not kept waiting by anything that the daemon computes.

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
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

/// What is allowed to whoever asks on such a socket.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    /// Connections at once; the next one waits.
    most: usize,
    /// For a request and its answer.
    limit: Duration,
}

impl Terms {
    /// Of answers that take no time.
    pub(super) const SHORT: Self = Self { most: 16, limit: Duration::from_secs(10) };

    /// Of any; a stream may go on for as long as there is something to be said.
    pub(super) const ANY: Self = Self { most: 1024, limit: Duration::MAX };
}

/// Requests are answered on a socket of their own for as long as this lives.
#[derive(Debug)]
pub struct Beside {
    file: Arc<SocketFile>,
    _answering: AbortOnDropHandle<()>,
}

/// Removed once, while somebody still listens: what is there later may be the next daemon's.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    is_gone: AtomicBool,
}

impl Beside {
    /// On the runtime that this is called on, until `end`.
    pub(super) fn start<S: HttpService>(
        path: &Path,
        listener: Listener,
        service: S,
        terms: Terms,
        end: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        let file = Arc::new(SocketFile { path: path.to_owned(), is_gone: AtomicBool::new(false) });
        let of_task = Arc::clone(&file);
        let answering = tokio::spawn(async move {
            let mut answering = pin!(answer(listener, service, terms));
            tokio::select! {
                () = &mut answering => {}
                () = end => {}
            }
            of_task.remove();
        });
        Self { file, _answering: AbortOnDropHandle::new(answering) }
    }
}

/// The process may end before its lifecycle thread has heard of that.
impl Drop for Beside {
    fn drop(&mut self) {
        self.file.remove();
    }
}

impl SocketFile {
    fn remove(&self) {
        if !self.is_gone.swap(true, Ordering::Relaxed) {
            instance::remove(&self.path);
        }
    }
}

async fn answer<S: HttpService>(mut listener: Listener, service: S, Terms { most, limit }: Terms) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = connections.join_next() => {}
            anew = listener.anew() => listener = anew,
            accepted = accept(&listener), if connections.len() < most => match accepted {
                Ok(stream) => drop(connections.spawn(answer_one(stream, service.clone(), limit))),
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

async fn answer_one<S: HttpService>(stream: UnixStream, service: S, limit: Duration) {
    let answer = service_fn(move |request| service.clone().oneshot(request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), answer);
    match timeout(limit, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection failed"),
        Err(_) => tracing::debug!("a connection took too long"),
    }
}
