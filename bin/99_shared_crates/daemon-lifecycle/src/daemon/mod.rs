//! The daemon's own part: it tells its starter when it is ready, answers for itself, hands over.

mod channel; // what the starter left
mod activation; // what systemd left
mod control; // the lifecycle thread
mod core; // shared by handle, thread and servers
mod earlier; // asking generations that still drain
mod fresh; // its own replacement
mod good; // a binary to fall back to
mod handover; // towards the next generation
mod session; // both ends of a hand-over
mod listener; // sockets, and passing them on
mod descriptors; // how many there may be
mod open; // how many connections there are
mod phase; // the life of a generation, and what changes it
mod probation; // until the generation before has ended
mod shutdown; // when it is to end
mod service; // what answers
mod serve; // HTTP on a listener
mod beside; // HTTP on the lifecycle thread
mod pulse; // whether tasks come to their turns
mod successor; // from the generation before

pub use self::{
    beside::Beside,
    listener::{Connection, Handshake, Listener, Shaking, Stream, TcpListener, UnixListener},
    phase::{Shutdown, ShutdownReason},
    pulse::Pulse,
    service::HttpService,
    shutdown::ShutdownSignal,
};

use std::{
    fmt::Display,
    io,
    net::SocketAddr,
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
    sync::Arc,
    time::Duration,
};

use hyper::{HeaderMap, Method, body::Bytes};
use tokio::runtime::Handle;
use tokio_util::task::task_tracker::TaskTrackerToken;

use self::{core::Core, phase::Phase};
use crate::{
    DaemonManager, Error, Identity, edge,
    protocol::{Fault, FromDaemon},
    service::notify_service_manager,
    state::State,
};

/// This process, as a daemon. Clones are the same daemon.
///
/// ```no_run
/// # use daemon_lifecycle::Daemon;
/// # use std::net::{Ipv4Addr, SocketAddr};
/// # async fn run(router: impl daemon_lifecycle::HttpService) -> Result<(), daemon_lifecycle::Error> {
/// let daemon = Daemon::attach("my-daemon")?;
/// let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 8500));
/// let listener = daemon.listen_tcp(address).await?;
/// daemon.ready(address).await?;
/// daemon.serve(listener, router).await
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Daemon {
    core: Arc<Core>,
    /// The lifecycle thread's runtime.
    control: Handle,
}

/// Keeps a daemon that was replaced from ending, see [`Daemon::work`].
#[derive(Debug)]
pub struct Work {
    _token: TaskTrackerToken,
}

impl Daemon {
    /// Finds the starter, if there is one, and starts to answer for this process.
    ///
    /// Call it first thing: until then the starter knows only that a process runs. From here on
    /// SIGTERM and SIGINT ask for an orderly end, and as many descriptors may be open as connections need
    /// and the system allows. Without a starter, as when a person runs the
    /// binary, the daemon has an identity but no control socket.
    pub fn attach(role: &str) -> Result<Self, Error> {
        let attach = |source| Error::Attach { source };
        descriptors::raise();
        let mut identity = Identity::of_this_process(role).map_err(attach)?;
        let (mut attachment, mut channel, mut instance) = (None, None, None);
        let mut socket = None;
        if let Some(left) = channel::take().map_err(attach)? {
            let found = left.attachment;
            identity.generation = found.generation;
            identity.args_hash.clone_from(&found.args_hash);
            identity.source_root.clone_from(&found.source_root);
            let of = found.spec.instance()?;
            // Until this process had the socket the next starter could find it by the file alone.
            if left.socket.is_some()
                && !of.socket(found.generation).exists()
                && channel::is_alone(&left.channel)
            {
                let why =
                    "its starter died and its files were removed: another may have been started";
                return Err(attach(io::Error::other(why)));
            }
            of.create()?;
            (attachment, channel, instance) = (Some(found), Some(left.channel), Some(of));
            socket = left.socket;
        }
        edge::passed("daemon.attached");
        let core = Arc::new(Core::new(identity, instance, attachment));
        let socket = control::bind(&core, socket).map_err(|error| {
            if let Some(channel) = &channel {
                let reason = format!("its control socket cannot be bound: {error}");
                channel::say_failed(channel, reason);
            }
            attach(error)
        })?;
        let control = control::start(&core, channel, socket).map_err(attach)?;
        edge::passed("daemon.control-bound");
        Ok(Self { core, control })
    }

