use std::{
    os::fd::OwnedFd,
    os::unix::net::UnixStream,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::task::TaskTracker;

use super::{
    phase::{self, Event, Phase, Shutdown, ShutdownReason},
    pulse::Pulse,
    session::{Session, Successor},
    shutdown::ShutdownSignal,
};
use crate::{
    Identity, edge,
    instance::Instance,
    protocol::{Attachment, Connection, FromDaemon, Hello, PROTOCOL, Terms},
};

/// How long a signal from outside lets requests run, where the starter has said nothing.
const DEFAULT_DRAIN: Duration = Duration::from_secs(30);

/// A few bytes go into a socket.
const FAREWELL_LIMIT: Duration = Duration::from_secs(2);

/// Requests of starters waiting for [`crate::Daemon::serve`] to be called.
const HTTP_QUEUE_LEN: usize = 8;

/// A listener kept so that it can be handed over, or resumed on.
pub(super) struct Held {
    /// The address as it was asked for, and as it is; of a Unix socket, the path of its file.
    requested: String,
    local: String,
    pub(super) fd: OwnedFd,
}

/// To the task that stands between this generation and the one before.
pub(super) enum ToPredecessor {
    /// End the probation now; answered when it has ended. One that is silent gets so much time
    /// before it is asked whether it lives.
    Settle { settled: oneshot::Sender<()>, patience: Duration },
    /// This generation was told to stop; answered when that has been said.
    Leaving { said: Option<oneshot::Sender<()>> },
}

/// The generation that would resume if this one failed.
#[derive(Clone)]
pub(super) struct StandsBy {
    pub(super) generation: u64,
    pub(super) commands: mpsc::Sender<ToPredecessor>,
}

/// What the daemon's handle, its lifecycle thread and its servers share.
pub(super) struct Core {
    pub(super) instance: Option<Instance>,
    pub(super) attachment: Option<Attachment>,
    initial: Identity,
    ready: OnceLock<Identity>,
    /// Changed by [`Self::happened`] alone.
    phase: watch::Sender<Phase>,
    held: Mutex<Vec<Held>>,
    /// Connections that starters turned into HTTP, and where the server finds them.
    pub(super) http: mpsc::Sender<UnixStream>,
    pub(super) http_in: tokio::sync::Mutex<mpsc::Receiver<UnixStream>>,
    /// The starter.
    pub(super) channel: tokio::sync::Mutex<Option<Connection>>,
    /// The hand-over from the generation before, until it takes place.
    pub(super) session: tokio::sync::Mutex<Option<Session>>,
    /// Set while the generation before could still resume.
    pub(super) predecessor: Mutex<Option<StandsBy>>,
    /// One hand-over to a next generation at a time.
    pub(super) handing_over: tokio::sync::Mutex<()>,
    /// Set while this generation stands by: whoever takes over from the one on probation.
    pub(super) candidates: Mutex<Option<mpsc::Sender<Successor>>>,
    /// Its files have been removed by itself.
    pub(super) forgotten: AtomicBool,
    /// How many servers accept, or would in another phase.
    pub(super) accepting: watch::Sender<usize>,
    /// How many servers run.
    pub(super) servers: watch::Sender<usize>,
    /// Of the threads that serve.
    pub(super) pulse: OnceLock<Arc<Pulse>>,
    /// What a generation that was replaced stays for, besides its connections.
    pub(super) work: TaskTracker,
}

impl Core {
    pub(super) fn new(
        identity: Identity,
        instance: Option<Instance>,
        attachment: Option<Attachment>,
    ) -> Self {
        let (http, http_in) = mpsc::channel(HTTP_QUEUE_LEN);
        let work = TaskTracker::new();
        // Its end can be waited for at any time.
        work.close();
        Self {
            instance,
            attachment,
            initial: identity,
            ready: OnceLock::new(),
            phase: watch::Sender::new(Phase::Starting),
            held: Mutex::default(),
            http,
            http_in: tokio::sync::Mutex::new(http_in),
            channel: tokio::sync::Mutex::default(),
            session: tokio::sync::Mutex::default(),
            predecessor: Mutex::default(),
            handing_over: tokio::sync::Mutex::default(),
            candidates: Mutex::default(),
            forgotten: AtomicBool::new(false),
            accepting: watch::Sender::new(0),
            servers: watch::Sender::new(0),
            pulse: OnceLock::new(),
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
            state: self.phase().state(),
            hands_over: !lock(&self.held).is_empty(),
            hands_on: true,
            is_ready: self.ready.get().is_some(),
            is_stuck: false,
        }
    }

    /// The same for whoever asks from outside, and may ask again because of it.
    pub(super) fn hello_said(&self) -> Hello {
        let is_stuck = self.pulse.get().is_some_and(|pulse| pulse.has_stopped());
        if is_stuck {
            tracing::error!("no task has come to its turn for some time");
        }
        Hello { is_stuck, ..self.hello() }
    }

    pub(super) fn predecessor_generation(&self) -> Option<u64> {
        self.attachment.as_ref()?.predecessor
    }

    /// Where another generation answers.
    pub(super) fn socket_of(&self, generation: u64) -> Option<PathBuf> {
        Some(self.instance.as_ref()?.socket(generation))
    }

    pub(super) fn terms(&self) -> Terms {
        let limits = self.attachment.as_ref().map(|attachment| &attachment.spec.limits);
        Terms {
            drain_ms: self.drain().as_millis() as u64,
            probation_ms: limits.map_or(0, |limits| limits.probation.as_millis() as u64),
            health_path: limits.and_then(|limits| limits.health_path.clone()),
            hands_on: true,
        }
    }

    pub(super) fn drain(&self) -> Duration {
        self.attachment
            .as_ref()
            .map_or(DEFAULT_DRAIN, |attachment| attachment.spec.limits.drain_timeout)
    }

    pub(super) fn hold(&self, requested: String, local: String, fd: OwnedFd) {
        lock(&self.held).push(Held { requested, local, fd });
    }

    /// Keeps this one in the place of that which was bound for `address`, if it is kept still.
    pub(super) fn hold_instead(&self, address: &str, fd: OwnedFd) {
        let mut held = lock(&self.held);
        if let Some(held) = held.iter_mut().find(|held| held.requested == address) {
            held.fd = fd;
        }
    }

    /// A copy of the listener that was bound for `address`.
    pub(super) fn held(&self, address: &str) -> Option<OwnedFd> {
        lock(&self.held)
            .iter()
            .find(|held| held.requested == address || held.local == address)
            .and_then(|held| held.fd.try_clone().ok())
    }

    pub(super) fn shutdown_signal(&self) -> ShutdownSignal {
        ShutdownSignal::new(self.phase.subscribe())
    }

    pub(super) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    pub(super) fn phases(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// Enters the phase that follows; `false` where the event means nothing in this one.
    pub(super) fn happened(&self, event: Event) -> bool {
        let mut from = None;
        let changed = self.phase.send_if_modified(|phase| {
            let to = phase::next(*phase, event);
            let before = std::mem::replace(phase, to);
            from = Some(before);
            before != to
        });
        let Some(from) = from.filter(|_| changed) else {
            tracing::debug!(?event, phase = ?self.phase(), "means nothing here");
            return false;
        };
        edge::entered(from.state(), event.name(), phase::next(from, event).state());
        true
    }

    /// Ends accepting for good and tells everyone. Said again, it can only bring the deadline
    /// forward.
    pub(super) fn begin_shutdown(&self, reason: ShutdownReason, drain: Duration) {
        self.happened(Event::end(reason, Instant::now() + drain));
        lock(&self.held).clear();
        if reason != ShutdownReason::Replaced
            && let Some(predecessor) = lock(&self.predecessor).as_ref()
        {
            drop(predecessor.commands.try_send(ToPredecessor::Leaving { said: None }));
        }
    }

    /// Makes sure that whoever would resume knows that this generation was told to stop: it takes one
    /// that is gone without a word to have died.
    pub(super) async fn say_farewell(&self) {
        let is_replaced = |end: Shutdown| end.reason == ShutdownReason::Replaced;
        if self.phase().end().is_none_or(is_replaced) {
            return;
        }
        let Some(before) = lock(&self.predecessor).clone() else { return };
        let (said, saying) = oneshot::channel();
        let farewell = async {
            if before.commands.send(ToPredecessor::Leaving { said: Some(said) }).await.is_ok() {
                // That the task ends is an answer too.
                drop(saying.await);
            }
        };
        drop(tokio::time::timeout(FAREWELL_LIMIT, farewell).await);
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
        self.forgotten.store(true, Ordering::Relaxed);
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
