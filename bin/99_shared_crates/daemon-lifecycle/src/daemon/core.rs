use std::{
    net::SocketAddr,
    os::fd::OwnedFd,
    os::unix::net::UnixStream,
    path::PathBuf,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::task::TaskTracker;

use super::shutdown::{Shutdown, ShutdownReason, ShutdownSignal};
use crate::{
    Identity,
    instance::Instance,
    protocol::{Attachment, Connection, FromDaemon, Hello, PROTOCOL, State, Terms},
};

/// How long a signal from outside lets requests run, where the starter has said nothing.
const DEFAULT_DRAIN: Duration = Duration::from_secs(30);

/// Requests of starters waiting for [`crate::Daemon::serve`] to be called.
const HTTP_QUEUE_LEN: usize = 8;

/// Whether connections are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gate {
    Open,
    /// Another generation accepts, or will say when this one may.
    Shut,
    /// For good.
    Closed,
}

/// A listener kept so that it can be handed over, or resumed on.
pub(super) struct Held {
    /// The address as it was asked for, and as it is.
    requested: SocketAddr,
    local: SocketAddr,
    pub(super) fd: OwnedFd,
}

/// To the task that stands between this generation and the one before.
pub(super) enum ToPredecessor {
    /// End the probation now; answered when it has ended.
    Settle(oneshot::Sender<()>),
    Leaving,
}

/// What the daemon's handle, its lifecycle thread and its servers share.
pub(super) struct Core {
    pub(super) instance: Option<Instance>,
    pub(super) attachment: Option<Attachment>,
    initial: Identity,
    ready: OnceLock<Identity>,
    pub(super) state: watch::Sender<State>,
    pub(super) gate: watch::Sender<Gate>,
    pub(super) shutdown: watch::Sender<Option<Shutdown>>,
    held: Mutex<Vec<Held>>,
    /// Connections that starters turned into HTTP, and where the server finds them.
    pub(super) http: mpsc::Sender<UnixStream>,
    pub(super) http_in: tokio::sync::Mutex<mpsc::Receiver<UnixStream>>,
    /// The starter.
    pub(super) channel: tokio::sync::Mutex<Option<Connection>>,
    /// The hand-over from the generation before, until it takes place.
    pub(super) session: tokio::sync::Mutex<Option<Connection>>,
    /// Set while the generation before could still resume.
    pub(super) predecessor: Mutex<Option<mpsc::Sender<ToPredecessor>>>,
    /// One hand-over to a next generation at a time.
    pub(super) handing_over: tokio::sync::Mutex<()>,
    /// How many servers run.
    pub(super) servers: watch::Sender<usize>,
    /// What a generation that was replaced stays for, besides its connections.
    pub(super) work: TaskTracker,
}

impl Core {
    pub(super) fn new(
        identity: Identity,
        instance: Option<Instance>,
        attachment: Option<Attachment>,
    ) -> Self {
        let waits = attachment.as_ref().is_some_and(|a| a.predecessor.is_some());
        let (http, http_in) = mpsc::channel(HTTP_QUEUE_LEN);
        let work = TaskTracker::new();
        // Its end can be waited for at any time.
        work.close();
        Self {
            instance,
            attachment,
            initial: identity,
            ready: OnceLock::new(),
            state: watch::Sender::new(State::Starting),
            gate: watch::Sender::new(if waits { Gate::Shut } else { Gate::Open }),
            shutdown: watch::Sender::new(None),
            held: Mutex::default(),
            http,
            http_in: tokio::sync::Mutex::new(http_in),
            channel: tokio::sync::Mutex::default(),
            session: tokio::sync::Mutex::default(),
            predecessor: Mutex::default(),
            handing_over: tokio::sync::Mutex::default(),
            servers: watch::Sender::new(0),
            work,
        }
    }

    pub(super) fn identity(&self) -> &Identity {
        self.ready.get().unwrap_or(&self.initial)
    }

    /// Fixes the address; a second call changes nothing.
    pub(super) fn set_address(&self, address: String) {
        self.ready.get_or_init(|| Identity { address, ..self.initial.clone() });
    }

