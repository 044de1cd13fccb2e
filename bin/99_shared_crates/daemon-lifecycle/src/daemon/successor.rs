//! The new generation's side of a hand-over.

use std::{io, os::fd::OwnedFd, sync::Arc, time::Duration};

use super::{
    control,
    core::{Core, Gate},
    listener,
    probation::{self, Predecessor, SETTLE_LIMIT},
    shutdown::ShutdownReason,
};
use crate::{
    edge,
    protocol::{Connection, Fault, FromDaemon, Reply, Request, State},
};

/// How long the old generation may take for an answer; a thread of its own gives it.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// The listener that the generation before holds for `address`; `None` when there is no such
/// generation any more, or it listens elsewhere.
pub(super) async fn listener(core: &Core, address: &str) -> io::Result<Option<OwnedFd>> {
    let mut kept = core.session.lock().await;
    let Some(session) = open(core, &mut kept).await? else { return Ok(None) };
    match ask_for_listener(session, address).await {
        Err(error) if is_gone(&error) => {
            // Killed in between. Only when it has ended, its port is free again.
            if let Some(old) = Predecessor::of(session) {
                old.ends_within(ANSWER_LIMIT).await;
            }
            kept.take();
            Ok(None)
        }
        given => given,
    }
}

async fn ask_for_listener(session: &mut Connection, address: &str) -> io::Result<Option<OwnedFd>> {
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
        let Some(socket) = core.predecessor_socket() else { return Ok(None) };
        let mut opened = match Connection::open(&socket).await {
            Ok(opened) => opened,
            Err(error) if is_gone(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let identity = Box::new(core.identity().clone());
        let prepare = Request::Prepare { identity, terms: core.terms() };
        // A probation may have to be settled before the answer.
        match opened.ask(&prepare, ANSWER_LIMIT + SETTLE_LIMIT).await {
            Ok(Reply::Prepared) => {
                edge::passed("new.prepared-heard");
                *session = Some(opened);
            }
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
    edge::passed("new.take-heard");
    let mut kept = core.session.lock().await;
    // What cannot be written is found out while the old generation still serves.
    let record = match &core.instance {
        Some(instance) => Some(instance.draft_current(core.identity()).map_err(|error| {
            io::Error::new(error.kind(), format!("cannot record that it serves: {error}"))
        })?),
        None => None,
    };
    let mut old = match open(core, &mut kept).await? {
        Some(session) => match session.ask(&Request::Take, ANSWER_LIMIT).await {
            Ok(Reply::Yours) => kept.take(),
            Ok(other) => return Err(refused(&other)),
            // Killed in between: its listeners live on in this process.
            Err(error) if is_gone(&error) => {
                kept.take();
                None
            }
            Err(error) => return Err(error),
        },
        None => None,
    };
    edge::passed("new.yours-heard");
    if let Some(record) = record {
        record.publish()?;
        edge::passed("new.recorded");
    }
    core.set_gate(Gate::Open);
    core.set_state(State::Serving);
    edge::passed("new.accepting");
    if let Some(session) = &mut old
        && let Err(error) = session.send(&Request::Accepting).await
    {
        tracing::warn!(%error, "the generation before died as it handed over");
        old = None;
    }
    match old {
        Some(session) => {
            edge::passed("new.accepting-said");
            probation::begin(core, session);
        }
        None => drop(tokio::spawn(control::stand_probation(Arc::clone(core)))),
    }
    drop(core.report(&FromDaemon::Serving).await);
    edge::passed("new.serving-said");
    Ok(())
}