    /// Listens on `address`: with the generation before running, on its very listener, so that
    /// not even a waiting connection is lost when it goes; on a socket that systemd or `cargo live
    /// watch` has passed on for it (`LISTEN_FDS`); otherwise freshly.
    ///
    /// A port that somebody else has is reported to the starter as such.
    pub async fn listen_tcp(&self, address: SocketAddr) -> Result<TcpListener, Error> {
        let listen = |source| Error::Listen { address: address.to_string(), source };
        let (bound, fault) = match self.inherited(address.to_string()).await {
            Ok(Some(fd)) => (TcpListener::from_fd(fd), Fault::Other),
            Ok(None) => {
                let bound = match activation::listener(address) {
                    Some(fd) => TcpListener::from_fd(fd),
                    None => tokio::net::TcpListener::bind(address).await.map(TcpListener),
                };
                (bound, Fault::Own)
            }
            Err(error) => (Err(error), Fault::Other),
        };
        let listener = match bound {
            Ok(listener) => listener,
            Err(error) => return Err(self.cannot_listen(address.to_string(), fault, error).await),
        };
        let local = listener.local_addr().map_err(listen)?;
        let copy = listener.0.as_fd().try_clone_to_owned().map_err(listen)?;
        self.core.hold(address.to_string(), local.to_string(), copy);
        edge::passed("daemon.listening");
        Ok(listener)
    }

    /// Listens on the Unix socket at `path`, as [`Self::listen_tcp`] does at an address: with the
    /// generation before running, on its very listener; otherwise over a socket file that nobody
    /// answers on. The generation that serves makes the file anew where it is removed.
    pub async fn listen_unix_shared(&self, path: &Path) -> Result<UnixListener, Error> {
        let address = path.display().to_string();
        let (bound, fault) = match self.inherited(address.clone()).await {
            Ok(Some(fd)) => (UnixListener::from_fd(fd, path), Fault::Other),
            Ok(None) => (UnixListener::bind_shared(path), Fault::Own),
            Err(error) => (Err(error), Fault::Other),
        };
        let listener = match bound {
            Ok(listener) => listener,
            Err(error) => return Err(self.cannot_listen(address, fault, error).await),
        };
        let copy = listener.listener.as_fd().try_clone_to_owned();
        let copy = copy.map_err(|source| Error::Listen { address: address.clone(), source })?;
        self.core.hold(address.clone(), address, copy);
        edge::passed("daemon.listening");
        Ok(listener)
    }

    /// The listener that the generation before has for the address.
    async fn inherited(&self, address: String) -> io::Result<Option<OwnedFd>> {
        let core = Arc::clone(&self.core);
        self.control(async move { successor::listener(&core, &address).await }).await
    }

    /// Listens on a Unix socket of its own, over a socket file that nobody answers on, and makes the
    /// file anew where it is removed.
    ///
    /// It is never handed over: its owner starts another daemon on another path.
    pub async fn listen_unix(&self, path: &Path) -> Result<UnixListener, Error> {
        match UnixListener::bind(path) {
            Ok(listener) => Ok(listener),
            Err(error) => {
                let path = path.display().to_string();
                Err(self.cannot_listen(path, Fault::Own, error).await)
            }
        }
    }

    /// Answers by `service` on a Unix socket at `path` besides, until what this returns is dropped or the
    /// daemon is to end, so that the next one has the path: on the lifecycle thread, so that no load on the
    /// daemon's own threads keeps whoever asks waiting.
    ///
    /// For what takes no time and must be answered in time; `service` must not block.
    pub async fn answer_beside<S: HttpService>(
        &self,
        path: &Path,
        service: S,
    ) -> Result<Beside, Error> {
        let socket = path.to_owned();
        let mut phases = self.core.phases();
        let end = async move { drop(phases.wait_for(|phase| phase.end().is_some()).await) };
        let bound = self.control(async move {
            let listener = UnixListener::bind(&socket)?.into();
            Ok(Beside::start(&socket, listener, service, beside::Terms::SHORT, end))
        });
        match bound.await {
            Ok(beside) => Ok(beside),
            Err(error) => {
                Err(self.cannot_listen(path.display().to_string(), Fault::Own, error).await)
            }
        }
    }

