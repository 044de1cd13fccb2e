use std::{
    fmt, io,
    net::SocketAddr,
    os::fd::OwnedFd,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net,
};

/// Between two looks whether a socket file is there.
const FILE_CHECK: Duration = Duration::from_millis(500);

/// A listener that [`crate::Daemon::serve`] serves.
#[derive(Debug)]
pub struct Listener {
    pub(super) kind: Kind,
    pub(super) handshake: Option<Arc<dyn Handshake>>,
}

/// Where a connection comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connection {
    Tcp {
        /// The address at which it was accepted.
        local: SocketAddr,
        remote: SocketAddr,
    },
    /// Over a Unix socket: the listener's own, or the control socket, which only this user's
    /// processes reach.
    Unix,
}

/// What goes before HTTP on each TCP connection of a listener, such as TLS.
pub trait Handshake: fmt::Debug + Send + Sync {
    /// Gives the stream on which HTTP is spoken then; an error closes the connection. What is not done
    /// after ten seconds is given up.
    fn shake(&self, stream: net::TcpStream, from: Connection) -> Shaking<'_>;
}

/// A handshake under way.
pub type Shaking<'a> = Pin<Box<dyn Future<Output = io::Result<Box<dyn Stream>>> + Send + 'a>>;

/// Whatever HTTP is spoken on.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

#[derive(Debug)]
pub(super) enum Kind {
    Tcp(net::TcpListener),
    /// With its socket file, where that is this daemon's to keep.
    Unix(net::UnixListener, Option<SocketFile>),
}

/// A file that is made anew where it is removed.
#[derive(Debug, Clone)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// Whether generations hand the listener on: the one that serves keeps the file.
    is_shared: bool,
}

/// A TCP listener: bound freshly, or taken over from the generation before.
#[derive(Debug)]
pub struct TcpListener(pub(super) net::TcpListener);

impl TcpListener {
    /// The address that it is bound to: the port is the real one where 0 was asked for.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    pub(super) fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        let listener = std::net::TcpListener::from(fd);
        listener.set_nonblocking(true)?;
        net::TcpListener::from_std(listener).map(Self)
    }
}

/// A listener on a Unix socket.
#[derive(Debug)]
pub struct UnixListener {
    pub(super) listener: net::UnixListener,
    file: SocketFile,
}

impl UnixListener {
    /// Binds, over a socket file that nobody answers on any more.
    pub(super) fn bind(path: &Path) -> io::Result<Self> {
        let bound = net::UnixListener::bind(path);
        let listener = match bound {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                if std::os::unix::net::UnixStream::connect(path).is_ok() {
                    return Err(error);
                }
                std::fs::remove_file(path)?;
                net::UnixListener::bind(path)?
            }
            other => other?,
        };
        let file = SocketFile { path: path.to_owned(), is_shared: false };
        Ok(Self { listener, file })
    }

    /// The same to be handed over.
    pub(super) fn bind_shared(path: &Path) -> io::Result<Self> {
        Ok(Self { file: SocketFile::shared(path), ..Self::bind(path)? })
    }

    /// Of the generation before, which has bound it to `path`.
    pub(super) fn from_fd(fd: OwnedFd, path: &Path) -> io::Result<Self> {
        let listener = std::os::unix::net::UnixListener::from(fd);
        listener.set_nonblocking(true)?;
        let listener = net::UnixListener::from_std(listener)?;
        Ok(Self { listener, file: SocketFile::shared(path) })
    }
}

impl SocketFile {
    fn shared(path: &Path) -> Self {
        Self { path: path.to_owned(), is_shared: true }
    }
}

impl Listener {
    /// Has each TCP connection begin with `handshake`.
    #[must_use]
    pub fn with_handshake(mut self, handshake: Arc<dyn Handshake>) -> Self {
        self.handshake = Some(handshake);
        self
    }

    fn of(kind: Kind) -> Self {
        Self { kind, handshake: None }
    }

    /// With the path of its socket file, where it is one that generations hand on.
    pub(super) fn shared(&self) -> Option<(&net::UnixListener, &Path)> {
        match &self.kind {
            Kind::Unix(listener, Some(file)) if file.is_shared => Some((listener, &file.path)),
            Kind::Unix(..) | Kind::Tcp(_) => None,
        }
    }

    /// Waits until the socket file is gone, as after a cleaner, and binds it anew.
    pub(super) async fn anew(&self) -> Self {
        let Kind::Unix(_, Some(file)) = &self.kind else { return std::future::pending().await };
        let path = &file.path;
        loop {
            tokio::time::sleep(FILE_CHECK).await;
            if path.exists() {
                continue;
            }
            let folder = path.parent().map(|folder| {
                std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
            });
            match folder.transpose().and_then(|_| UnixListener::bind(path)) {
                Ok(bound) => return UnixListener { file: file.clone(), ..bound }.into(),
                Err(error) => tracing::warn!(%error, "cannot be reached, its socket was removed"),
            }
        }
    }
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Self::of(Kind::Tcp(listener.0))
    }
}

impl From<UnixListener> for Listener {
    fn from(listener: UnixListener) -> Self {
        Self::of(Kind::Unix(listener.listener, Some(listener.file)))
    }
}

impl From<net::TcpListener> for Listener {
    fn from(listener: net::TcpListener) -> Self {
        Self::of(Kind::Tcp(listener))
    }
}

impl From<net::UnixListener> for Listener {
    fn from(listener: net::UnixListener) -> Self {
        Self::of(Kind::Unix(listener, None))
    }
}
