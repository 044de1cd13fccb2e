//! The lifecycle thread: it answers starters, and nothing that the daemon computes can starve it.

use std::{
    io,
    os::unix::net::{UnixListener as StdUnixListener, UnixStream},
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{
    net::UnixListener,
    runtime::{Builder, Handle},
    signal::unix::{SignalKind, signal},
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    core::Core,
    good, handover,
    phase::{Event, ShutdownReason},
    shutdown::{CUT_GRACE, EXIT_GRACE},
    successor,
};
use crate::{
    descriptor::is_own,
    edge,
    findings::Findings,
    instance::{self, Instance},
    logs, process,
    protocol::{Connection, Fault, FromDaemon, Reply, Request, ToDaemon},
    starter::spawn::{self, Again},
};

/// After a stop the listeners are closed, unless no task of this daemon comes to its turn.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);

/// Between two looks whether its files are there.
const FILES_CHECK: Duration = Duration::from_millis(500);

/// Between two looks at the length of the log.
const LOG_CHECK: Duration = Duration::from_secs(5);

/// After accepting has failed, for want of descriptors for example.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The control socket, bound if no starter has left one; without a starter there is none.
pub(super) fn bind(
    core: &Core,
    left: Option<StdUnixListener>,
) -> io::Result<Option<StdUnixListener>> {
    let Some(instance) = &core.instance else { return Ok(None) };
    let Some(listener) = left else {
        return bind_at(&instance.socket(core.identity().generation)).map(Some);
    };
    listener.set_nonblocking(true)?;
    Ok(Some(listener))
}

fn bind_at(path: &Path) -> io::Result<StdUnixListener> {
    instance::remove(path);
    let listener = StdUnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Starts the thread.
pub(super) fn start(
    core: &Arc<Core>,
    channel: Option<UnixStream>,
    listener: Option<StdUnixListener>,
) -> io::Result<Handle> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    if let Some(channel) = channel {
        let _within = handle.enter();
        let channel = Connection::new(tokio::net::UnixStream::from_std(channel)?);
        *core.channel.try_lock().map_err(io::Error::other)? = Some(channel);
    }
    let core = Arc::clone(core);
    std::thread::Builder::new()
        .name("lifecycle".to_owned())
        .spawn(move || runtime.block_on(run(core, listener)))?;
    Ok(handle)
}

async fn run(core: Arc<Core>, listener: Option<StdUnixListener>) {
    tokio::spawn(obey_signals(Arc::clone(&core)));
    tokio::spawn(insist_on_the_end(Arc::clone(&core)));
    tokio::spawn(keep_log_short(Arc::clone(&core)));
    let Some(mut listener) = listener else { return std::future::pending().await };
    let mut answering;
    let mut findings = Findings::default();
    loop {
        // The one before goes only now: until then the kernel has said that somebody listens.
        answering = AbortOnDropHandle::new(tokio::spawn(answer(Arc::clone(&core), listener)));
        is_lost(&core, &mut findings).await;
        listener = loop {
            match make_anew(&core, &findings) {
                Ok(bound) => break bound,
                Err(error) => tracing::warn!(%error, "cannot be found, its files were removed"),
            }
            tokio::time::sleep(FILES_CHECK).await;
        };
        tracing::debug!(?answering, "makes way for the next");
    }
}

/// Until the control socket is gone: a cleaner was there, or the end of the user's session. Where only
/// the record is, it is written again.
async fn is_lost(core: &Arc<Core>, findings: &mut Findings) {
    let Some(instance) = &core.instance else { return std::future::pending().await };
    loop {
        tokio::time::sleep(FILES_CHECK).await;
        if core.forgotten.load(Ordering::Relaxed) {
            continue;
        }
        if !instance.socket(core.identity().generation).exists() {
            return;
        }
        if let Err(error) = findings.refresh(instance) {
            tracing::debug!(%error, "cannot read what was found out about binaries");
        }
        if core.phase().accepts() && !instance.is_recorded() {
            match record_anew(core, instance) {
                Ok(()) => tracing::warn!("its record was removed; it is there again"),
                Err(error) => tracing::warn!(%error, "its record was removed"),
            }
        }
    }
}

/// That it serves, and after a while that it is good.
fn record_anew(core: &Arc<Core>, instance: &Instance) -> io::Result<()> {
    // A starter may have been here first.
    if !instance.is_recorded() {
        instance.set_current(core.identity())?;
    }
    drop(tokio::spawn(good::stand_probation(Arc::clone(core))));
    Ok(())
}

/// The files by which starters find this daemon.
fn make_anew(core: &Arc<Core>, findings: &Findings) -> io::Result<StdUnixListener> {
    let instance = core.instance.as_ref().ok_or(io::ErrorKind::NotFound)?;
    instance.create().map_err(io::Error::other)?;
    instance.make_lockable()?;
    findings.restore(instance)?;
    if core.phase().accepts() {
        record_anew(core, instance)?;
    }
    // Last: then it can be found.
    let listener = bind_at(&instance.socket(core.identity().generation))?;
    tracing::warn!("its files were removed; they are there again");
    Ok(listener)
}

async fn answer(core: Arc<Core>, listener: StdUnixListener) {
    let listener = match UnixListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "no control socket"),
    };
    loop {
        match listener.accept().await {
            Ok((stream, _)) if is_own(&stream) => {
                let core = Arc::clone(&core);
                tokio::spawn(async move {
                    if let Err(error) = converse(&core, Connection::new(stream)).await {
                        tracing::debug!(%error, "a control connection failed");
                    }
                });
            }
            Ok(_) => tracing::warn!("another user connected to the control socket"),
            Err(error) => {
                tracing::warn!(%error, "cannot accept on the control socket");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn converse(core: &Arc<Core>, mut control: Connection) -> io::Result<()> {
    while let Some(request) = control.next().await? {
        match request {
            Request::Hello => control.send(&Reply::Hello(core.hello_said())).await?,
            Request::Stop { drain_ms } => {
                core.begin_shutdown(ShutdownReason::Stop, Duration::from_millis(drain_ms));
                // Whoever asked may want to listen there next.
                let mut accepting = core.accepting.subscribe();
                let closed = accepting.wait_for(|servers| *servers == 0);
                drop(tokio::time::timeout(CLOSE_LIMIT, closed).await);
                control.send(&Reply::Stopping).await?;
            }
            Request::Http => {
                control.send(&Reply::Http).await?;
                let stream = control.into_inner().into_std()?;
                return core.http.send(stream).await.map_err(io::Error::other);
            }
            Request::Prepare { identity, terms } => {
                return handover::give(core, control, *identity, terms).await;
            }
            Request::Listener { .. }
            | Request::Descriptor { .. }
            | Request::Take
            | Request::Accepting
            | Request::Settle
            | Request::Retired
            | Request::Leaving => {
                let why = "that is said within a hand-over only".to_owned();
                control.send(&Reply::Refused { why }).await?;
            }
        }
    }
    Ok(())
}

/// SIGTERM and SIGINT: the first one drains, the next one ends. SIGQUIT drains and never cuts.
/// SIGHUP asks for a hand-over to the same binary; where there is no starter's word on how, it is the
/// end of a terminal, and drains. SIGUSR1 and SIGUSR2 mean nothing, and end nothing.
async fn obey_signals(core: Arc<Core>) {
    let kinds = [
        SignalKind::terminate(),
        SignalKind::interrupt(),
        SignalKind::quit(),
        SignalKind::hangup(),
        SignalKind::user_defined1(),
        SignalKind::user_defined2(),
    ];
    let Ok(signals) = kinds.map(signal).into_iter().collect::<io::Result<Vec<_>>>() else {
        tracing::error!("cannot handle signals");
        return;
    };
    let Ok([mut terminate, mut interrupt, mut quit, mut hang_up, mut one, mut two]) =
        <[_; 6]>::try_from(signals)
    else {
        return;
    };
    loop {
        let is_ending = || core.phase().end().is_some();
        tokio::select! {
            _ = terminate.recv() => end(&core),
            _ = interrupt.recv() => end(&core),
            _ = quit.recv() => if !is_ending() { end(&core) },
            _ = hang_up.recv() => if !is_ending() { hand_over(&core) },
            _ = one.recv() => {}
            _ = two.recv() => {}
        }
    }
}

fn end(core: &Core) {
    let drain = if core.phase().end().is_some() { Duration::ZERO } else { core.drain() };
    core.begin_shutdown(ShutdownReason::Signal, drain);
}

/// Starts this daemon's own replacement, as any starter would.
fn hand_over(core: &Arc<Core>) {
    let Some(attachment) = &core.attachment else { return end(core) };
    let mut spec = attachment.spec.clone();
    // Without what a build is told by its surroundings it would be another one than the starter's.
    spec.update.policy.enabled &= spec.run.builds;
    drop(tokio::spawn(async move {
        match spawn::spawn(&spec, Again::Yes).await {
            Ok(handle) => tracing::info!(pid = handle.id(), "replaced, as a signal asked for"),
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, "cannot be replaced");
            }
        }
    }));
}

/// Kills this process when it hangs on its way out, with everything it has started: nobody else
/// waits for a generation that was replaced.
async fn insist_on_the_end(core: Arc<Core>) {
    core.shutdown_signal().drained().await;
    tokio::time::sleep(CUT_GRACE + EXIT_GRACE).await;
    tracing::error!("still running long after the drain deadline: killed");
    core.clean_up();
    let own = core.identity();
    let (pid, start_time) = (own.pid, own.start_time);
    if core.attachment.is_some() {
        process::signal_session(pid, start_time, rustix::process::Signal::KILL);
    } else if let Some(process) = process::Process::open(pid, start_time) {
        process.signal(rustix::process::Signal::KILL);
    }
}

async fn keep_log_short(core: Arc<Core>) {
    let Some(log) = core.attachment.as_ref().and_then(|a| a.spec.log_path().ok()) else {
        return;
    };
    if !logs::is_stderr(&log) {
        return;
    }
    loop {
        tokio::time::sleep(LOG_CHECK).await;
        // Of two generations that write to one log, the serving one keeps it.
        if core.phase().accepts()
            && let Err(error) = logs::rotate(&log)
        {
            tracing::warn!(%error, "cannot rotate the log");
        }
    }
}

/// Records and says that this generation is ready.
pub(super) async fn announce(core: Arc<Core>) -> io::Result<()> {
    let waits = core.predecessor_generation().is_some();
    if !waits {
        if let Some(instance) = &core.instance
            && let Err(error) = instance.set_current(core.identity())
        {
            let reason = format!("cannot record that it runs: {error}");
            core.report(&FromDaemon::Failed { reason, fault: Fault::Other }).await.ok();
            return Err(error);
        }
        edge::passed("daemon.recorded");
        core.happened(Event::Serve);
        drop(tokio::spawn(good::stand_probation(Arc::clone(&core))));
    }
    let said = core.report(&FromDaemon::Ready { identity: core.identity().clone() }).await;
    // Without its starter a first generation just serves; a next one would never be let in.
    if waits {
        said?;
    }
    edge::passed("daemon.ready-said");
    drop(tokio::spawn(follow_starter(core)));
    Ok(())
}

/// What the starter says after this generation was ready.
async fn follow_starter(core: Arc<Core>) {
    // Nobody else reads, and `report` needs the lock only for what `successor` says.
    let Some(mut channel) = core.channel.lock().await.take() else { return };
    let said = channel.next::<ToDaemon>().await;
    *core.channel.lock().await = Some(channel);
    match said {
        Ok(Some(ToDaemon::Take)) => successor::take(&core).await,
        _ if core.predecessor_generation().is_some() => {
            tracing::warn!("the starter went away before the hand-over");
            core.session.lock().await.take();
            core.begin_shutdown(ShutdownReason::Abandoned, Duration::ZERO);
        }
        _ => {}
    }
    // From here on the starter has no further part.
    core.channel.lock().await.take();
}
