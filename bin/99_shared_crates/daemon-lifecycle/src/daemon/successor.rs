//! The new generation's side of a hand-over.

use std::{io, os::fd::OwnedFd, sync::Arc, time::Duration};

use tokio::sync::{mpsc, oneshot};

use super::{
    control,
    core::{Core, Gate, ToPredecessor, lock},
    listener,
    shutdown::ShutdownReason,
};
use crate::protocol::{Connection, Fault, FromDaemon, Reply, Request, State};

/// How long the old generation may take for an answer; a thread of its own gives it.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// Settling takes a last look at the new generation at most.
const SETTLE_LIMIT: Duration = Duration::from_secs(5);

/// The listener that the generation before holds for `address`; `None` when there is no such
/// generation any more, or it listens elsewhere.
pub(super) async fn listener(core: &Core, address: &str) -> io::Result<Option<OwnedFd>> {
    let mut session = core.session.lock().await;
    let Some(session) = open(core, &mut session).await? else { return Ok(None) };
    let asked = Request::Listener { address: address.to_owned() };
    match session.ask(&asked, ANSWER_LIMIT).await? {
        Reply::Listener { found: true } => {}
        Reply::Listener { found: false } => return Ok(None),
        other => return Err(refused(&other)),
    }
    session.send(&Request::Descriptor { address: address.to_owned() }).await?;
    tokio::time::timeout(ANSWER_LIMIT, listener::receive_fd(session.get_ref()))
        .await
        .map_err(io::Error::from)?
        .map(Some)
}

/// Opens the hand-over if that has not been done; `None` when nobody is there to hand over.
async fn open<'a>(
    core: &Core,
    session: &'a mut Option<Connection>,
) -> io::Result<Option<&'a mut Connection>> {
    if session.is_none() {
        let (Some(generation), Some(instance)) = (core.predecessor_generation(), &core.instance)
        else {
            return Ok(None);
        };
        let mut opened = match Connection::open(&instance.socket(generation)).await {
            Ok(opened) => opened,
            Err(error) if is_gone(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let identity = Box::new(core.identity().clone());
        let prepare = Request::Prepare { identity, terms: core.terms() };
        // A probation may have to be settled before the answer.
        match opened.ask(&prepare, ANSWER_LIMIT + SETTLE_LIMIT).await {
            Ok(Reply::Prepared) => *session = Some(opened),
            Ok(other) => return Err(refused(&other)),
            Err(error) if is_gone(&error) => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    Ok(session.as_mut())
}

fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::NotFound
            | Kind::ConnectionRefused
            | Kind::ConnectionReset
            | Kind::BrokenPipe
            | Kind::UnexpectedEof
    )
}

fn refused(reply: &Reply) -> io::Error {
    let why = match reply {
        Reply::Refused { why } => why.clone(),
        other => format!("unexpected answer {other:?}"),
    };
    io::Error::other(format!("the running generation does not hand over: {why}"))
}

/// Takes over: the old generation pauses, this one accepts.
pub(super) async fn take(core: &Arc<Core>) {
    if let Err(error) = try_take(core).await {
        tracing::error!(%error, "cannot take over");
        let failed = FromDaemon::Failed { reason: error.to_string(), fault: Fault::Other };
        drop(core.report(&failed).await);
        core.session.lock().await.take();
        core.begin_shutdown(ShutdownReason::Abandoned, Duration::ZERO);
    }
}

async fn try_take(core: &Arc<Core>) -> io::Result<()> {
    let mut session = core.session.lock().await;
    let paused = match open(core, &mut session).await? {
        Some(session) => match session.ask(&Request::Take, ANSWER_LIMIT).await {
            Ok(Reply::Yours) => true,
            Ok(other) => return Err(refused(&other)),
            // Killed in between: its listeners live on in this process.
            Err(error) if is_gone(&error) => false,
            Err(error) => return Err(error),
        },
        None => false,
    };
    if let Some(instance) = &core.instance {
        instance.set_current(core.identity())?;
    }
    core.set_gate(Gate::Open);
    core.set_state(State::Serving);
    match session.take() {
        Some(mut session) if paused => {
            session.send(&Request::Accepting).await?;
            let (to_predecessor, commands) = mpsc::channel(4);
            *lock(&core.predecessor) = Some(to_predecessor);
            tokio::spawn(on_probation(Arc::clone(core), session, commands));
        }
        _ => drop(tokio::spawn(control::stand_probation(Arc::clone(core)))),
    }
    drop(core.report(&FromDaemon::Serving).await);
    Ok(())
}

/// Until the old generation commits, or is no more.
async fn on_probation(
    core: Arc<Core>,
    mut session: Connection,
    mut commands: mpsc::Receiver<ToPredecessor>,
) {
    let mut settling: Vec<oneshot::Sender<()>> = Vec::new();
    let committed = loop {
        tokio::select! {
            said = session.next::<Reply>() => break matches!(said, Ok(Some(Reply::Commit))),
            Some(command) = commands.recv() => {
                let request = match command {
                    ToPredecessor::Settle(settled) => {
                        settling.push(settled);
                        Request::Settle
                    }
                    ToPredecessor::Leaving => Request::Leaving,
                };
                if session.send(&request).await.is_err() {
                    break false;
                }
            }
        }
    };
    lock(&core.predecessor).take();
    if committed {
        control::remember_as_good(&core);
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