    pub(super) fn hello(&self) -> Hello {
        Hello {
            protocol: PROTOCOL,
            identity: self.identity().clone(),
            state: *self.state.borrow(),
            hands_over: !lock(&self.held).is_empty(),
        }
    }

    pub(super) fn predecessor_generation(&self) -> Option<u64> {
        self.attachment.as_ref()?.predecessor
    }

    /// Where the generation before answers.
    pub(super) fn predecessor_socket(&self) -> Option<PathBuf> {
        Some(self.instance.as_ref()?.socket(self.predecessor_generation()?))
    }

    pub(super) fn terms(&self) -> Terms {
        let manager = self.attachment.as_ref().map(|attachment| &attachment.manager);
        Terms {
            drain_ms: self.drain().as_millis() as u64,
            probation_ms: manager.map_or(0, |m| m.probation.as_millis() as u64),
            health_path: manager.and_then(|m| m.health_path.clone()),
        }
    }

    pub(super) fn drain(&self) -> Duration {
        self.attachment
            .as_ref()
            .map_or(DEFAULT_DRAIN, |attachment| attachment.manager.drain_timeout)
    }

    pub(super) fn hold(&self, requested: SocketAddr, local: SocketAddr, fd: OwnedFd) {
        lock(&self.held).push(Held { requested, local, fd });
    }

    /// A copy of the listener that was bound for `address`.
    pub(super) fn held(&self, address: &str) -> Option<OwnedFd> {
        let address: SocketAddr = address.parse().ok()?;
        lock(&self.held)
            .iter()
            .find(|held| held.requested == address || held.local == address)
            .and_then(|held| held.fd.try_clone().ok())
    }

    pub(super) fn shutdown_signal(&self) -> ShutdownSignal {
        ShutdownSignal::new(self.shutdown.subscribe())
    }

    /// Ends accepting for good and tells everyone. Said again, it can only bring the deadline
    /// forward.
    pub(super) fn begin_shutdown(&self, reason: ShutdownReason, drain: Duration) {
        let drain_deadline = Instant::now() + drain;
        self.gate.send_replace(Gate::Closed);
        self.state.send_replace(State::Draining);
        lock(&self.held).clear();
        if reason != ShutdownReason::Replaced
            && let Some(predecessor) = lock(&self.predecessor).as_ref()
        {
            drop(predecessor.try_send(ToPredecessor::Leaving));
        }
        self.shutdown.send_if_modified(|shutdown| match shutdown {
            Some(said) if said.drain_deadline <= drain_deadline => false,
            Some(said) => {
                said.drain_deadline = drain_deadline;
                true
            }
            None => {
                *shutdown = Some(Shutdown { reason, drain_deadline });
                true
            }
        });
    }

    /// Opens or shuts the gate, unless it is closed for good.
    pub(super) fn set_gate(&self, to: Gate) {
        self.gate.send_if_modified(|gate| {
            let changes = *gate != Gate::Closed && *gate != to;
            if changes {
                *gate = to;
            }
            changes
        });
    }

    /// Changes the state, unless the end has begun.
    pub(super) fn set_state(&self, to: State) {
        self.state.send_if_modified(|state| {
            let changes = *state != State::Draining && *state != to;
            if changes {
                *state = to;
            }
            changes
        });
    }

    /// Tells the starter; it may have gone.
    pub(super) async fn report(&self, message: &FromDaemon) -> std::io::Result<()> {
        match self.channel.lock().await.as_mut() {
            Some(channel) => channel.send(message).await,
            None => Ok(()),
        }
    }

    /// Removes what names this generation as running.
    pub(super) fn clean_up(&self) {
        if let Some(instance) = &self.instance {
            instance.clear_current(self.identity());
            crate::instance::remove(&instance.socket(self.identity().generation));
        }
    }
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core").field("hello", &self.hello()).finish_non_exhaustive()
    }
}

/// Nothing is left half-done under these locks, so a panic elsewhere does not spoil them.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
