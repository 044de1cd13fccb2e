//! Conversations, handed on to the worker that takes this one's place.
//!
//! Whoever replaces a worker names to both the ends of a pair of sockets (`rbee_api::carry`). The old one
//! sends each conversation as a file in memory, by its descriptor: those that nobody is using at once, the
//! others when they come to their ends. The new one looks whether the file is whole and fits, and keeps it.
//! Whatever fails, a conversation is dropped, and its prompt is read again.

mod parcel; // one conversation as a file
mod session; // both sides of a pair of sockets

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use rbee_api::carry::SOCKET;
use tokio::{net::UnixListener, time::timeout};
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::Engine;

/// How long a worker that ends hands on what has come to its end last.
const LAST_WITHIN: Duration = Duration::from_secs(3);

/// Where conversations are handed on, as long as this lives.
#[derive(Debug)]
pub struct Carrier {
    engine: Engine,
    path: PathBuf,
    /// What is being given.
    giving: TaskTracker,
    _listening: AbortOnDropHandle<()>,
}

impl Carrier {
    /// Listens in `folder`, over a socket file of an earlier process.
    ///
    /// # Errors
    ///
    /// When the folder can have no socket.
    pub fn start(engine: Engine, folder: &Path) -> io::Result<Self> {
        let path = folder.join(SOCKET);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        let giving = TaskTracker::new();
        let listening = tokio::spawn(session::listen(engine.clone(), listener, giving.clone()));
        Ok(Self { engine, path, giving, _listening: AbortOnDropHandle::new(listening) })
    }

    /// Hands on what has come to its end by now, if somebody takes it: nothing will be answered any more.
    pub async fn finish(self) {
        let rest = async {
            self.engine.give_rest().await;
            self.giving.close();
            self.giving.wait().await;
        };
        if timeout(LAST_WITHIN, rest).await.is_err() {
            tracing::debug!("the last conversations are not carried over: it takes too long");
        }
    }
}

impl Drop for Carrier {
    fn drop(&mut self) {
        // Another process has it by now, or it is gone.
        drop(fs::remove_file(&self.path));
    }
}
