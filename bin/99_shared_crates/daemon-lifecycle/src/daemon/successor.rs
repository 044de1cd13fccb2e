//! The new generation's side of a hand-over.

use std::{
    io,
    os::fd::OwnedFd,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    core::Core,
    good,
    phase::{Event, ShutdownReason},
    probation::{self, Predecessor},
    session::Session,
};
use crate::{
    client,
    descriptor::receive_descriptor,
    edge,
    protocol::{Connection, Fault, FromDaemon, Reply, Request},
    state::State,
};

/// How long another generation may take for an answer; a thread of its own gives it.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// The same where it may first have to clear away one that has failed.
const PREPARE_LIMIT: Duration = Duration::from_secs(6);

/// The same where it first looks whether the one that stands by for it is there.
const TAKE_LIMIT: Duration = Duration::from_secs(8);

/// When nobody has given way by then, nobody will.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(50);

/// The listener that the generation before holds for `address`; `None` when there is no such
/// generation any more, or it listens elsewhere.
pub(super) async fn listener(core: &Core, address: &str) -> io::Result<Option<OwnedFd>> {
    let mut kept = core.session.lock().await;
    loop {
        let Some(session) = open(core, &mut kept).await? else { return Ok(None) };
        match ask_for_listener(&mut session.connection, address).await {
            Err(error) if is_gone(&error) => {
                // Killed in between. Only when it has ended, its port is free again.
                if let Some(old) = Predecessor::of(session) {
                    old.ends_within(ANSWER_LIMIT).await;
                }
                kept.take();
            }
            given => return given,
        }
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
    let received = receive_descriptor(session.get_ref());
    let received =
        tokio::time::timeout(ANSWER_LIMIT, received).await.map_err(io::Error::from)??;
    match received {
        Some((_, Some(fd))) => Ok(Some(fd)),
        Some((_, None)) | None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Opens the hand-over if that has not been done; `None` when nobody is there to hand over.
async fn open<'a>(
    core: &Core,
    kept: &'a mut Option<Session>,
) -> io::Result<Option<&'a mut Session>> {
    let Some(named) = core.predecessor_generation() else { return Ok(None) };
    if kept.is_none() {
        *kept = match prepare(core, named).await? {
            Some(session) => Some(session),
            // Whoever stood by for it may serve again.
            None => match another(core).await {
                Some(generation) => prepare(core, generation).await?,
                None => None,
            },
        };
    }
    Ok(kept.as_mut())
}

/// A generation that has the listeners, or is about to have them back.
async fn another(core: &Core) -> Option<u64> {
    let (instance, own) = (core.instance.as_ref()?, core.identity().generation);
    for generation in instance.generations().into_iter().rev().filter(|other| *other != own) {
        if let Ok(hello) = client::hello(&instance.socket(generation)).await
            && !matches!(hello.state, State::Starting | State::Draining)
        {
            return Some(generation);
        }
    }
    None
}

/// `None` when that generation is gone.
async fn prepare(core: &Core, generation: u64) -> io::Result<Option<Session>> {
    let Some(socket) = core.socket_of(generation) else { return Ok(None) };
    let asked = async {
        let mut connection = Connection::open(&socket).await?;
        let identity = Box::new(core.identity().clone());
        let prepare = Request::Prepare { identity, terms: core.terms() };
        match connection.ask(&prepare, PREPARE_LIMIT).await? {
            Reply::Prepared => Ok(Session { generation, connection }),
            other => Err(refused(&other)),
        }
    };
    match asked.await {
        Ok(session) => {
            edge::passed("new.prepared-heard");
            Ok(Some(session))
        }
        Err(error) if is_gone(&error) => Ok(None),
        Err(error) => Err(error),
    }
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
    let mut old = paused(core, &mut kept).await?;
    edge::passed("new.yours-heard");
    if let Some(record) = record {
        record.publish()?;
        edge::passed("new.recorded");
    }
    core.happened(Event::Serve);
    edge::passed("new.accepting");
    if let Some(session) = &mut old
        && let Err(error) = session.connection.send(&Request::Accepting).await
    {
        tracing::warn!(%error, "the generation before died as it handed over");
        old = None;
    }
    match old {
        Some(session) => {
            edge::passed("new.accepting-said");
            probation::begin(core, session);
        }
        None => drop(tokio::spawn(good::stand_probation(Arc::clone(core)))),
    }
    // One that was on probation itself, and has given way.
    if let Some(retired) = kept.take() {
        probation::look_after(core, retired);
    }
    drop(core.report(&FromDaemon::Serving).await);
    edge::passed("new.serving-said");
    Ok(())
}

/// Until no other generation accepts: the one that stands by from now on, or `None` when there is
/// none any more, whose listeners then live on in this process. What is left in `kept` is the way
/// to one that has given way for good.
async fn paused(core: &Core, kept: &mut Option<Session>) -> io::Result<Option<Session>> {
    let until = Instant::now() + PATIENCE;
    loop {
        let Some(session) = open(core, kept).await? else { return Ok(None) };
        match session.connection.ask(&Request::Take, TAKE_LIMIT).await {
            Ok(Reply::Yours) => return Ok(kept.take()),
            Ok(Reply::StandsBy { generation }) => match take_from(core, generation).await {
                Ok(stands_by) => return Ok(Some(stands_by)),
                Err(error) if Instant::now() > until => return Err(error),
                // Its part may have ended just now: then the other one gives way itself.
                Err(error) => {
                    tracing::debug!(%error, generation, "does not give way yet");
                    tokio::time::sleep(PAUSE).await;
                }
            },
            Ok(other) => return Err(refused(&other)),
            // Killed in between.
            Err(error) if is_gone(&error) => drop(kept.take()),
            Err(error) => return Err(error),
        }
    }
}

/// Takes over from a generation that stands by for another.
async fn take_from(core: &Core, generation: u64) -> io::Result<Session> {
    let gone = || io::Error::from(io::ErrorKind::NotFound);
    let mut session = prepare(core, generation).await?.ok_or_else(gone)?;
    match session.connection.ask(&Request::Take, ANSWER_LIMIT).await? {
        Reply::Yours => Ok(session),
        other => Err(refused(&other)),
    }
}
