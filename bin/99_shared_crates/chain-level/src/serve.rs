use axum::{Extension, Router};
use daemon_lifecycle::{Connection, Daemon, Error, Listener};
use http_guard::{Peer, ReachedAt};
use tower::{Layer as _, util::option_layer};

/// Answers by `routes` until the daemon is to end, and tells them whose connection a request came on.
///
/// # Errors
///
/// As `Daemon::serve`.
pub async fn serve(
    daemon: &Daemon,
    listener: impl Into<Listener>,
    routes: Router,
) -> Result<(), Error> {
    let service_for = |from| {
        let at = match from {
            Connection::Tcp { local, .. } => Some(Extension(ReachedAt(local))),
            Connection::Unix => None,
        };
        (Extension(peer(from)), option_layer(at)).layer(routes.clone())
    };
    daemon.serve_each(listener, service_for).await
}

fn peer(from: Connection) -> Peer {
    match from {
        Connection::Tcp { local, remote } => Peer::of_tcp(local, remote),
        // A control socket, or one in a folder that only the same user may enter.
        Connection::Unix => Peer::SameUser,
    }
}
