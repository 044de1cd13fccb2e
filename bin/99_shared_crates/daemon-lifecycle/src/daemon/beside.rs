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

/// Connections at once; the next one waits.
const MOST: usize = 16;

/// For a request and its answer.
const LIMIT: Duration = Duration::from_secs(10);

/// Requests are answered on a socket of their own for as long as this lives and the daemon is not to end.
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
    /// To be called on the lifecycle thread.
    pub(super) fn start<S: HttpService>(
        path: &Path,
        listener: Listener,
        service: S,
        end: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        let file = Arc::new(SocketFile { path: path.to_owned(), is_gone: AtomicBool::new(false) });
        let of_task = Arc::clone(&file);
        let answering = tokio::spawn(async move {
            let mut answering = pin!(answer(listener, service));
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