    /// Answers by `service` on a Unix socket at `path` besides, until what this returns is dropped: also
    /// while the daemon finishes what it has and accepts nothing on its listeners any more. So the path has
    /// to be one that no next generation wants.
    pub async fn answer_apart<S: HttpService>(
        &self,
        path: &Path,
        service: S,
    ) -> Result<Beside, Error> {
        let listener = self.listen_unix(path).await?.into();
        let terms = beside::Terms::ANY;
        Ok(Beside::start(path, listener, service, terms, std::future::pending()))
    }

    async fn cannot_listen(&self, address: String, fault: Fault, source: io::Error) -> Error {
        let fault = match source.kind() {
            io::ErrorKind::AddrInUse => Fault::AddressInUse(address.clone()),
            _ => fault,
        };
        self.report_failure(format!("cannot listen on {address}: {source}"), fault).await;
        Error::Listen { address, source }
    }

    /// Says that starting goes on, which gives it its whole time limit again.
    pub async fn progress(&self, what: impl Display) {
        self.report(FromDaemon::Progress { what: what.to_string() }).await;
    }

    /// Tells the starter why this daemon cannot start, in words for a person. Exit afterwards.
    pub async fn fail(&self, reason: impl Display) {
        self.report_failure(reason.to_string(), Fault::Own).await;
    }

    async fn report_failure(&self, reason: String, fault: Fault) {
        self.report(FromDaemon::Failed { reason, fault }).await;
    }

    /// Says that requests to `address` will be answered; call [`Daemon::serve`] next.
    ///
    /// It is said to the starter, and to `NOTIFY_SOCKET` as `sd_notify` does.
    ///
    /// With a generation before this one, connections are accepted only after the starter has
    /// verified this one and the old one has paused, which happens behind `serve`.
    pub async fn ready(&self, address: impl Display) -> Result<(), Error> {
        self.core.set_address(address.to_string());
        let core = Arc::clone(&self.core);
        let announced = self.control(control::announce(core)).await;
        announced.map_err(|source| Error::Announce { source })?;
        notify_service_manager("READY=1\n");
        Ok(())
    }

    /// Who this process is; without an address until it is ready.
    pub fn identity(&self) -> &Identity {
        self.core.identity()
    }

    /// Where this process is in its life.
    pub fn state(&self) -> State {
        self.core.phase().state()
    }

    /// Resolves when this generation does not accept connections any more: the next one does, or it is
    /// to end. Whoever only looks on had better look elsewhere from then on.
    pub async fn paused(&self) {
        let mut phases = self.core.phases();
        let is_past = |phase: &Phase| !phase.accepts() && *phase != Phase::Starting;
        // The sender is in what this holds.
        drop(phases.wait_for(is_past).await);
    }

    /// Resolves when this daemon is to end. [`Daemon::serve`] obeys it by itself.
    pub fn shutdown(&self) -> ShutdownSignal {
        self.core.shutdown_signal()
    }

    /// How this daemon was started; `None` without a starter. Spawning it replaces this process
    /// when its binary is stale.
    pub fn manager(&self) -> Option<DaemonManager> {
        self.core.attachment.as_ref().map(|attachment| DaemonManager::of(attachment.spec.clone()))
    }

    /// Answers requests on `listener` until this daemon is to end and its last answer is out.
    ///
    /// HTTP/1.1. After [`Daemon::shutdown`] nothing is accepted any more; answers that are under
    /// way, streams included, go on to their end or to the drain deadline. A connection that is
    /// kept open is told to close with its next answer.
    pub async fn serve<S: HttpService>(
        &self,
        listener: impl Into<Listener>,
        service: S,
    ) -> Result<(), Error> {
        self.serve_each(listener, move |_| service.clone()).await
    }

