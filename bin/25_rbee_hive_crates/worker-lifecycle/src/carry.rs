use std::{io, os::fd::AsFd as _, path::PathBuf, time::Duration};

use daemon_lifecycle::{is_own, receive_descriptor, send_descriptor};
use rbee_api::carry::{GIVE, SOCKET, TAKE, TAKEN};
use rbee_config::RbeeConfig;
use tokio::{net::UnixStream, time::timeout};

use crate::WorkerHandle;

/// How long a worker may take to accept and to be told.
const TOLD_WITHIN: Duration = Duration::from_secs(1);

/// How long the worker in the other's place is kept for what it is given at once. What comes later than
/// that it takes beside its requests, some of which it has begun to compute by then.
const TAKEN_WITHIN: Duration = Duration::from_secs(1);

/// Conversations of a worker that is replaced, on their way to the one in its place. Dropped, they are
/// forgotten: their prompts are read again.
#[derive(Debug)]
pub struct Conversations(UnixStream);

impl Conversations {
    /// Has the worker send its conversations: those that nobody is using now, the others when they come to
    /// their ends. `None` from one that hands on none.
    pub async fn of(rbee: &RbeeConfig, worker: &WorkerHandle) -> Option<Self> {
        let id = &worker.id;
        let told = async {
            let (to, from) = UnixStream::pair()?;
            let worker = connect(rbee, id).await?;
            send_descriptor(&worker, GIVE, Some(to.as_fd())).await?;
            Ok::<_, io::Error>(Self(from))
        };
        within(TOLD_WITHIN, told)
            .await
            .inspect_err(|error| tracing::debug!(id, %error, "no conversation is carried over"))
            .ok()
    }

    /// Has the worker take them, and waits a little for those that are there already.
    pub async fn go_to(self, rbee: &RbeeConfig, worker: &WorkerHandle) {
        let id = &worker.id;
        let told = async {
            let worker = connect(rbee, id).await?;
            send_descriptor(&worker, TAKE, Some(self.0.as_fd())).await?;
            Ok(worker)
        };
        let taken = async {
            let worker = within(TOLD_WITHIN, told).await?;
            match within(TAKEN_WITHIN, receive_descriptor(&worker)).await? {
                Some((TAKEN, None)) => Ok(()),
                _ => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
            }
        };
        if let Err(error) = taken.await {
            tracing::debug!(id, %error, "conversations are carried over late, or not at all");
        }
    }
}

async fn connect(rbee: &RbeeConfig, id: &str) -> io::Result<UnixStream> {
    let path: PathBuf = rbee.paths.run.join(id).join(SOCKET);
    let stream = UnixStream::connect(path).await?;
    if is_own(&stream) { Ok(stream) } else { Err(io::ErrorKind::PermissionDenied.into()) }
}

async fn within<T>(limit: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(limit, work).await?
}
