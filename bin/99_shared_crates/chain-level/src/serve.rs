use axum::{Extension, Router};
use daemon_lifecycle::{Connection, Daemon, Error, Listener};
use http_guard::Peer;
use tower::Layer as _;

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
    daemon.serve_each(listener, |from| Extension(peer(from)).layer(routes.clone())).await
}

fn peer(from: Connection) -> Peer {
    match from {
        Connection::Tcp { local, remote } => Peer::of_tcp(local, remote),
        // A control socket, or one in a folder that only the same user may enter.
        Connection::Unix => Peer::SameUser,
    }
}