    /// As [`serve`](Self::serve), with a service of its own for each connection, which may depend
    /// on where that comes from.
    pub async fn serve_each<S: HttpService>(
        &self,
        listener: impl Into<Listener>,
        service_for: impl Fn(Connection) -> S,
    ) -> Result<(), Error> {
        serve::serve(&self.core, listener.into(), service_for, std::future::ready(())).await
    }

    /// As [`serve`](Self::serve), with `last` after the last answer: whoever stops this daemon waits for
    /// that too, up to a few seconds behind the drain deadline. For what must not outlive it.
    pub async fn serve_then<S: HttpService>(
        &self,
        listener: impl Into<Listener>,
        service: S,
        last: impl Future<Output = ()>,
    ) -> Result<(), Error> {
        serve::serve(&self.core, listener.into(), move |_| service.clone(), last).await
    }

    /// While the guard lives this generation does not end because it has been replaced and no
    /// connection is left, but at its drain deadline: for what goes on without a reader, or waits
    /// for one to come back. A stop does not wait for it.
    pub fn work(&self) -> Work {
        Work { _token: self.core.work.token() }
    }

    /// Puts a request without a body to the generations before this one that still drain, the
    /// latest first; gives the body of the first that answers with success.
    ///
    /// They answer by the service that they gave to [`Daemon::serve`], past their listener. One
    /// that does not answer within eight seconds, or with more than 64 MiB, is passed over. While the
    /// one before might still resume, it is waited for: what is taken from it then would end with
    /// this process.
    pub async fn ask_earlier(
        &self,
        method: Method,
        path: &str,
        headers: &HeaderMap,
    ) -> Option<Bytes> {
        earlier::ask(&self.core, method, path, headers).await
    }

    /// The generations before this one that still drain, the latest first, each with the body of its
    /// answer to a `GET` of `path`; `None` where it gives none within two seconds, or no success.
    ///
    /// They are asked as by [`Daemon::ask_earlier`], but nothing is waited for.
    pub async fn earlier(&self, path: &str, headers: &HeaderMap) -> Vec<(Identity, Option<Bytes>)> {
        earlier::look(&self.core, path, headers).await
    }

    /// Watches this daemon's own sources, and when they say another binary has that built and
    /// replaces this process by it, as any starter would; so a daemon that nobody starts any more
    /// does not go stale either.
    ///
    /// `trust` says for how long a look is trusted, which takes about a microsecond for each source
    /// file: with zero until one of them changes, of which the system tells, or two seconds where it
    /// does not; `None` is for as long as nothing may be built. An edit is built when the sources
    /// have been quiet for half a second, at idle priority; what does not build or fails to start
    /// is not tried again until it changes. Never returns, to be raced against [`Daemon::serve`]; where
    /// there is no starter, or no automatic update, it has nothing to do.
    pub async fn keep_fresh(&self, trust: impl Fn() -> Option<Duration> + Send + Sync) -> ! {
        Box::pin(fresh::keep_fresh(self, trust)).await;
        std::future::pending().await
    }

    /// All of it in one call: attaches, listens on `address`, is ready, and answers by `service`
    /// until the end, following its own sources all the while.
    pub async fn run<S: HttpService>(
        role: &str,
        address: SocketAddr,
        service: S,
    ) -> Result<(), Error> {
        let daemon = Self::attach(role)?;
        let listener = daemon.listen_tcp(address).await?;
        let local = listener.local_addr();
        let local =
            local.map_err(|source| Error::Listen { address: address.to_string(), source })?;
        daemon.ready(local).await?;
        tokio::select! {
            served = daemon.serve(listener, service) => served,
            never = daemon.keep_fresh(|| Some(Duration::ZERO)) => never,
        }
    }

    /// Runs on the lifecycle thread, which owns the control sockets.
    async fn control<T: Send + 'static>(
        &self,
        task: impl Future<Output = io::Result<T>> + Send + 'static,
    ) -> io::Result<T> {
        self.control.spawn(task).await.map_err(io::Error::other)?
    }

    async fn report(&self, message: FromDaemon) {
        let core = Arc::clone(&self.core);
        let said = self.control(async move { core.report(&message).await }).await;
        if let Err(error) = said {
            tracing::debug!(%error, "the starter is not listening");
        }
    }
}
