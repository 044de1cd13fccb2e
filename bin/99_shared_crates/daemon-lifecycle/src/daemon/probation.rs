//! The new generation's side from the hand-over to the end of the one before.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::{mpsc, oneshot};

use super::{
    core::{Core, StandsBy, ToPredecessor, lock},
    good,
    phase::ShutdownReason,
    session::Session,
    shutdown::{CUT_GRACE, EXIT_GRACE},
};
use crate::{
    client, edge, instance,
    process::{self, Process},
    protocol::{Connection, Reply, Request},
};

/// Settling takes a last look at the new generation at most, and the end of one that hangs.
const SETTLE_LIMIT: Duration = Duration::from_secs(5);

/// When the generation before has still not answered, it is asked whether it lives.
const SETTLE_PATIENCE: Duration = Duration::from_secs(2);

/// So long after the end of the probation nothing but a generation that hangs is silent.
const COMMIT_SLACK: Duration = Duration::from_secs(10);

/// One that drains ends itself at its deadline; this long after that it cannot.
const END_SLACK: Duration = Duration::from_secs(3);

const KILL_LIMIT: Duration = Duration::from_secs(3);

/// The process on the other side of a hand-over.
pub(super) struct Predecessor {
    generation: u64,
    pid: u32,
    start_time: u64,
    process: Process,
}

impl Predecessor {
    /// `None` when it has ended.
    pub(super) fn of(session: &Session) -> Option<Self> {
        let pid = session.connection.get_ref().peer_cred().ok()?.pid()?;
        let pid = u32::try_from(pid).ok()?;
        let start_time = process::stat(pid)?.start_time;
        let process = Process::open(pid, start_time)?;
        Some(Self { generation: session.generation, pid, start_time, process })
    }

    pub(super) async fn ends_within(&self, limit: Duration) -> bool {
        tokio::time::timeout(limit, self.process.ended()).await.is_ok()
    }

    async fn hangs(&self, core: &Core) -> bool {
        let Some(socket) = core.socket_of(self.generation) else { return false };
        self.process.is_alive() && client::hello(&socket).await.is_err()
    }

    /// Ends it with everything it has started.
    async fn end(&self, core: &Core) {
        let pid = self.pid;
        tracing::warn!(pid, "the generation before hangs and is ended");
        if !process::end_session(pid, self.start_time, Duration::ZERO, KILL_LIMIT).await {
            tracing::error!(pid, "the generation before cannot be killed");
        }
        if let Some(socket) = core.socket_of(self.generation) {
            instance::remove(&socket);
        }
    }
}

/// Lets the generation at the other end of `session` watch this one.
pub(super) fn begin(core: &Arc<Core>, session: Session) {
    let (commands, asked) = mpsc::channel(4);
    let stands_by = StandsBy { generation: session.generation, commands };
    *lock(&core.predecessor) = Some(stands_by);
    drop(tokio::spawn(until_it_ends(Arc::clone(core), session, asked)));
}

/// Sees to it that a generation which drains ends: it would by itself, unless it was stopped, and
/// nobody else looks after it any more.
pub(super) fn look_after(core: &Arc<Core>, session: Session) {
    let Some(drains) = Predecessor::of(&session) else { return };
    let core = Arc::clone(core);
    drop(tokio::spawn(async move { until_drained(&core, &drains).await }));
}

async fn until_drained(core: &Core, drains: &Predecessor) {
    let limit = core.drain() + CUT_GRACE + EXIT_GRACE + END_SLACK;
    if !drains.ends_within(limit).await {
        drains.end(core).await;
    }
}

/// What has become of this generation when the one before stands by no more.
enum Outcome {
    /// It has proven itself.
    Committed,
    /// A newer one has taken its place, and looks after the one before.
    Retired,
    /// The one before has died.
    Alone,
}

async fn until_it_ends(core: Arc<Core>, session: Session, asked: mpsc::Receiver<ToPredecessor>) {
    let predecessor = Predecessor::of(&session);
    let outcome = stand(&core, session.connection, asked, predecessor.as_ref()).await;
    lock(&core.predecessor).take();
    match outcome {
        Outcome::Committed => {
            edge::passed("new.commit-heard");
            good::remember_as_good(&core);
        }
        Outcome::Retired => return,
        Outcome::Alone => drop(tokio::spawn(good::stand_probation(Arc::clone(&core)))),
    }
    if let Some(predecessor) = predecessor {
        until_drained(&core, &predecessor).await;
    }
}

/// Until the generation before commits, or is no more, or another has taken this one's place.
async fn stand(
    core: &Core,
    mut session: Connection,
    mut asked: mpsc::Receiver<ToPredecessor>,
    predecessor: Option<&Predecessor>,
) -> Outcome {
    // Answered when they are dropped, at the end.
    let mut settling: Vec<oneshot::Sender<()>> = Vec::new();
    let probation = Duration::from_millis(core.terms().probation_ms);
    let mut overdue = Instant::now() + probation + COMMIT_SLACK;
    loop {
        tokio::select! {
            said = session.next::<Reply>() => match said {
                Ok(Some(Reply::Commit)) => return Outcome::Committed,
                Ok(Some(Reply::Retire)) => {
                    core.begin_shutdown(ShutdownReason::Replaced, core.drain());
                    edge::passed("new.retired");
                    drop(session.send(&Request::Retired).await);
                    edge::passed("new.retired-said");
                    return Outcome::Retired;
                }
                _ => return Outcome::Alone,
            },
            Some(command) = asked.recv() => {
                let mut told = None;
                let request = match command {
                    ToPredecessor::Settle { settled, patience } => {
                        settling.push(settled);
                        overdue = overdue.min(Instant::now() + patience);
                        Request::Settle
                    }
                    ToPredecessor::Leaving { said } => {
                        told = said;
                        Request::Leaving
                    }
                };
                if session.send(&request).await.is_err() {
                    return Outcome::Alone;
                }
                if let Some(told) = told {
                    told.send(()).ok();
                }
            }
            () = tokio::time::sleep_until(overdue.into()) => match predecessor {
                Some(predecessor) if predecessor.hangs(core).await => {
                    predecessor.end(core).await;
                    return Outcome::Alone;
                }
                _ => overdue = Instant::now() + COMMIT_SLACK,
            },
        }
    }
}

/// The generation from which a next one has to take over, where it is not this one: as long as
/// this one is on probation, whoever stands by for it goes on doing so for the next one.
///
/// Where that cannot be, since it hangs or either of them comes from before this could be done, the
/// probation ends here.
pub(super) async fn stands_by(core: &Core, next_hands_on: bool) -> Option<u64> {
    let before = lock(&core.predecessor).clone()?;
    let patience = match client::hello(&core.socket_of(before.generation)?).await {
        Ok(hello) if hello.hands_on && next_hands_on => return Some(before.generation),
        Ok(_) => SETTLE_PATIENCE,
        Err(_) => Duration::ZERO,
    };
    let (settled, waiting) = oneshot::channel();
    if before.commands.send(ToPredecessor::Settle { settled, patience }).await.is_ok() {
        // That the task ends is an answer too.
        drop(tokio::time::timeout(SETTLE_LIMIT, waiting).await);
    }
    None
}
