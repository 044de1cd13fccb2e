//! The new generation's side from the hand-over to the end of the one before.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::{mpsc, oneshot};

use super::{
    control,
    core::{Core, ToPredecessor, lock},
};
use crate::{
    client, edge, instance,
    process::{self, Process},
    protocol::{Connection, Reply, Request},
};

/// Settling takes a last look at the new generation at most.
pub(super) const SETTLE_LIMIT: Duration = Duration::from_secs(5);

/// When the generation before has still not answered, it is asked whether it lives. Leaves time
/// for that within [`SETTLE_LIMIT`].
const SETTLE_PATIENCE: Duration = Duration::from_secs(2);

/// So long after the end of the probation nothing but a generation that hangs is silent.
const COMMIT_SLACK: Duration = Duration::from_secs(10);

/// One that drains ends itself at its deadline; this long after that it cannot.
const END_SLACK: Duration = Duration::from_secs(3);

const KILL_LIMIT: Duration = Duration::from_secs(3);

/// The process on the other side of a hand-over.
pub(super) struct Predecessor {
    pid: u32,
    start_time: u64,
    process: Process,
}

impl Predecessor {
    /// `None` when it has ended.
    pub(super) fn of(session: &Connection) -> Option<Self> {
        let pid = u32::try_from(session.get_ref().peer_cred().ok()?.pid()?).ok()?;
        let start_time = process::stat(pid)?.start_time;
        Some(Self { pid, start_time, process: Process::open(pid, start_time)? })
    }

    pub(super) async fn ends_within(&self, limit: Duration) -> bool {
        tokio::time::timeout(limit, self.process.ended()).await.is_ok()
    }

    async fn hangs(&self, core: &Core) -> bool {
        let Some(socket) = core.predecessor_socket() else { return false };
        self.process.is_alive() && client::hello(&socket).await.is_err()
    }

    /// Ends it with everything it has started.
    async fn end(&self, core: &Core) {
        let pid = self.pid;
        tracing::warn!(pid, "the generation before hangs and is ended");
        if !process::end_session(pid, self.start_time, Duration::ZERO, KILL_LIMIT).await {
            tracing::error!(pid, "the generation before cannot be killed");
        }
        if let Some(socket) = core.predecessor_socket() {
            instance::remove(&socket);
        }
    }
}

/// Lets the generation at the other end of `session` watch this one.
pub(super) fn begin(core: &Arc<Core>, session: Connection) {
    let (to_predecessor, commands) = mpsc::channel(4);
    *lock(&core.predecessor) = Some(to_predecessor);
    drop(tokio::spawn(until_it_ends(Arc::clone(core), session, commands)));
}

async fn until_it_ends(
    core: Arc<Core>,
    session: Connection,
    commands: mpsc::Receiver<ToPredecessor>,
) {
    let predecessor = Predecessor::of(&session);
    stand(&core, session, commands, predecessor.as_ref()).await;
    // It would end itself, unless it was stopped; and nobody else looks after it any more.
    if let Some(predecessor) = predecessor {
        let limit = core.drain() + control::CUT_GRACE + control::EXIT_GRACE + END_SLACK;
        if !predecessor.ends_within(limit).await {
            predecessor.end(&core).await;
        }
    }
}

/// Until the generation before commits, or is no more.
async fn stand(
    core: &Core,
    mut session: Connection,
    mut commands: mpsc::Receiver<ToPredecessor>,
    predecessor: Option<&Predecessor>,
) {
    let mut settling: Vec<oneshot::Sender<()>> = Vec::new();
    let probation = Duration::from_millis(core.terms().probation_ms);
    let mut overdue = Instant::now() + probation + COMMIT_SLACK;
    let committed = loop {
        tokio::select! {
            said = session.next::<Reply>() => break matches!(said, Ok(Some(Reply::Commit))),
            Some(command) = commands.recv() => {
                let request = match command {
                    ToPredecessor::Settle(settled) => {
                        settling.push(settled);
                        overdue = overdue.min(Instant::now() + SETTLE_PATIENCE);
                        Request::Settle
                    }
                    ToPredecessor::Leaving => Request::Leaving,
                };
                if session.send(&request).await.is_err() {
                    break false;
                }
            }
            () = tokio::time::sleep_until(overdue.into()) => match predecessor {
                Some(predecessor) if predecessor.hangs(core).await => {
                    predecessor.end(core).await;
                    break true;
                }
                _ => overdue = Instant::now() + COMMIT_SLACK,
            },
        }
    };
    lock(&core.predecessor).take();
    if committed {
        edge::passed("new.commit-heard");
        control::remember_as_good(core);
    }
    for settled in settling {
        // Whoever asked may have given up.
        settled.send(()).ok();
    }
}

/// Ends the probation of this generation, so that it may itself hand over.
pub(super) async fn settled(core: &Core) -> bool {
    let (settled, waiting) = oneshot::channel();
    let Some(predecessor) = lock(&core.predecessor).clone() else { return true };
    if predecessor.send(ToPredecessor::Settle(settled)).await.is_err() {
        return true;
    }
    // An answer that never comes because the task has ended is as good as one.
    tokio::time::timeout(SETTLE_LIMIT, waiting).await.is_ok()
}
