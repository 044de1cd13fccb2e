use std::{
    future::ready,
    io,
    os::fd::AsFd as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use hyper::{
    header::{CONNECTION, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    sync::watch,
};
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use super::{
    core::Core,
    descriptors,
    listener::{Connection, Kind, Listener},
    open::Open,
    phase::{Phase, ShutdownReason},
    pulse::Pulse,
    service::HttpService,
    shutdown,
};
use crate::{Error, edge};

/// A client's next request may come this long after the last one. Longer than clients keep idle
/// connections, so that it is they who close.
const IDLE_LIMIT: Duration = Duration::from_secs(120);

/// What one connection may hold of what it has read, a request's head above all.
const BUFFER_BYTES: usize = 16 * 1024;

/// From a connection to the first word of HTTP, where something goes before that.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

/// After a hand-over an idle connection is closed when it has been quiet this long: until then
/// its next request is answered, with `Connection: close`.
const LAME_DUCK: Duration = Duration::from_secs(5);

/// After accepting has failed, for want of descriptors for example.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How far the end has come, for the connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Ending {
    NotYet,
    /// Close when the current answer is out.
    Closing,
    /// Close now.
    Cut,
}

/// What every connection of a server sees.
#[derive(Clone)]
struct Connections {
    tracker: TaskTracker,
    open: Open,
    ending: watch::Receiver<Ending>,
    /// Answers ask the client not to reuse the connection.
    lame: Arc<AtomicBool>,
}

pub(super) async fn serve<F, S>(
    core: &Core,
    listener: Listener,
    service_for: F,
    last: impl Future<Output = ()>,
) -> Result<(), Error>
where
    F: Fn(Connection) -> S,
    S: HttpService,
{
    core.servers.send_modify(|servers| *servers += 1);
    core.pulse.get_or_init(Pulse::start);
    let (ending, seen) = watch::channel(Ending::NotYet);
    let connections = Connections {
        tracker: TaskTracker::new(),
        open: Open::with(descriptors::allowed()),
        ending: seen,
        lame: Arc::new(AtomicBool::new(false)),
    };
    core.accepting.send_modify(|servers| *servers += 1);
    accept(core, listener, &connections, &service_for).await;
    core.accepting.send_modify(|servers| *servers -= 1);
    let answering = answer_starters(core, &connections, &service_for);
    tokio::select! {
        () = drain(core, &connections, &ending) => {}
        () = answering => {}
    }
    last.await;
    core.say_farewell().await;
    core.servers.send_modify(|servers| *servers -= 1);
    if *core.servers.borrow() == 0 {
        edge::passed("daemon.drained");
        core.clean_up();
        edge::passed("daemon.forgotten");
    }
    Ok(())
}

/// Until nothing is accepted any more; the listener is dropped then.
async fn accept<F, S>(
    core: &Core,
    mut listener: Listener,
    connections: &Connections,
    service_for: &F,
) where
    F: Fn(Connection) -> S,
    S: HttpService,
{
    let mut phases = core.phases();
    loop {
        let phase = *phases.borrow_and_update();
        connections.lame.store(!phase.accepts(), Ordering::Relaxed);
        if phase.end().is_some() {
            return;
        }
        tokio::select! {
            biased;
            _ = phases.changed() => {}
            // While a next generation has copies of the one that it is to serve on, that one is to stay.
            anew = listener.anew(),
                if phase == Phase::Serving || phase.accepts() && listener.shared().is_none() =>
            {
                keep_shared(core, &anew);
                listener = anew;
            }
            Some(stream) = from_starter(core) => {
                connections.answer_once(stream, service_for(Connection::Unix));
            }
            accepted = accept_one(&listener, &connections.open), if phase.accepts() => match accepted {
                Ok(Accepted::Tcp { stream, from }) => match &listener.handshake {
                    Some(handshake) => {
                        let handshake = Arc::clone(handshake);
                        let shaken = async move { handshake.shake(stream, from).await };
                        connections.spawn(shaken, service_for(from));
                    }
                    None => connections.spawn(ready(Ok(stream)), service_for(from)),
                },
                Ok(Accepted::Unix(stream)) => {
                    connections.spawn(ready(Ok(stream)), service_for(Connection::Unix));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
}

/// The next generation is to have the listener to which the file leads now.
fn keep_shared(core: &Core, listener: &Listener) {
    let Some((listener, path)) = listener.shared() else { return };
    match listener.as_fd().try_clone_to_owned() {
        Ok(copy) => core.hold_instead(&path.display().to_string(), copy),
        Err(error) => tracing::error!(%error, "a socket that was made anew is not handed over"),
    }
}

enum Accepted {
    Tcp { stream: TcpStream, from: Connection },
    Unix(UnixStream),
}

async fn accept_one(listener: &Listener, open: &Open) -> io::Result<Accepted> {
    open.room().await;
    match &listener.kind {
        Kind::Tcp(listener) => {
            let (stream, remote) = listener.accept().await?;
            // A token is a small packet, and it is wanted now.
            stream.set_nodelay(true)?;
            let from = Connection::Tcp { local: stream.local_addr()?, remote };
            Ok(Accepted::Tcp { stream, from })
        }
        Kind::Unix(listener, _) => {
            listener.accept().await.map(|(stream, _)| Accepted::Unix(stream))
        }
    }
}

/// The next connection that a starter wants to have answered as HTTP.
async fn from_starter(core: &Core) -> Option<UnixStream> {
    let stream = core.http_in.lock().await.recv().await?;
    UnixStream::from_std(stream).ok()
}

async fn answer_starters<F, S>(core: &Core, connections: &Connections, service_for: &F)
where
    F: Fn(Connection) -> S,
    S: HttpService,
{
    while let Some(stream) = from_starter(core).await {
        connections.answer_once(stream, service_for(Connection::Unix));
    }
}

/// Lets the connections end by themselves until the drain deadline, then ends them.
async fn drain(core: &Core, connections: &Connections, ending: &watch::Sender<Ending>) {
    connections.tracker.close();
    let shutdown = core.shutdown_signal();
    let replaced = shutdown.clone().await.reason == ShutdownReason::Replaced;
    let ended = async {
        connections.tracker.wait().await;
        // Who takes over the work asks for it on a connection.
        while replaced && !core.work.is_empty() {
            core.work.wait().await;
            connections.tracker.wait().await;
        }
    };
    let quiet = async {
        if replaced {
            tokio::time::sleep(LAME_DUCK).await;
        }
        ending.send_replace(Ending::Closing);
        shutdown.drained().await;
        tokio::time::sleep_until(shutdown::end_by(Instant::now()).into()).await;
        ending.send_replace(Ending::Cut);
    };
    tokio::select! {
        () = ended => {}
        () = quiet => connections.tracker.wait().await,
    }
}

impl Connections {
    /// One request, which is answered however far the end has come: until then there is somebody
    /// who may want to know.
    fn answer_once<S: HttpService>(&self, stream: UnixStream, service: S) {
        let answer = service_fn(move |request| service.clone().oneshot(request));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(IDLE_LIMIT)
            .max_buf_size(BUFFER_BYTES)
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), answer);
        self.tracker.spawn(until_cut(self.ending.clone(), connection));
    }

    fn spawn<I, S>(&self, stream: impl Future<Output = io::Result<I>> + Send + 'static, service: S)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        S: HttpService,
    {
        let ending = self.ending.clone();
        let lame = Arc::clone(&self.lame);
        let place = self.open.take();
        self.tracker.spawn(async move {
            let mut closing_seen = ending.clone();
            let stream = tokio::select! {
                stream = tokio::time::timeout(HANDSHAKE_LIMIT, stream) => {
                    match stream.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                        Ok(stream) => stream,
                        Err(error) => return tracing::debug!(%error, "no handshake"),
                    }
                }
                () = place.wanted() => return,
                _ = closing_seen.wait_for(|ending| *ending >= Ending::Closing) => return,
            };
            let asked = place.clone();
            let answer = service_fn(move |request| {
                let service = service.clone();
                let lame = Arc::clone(&lame);
                let busy = asked.busy();
                async move {
                    let response = service.oneshot(request).await?;
                    let mut response = response.map(|body| busy.until_sent(body));
                    if lame.load(Ordering::Relaxed) {
                        let close = HeaderValue::from_static("close");
                        response.headers_mut().insert(CONNECTION, close);
                    }
                    Ok::<_, S::Error>(response)
                }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(IDLE_LIMIT)
                .max_buf_size(BUFFER_BYTES)
                .serve_connection(TokioIo::new(stream), answer);
            tokio::pin!(connection);
            let ended = async {
                tokio::select! {
                    ended = connection.as_mut() => return ended,
                    () = place.wanted() => return Ok(()),
                    _ = closing_seen.wait_for(|ending| *ending >= Ending::Closing) => {}
                }
                connection.as_mut().graceful_shutdown();
                connection.as_mut().await
            };
            until_cut(ending, ended).await;
        });
    }
}

async fn until_cut(
    mut ending: watch::Receiver<Ending>,
    connection: impl Future<Output = hyper::Result<()>>,
) {
    tokio::select! {
        ended = connection => if let Err(error) = ended {
            tracing::debug!(%error, "a connection failed");
        },
        _ = ending.wait_for(|ending| *ending == Ending::Cut) => {
            tracing::warn!("cut a connection at the drain deadline");
        }
    }
}
