//! The old generation's side of a hand-over. Its phases are in `phase.rs`, and both sides in
//! `docs/handover.md`.

use std::{
    io,
    os::fd::AsFd as _,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use super::{
    core::{Core, lock},
    phase::{Event, ShutdownReason},
    probation,
    session::{Session, Successor},
};
use crate::{
    Identity,
    client::{self, Unwell},
    descriptor::send_descriptor,
    edge, process,
    protocol::{Connection, Reply, Request, Terms},
};

/// How long the new generation may take from being given the listeners to accepting on them.
const ACCEPT_LIMIT: Duration = Duration::from_secs(5);

/// How often the new generation is asked during its probation, and how long it may take.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);
const PROBE_LIMIT: Duration = Duration::from_secs(3);

/// A short probation has as many nevertheless.
const PROBES_AT_LEAST: u32 = 4;

/// One slow answer is not a failure, nor are two of a process that answers at its control socket: on a
/// busy machine the one before would be as slow.
const PROBES_FAILED: u32 = 2;
const PROBES_SLOW: u32 = 3;

/// How long a new generation that failed may take to die.
const KILL_LIMIT: Duration = Duration::from_secs(3);

/// How long a next one waits for that.
const CLEAR_LIMIT: Duration = Duration::from_secs(4);

/// How long one that takes over from a generation on probation may take to say so, and that one to
/// accept nothing more; meanwhile nobody watches it.
const HAND_ON_LIMIT: Duration = Duration::from_secs(3);

/// How a hand-over ended.
enum Verdict {
    /// The new generation stays.
    Commit,
    /// The new generation is not to serve. `Some` when it failed after it had been given the
    /// listeners, so that nobody but this process can say why, and end it.
    Resume(Option<Unwell>),
    /// This generation was told to end, and both do.
    End,
}

/// Hands over to the generation `identity`, which has asked for it on `control`.
pub(super) async fn give(
    core: &Arc<Core>,
    control: Connection,
    identity: Identity,
    terms: Terms,
) -> io::Result<()> {
    let mut new = Successor { control, identity, terms };
    let peer = new.control.get_ref().peer_cred()?.pid();
    if peer != Some(new.identity.pid.cast_signed()) || !new.identity.is_alive() {
        return new.refuse("the identity is not that of the process that asks").await;
    }
    // While this generation stands by for another, that task knows what to do about a newer one.
    let standing_by = lock(&core.candidates).clone();
    if let Some(standing_by) = standing_by {
        match standing_by.send(new).await {
            Ok(()) => return Ok(()),
            Err(mpsc::error::SendError(back)) => new = back,
        }
    }
    // One that has just failed may not have been cleared away yet.
    let only_one = tokio::time::timeout(CLEAR_LIMIT, core.handing_over.lock()).await;
    let Ok(_only_one) = only_one else {
        return new.refuse("another generation is taking over").await;
    };
    if !core.happened(Event::Prepare) {
        return new.refuse("this generation does not serve").await;
    }
    edge::passed("old.prepared");
    let prepared = match new.control.send(&Reply::Prepared).await {
        Ok(()) => {
            edge::passed("old.prepared-said");
            prepared(core, &mut new).await
        }
        Err(_) => Some(Verdict::Resume(None)),
    };
    let verdict = match prepared {
        Some(verdict) => verdict,
        None => given(core, &mut new).await,
    };
    match verdict {
        Verdict::Commit => {
            let drain = Duration::from_millis(new.terms.drain_ms);
            core.begin_shutdown(ShutdownReason::Replaced, drain);
            edge::passed("old.draining");
            drop(new.control.send(&Reply::Commit).await);
            edge::passed("old.commit-said");
            tracing::info!(generation = new.identity.generation, "replaced");
        }
        Verdict::Resume(failed) => resume(core, new, failed).await,
        // The connection's end tells the new generation that it stands alone.
        Verdict::End => {}
    }
    Ok(())
}

/// Until the new generation takes over from this one; `None` when it does.
async fn prepared(core: &Core, new: &mut Successor) -> Option<Verdict> {
    let mut shutdown = core.shutdown_signal();
    loop {
        let request = tokio::select! {
            request = new.control.next::<Request>() => request,
            _ = &mut shutdown => return Some(Verdict::End),
        };
        let answered = match request {
            Ok(Some(Request::Take)) => match probation::stands_by(core, new.terms.hands_on).await {
                None => return None,
                Some(generation) => new.control.send(&Reply::StandsBy { generation }).await,
            },
            Ok(Some(request)) => give_listener(core, &mut new.control, request).await,
            // It has ended, or speaks another language; its starter knows why.
            Ok(None) | Err(_) => return Some(Verdict::Resume(None)),
        };
        if answered.is_err() {
            return Some(Verdict::Resume(None));
        }
    }
}

/// Answers what a new generation may ask before it takes over.
async fn give_listener(core: &Core, control: &mut Connection, request: Request) -> io::Result<()> {
    match request {
        Request::Listener { address } => {
            control.send(&Reply::Listener { found: core.held(&address).is_some() }).await
        }
        Request::Descriptor { address } => {
            let fd = core.held(&address).ok_or(io::ErrorKind::NotFound)?;
            let sent = send_descriptor(control.get_ref(), b'\n', Some(fd.as_fd())).await;
            edge::passed("old.listener-sent");
            sent
        }
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// From the moment this generation stops accepting.
async fn given(core: &Core, new: &mut Successor) -> Verdict {
    if !core.happened(Event::Take) {
        return Verdict::End;
    }
    edge::passed("old.lame-duck");
    match accepts(core, new).await {
        Some(verdict) => verdict,
        None => on_probation(core, new).await,
    }
}

/// Lets the new generation accept; `None` when it does.
async fn accepts(core: &Core, new: &mut Successor) -> Option<Verdict> {
    let accepting = async {
        new.control.send(&Reply::Yours).await?;
        edge::passed("old.yours-said");
        new.control.next::<Request>().await
    };
    match tokio::time::timeout(ACCEPT_LIMIT, accepting).await {
        Ok(Ok(Some(Request::Accepting))) => {}
        Ok(_) => return Some(Verdict::Resume(Some(Unwell::faulty("died as it took over")))),
        Err(_) => return Some(Verdict::Resume(Some(Unwell::slow("did not begin to accept")))),
    }
    if !core.happened(Event::Accepting) {
        return Some(Verdict::End);
    }
    edge::passed("old.probation");
    None
}

/// Stands by for the new generation, and for each that takes its place meanwhile: a generation is
/// good after a probation of its own, and until one is, this one can resume.
async fn on_probation(core: &Core, new: &mut Successor) -> Verdict {
    let (sender, mut candidates) = mpsc::channel(1);
    *lock(&core.candidates) = Some(sender);
    let mut began = Instant::now();
    let verdict = loop {
        let watched = tokio::select! {
            verdict = watch(core, new, began) => Err(verdict),
            Some(candidate) = candidates.recv() => Ok(candidate),
        };
        match watched {
            Err(verdict) => break verdict,
            Ok(candidate) => match hand_on(core, new, candidate).await {
                Ok(false) => {}
                Ok(true) => began = Instant::now(),
                Err(verdict) => break verdict,
            },
        }
    };
    lock(&core.candidates).take();
    verdict
}

/// Watches the new generation until its probation is over, which ends with a probe that it passes.
async fn watch(core: &Core, new: &mut Successor, began: Instant) -> Verdict {
    let mut shutdown = core.shutdown_signal();
    let length = Duration::from_millis(new.terms.probation_ms);
    let (every, end) = (PROBE_INTERVAL.min(length / PROBES_AT_LEAST), began + length);
    let mut next = Instant::now() + every;
    let mut failed = 0;
    loop {
        // The last probe is one at the end.
        let at = if Instant::now() < end { next.min(end) } else { next };
        tokio::select! {
            _ = &mut shutdown => return Verdict::End,
            said = new.control.next::<Request>() => match said {
                Ok(Some(Request::Settle)) => return Verdict::Commit,
                Ok(Some(Request::Leaving)) => {
                    core.begin_shutdown(ShutdownReason::Stop, core.drain());
                    return Verdict::End;
                }
                _ => {
                    let after = began.elapsed().as_secs_f32();
                    let why = format!("died {after:.1} s after it took over");
                    return Verdict::Resume(Some(Unwell::faulty(why)));
                }
            },
            () = tokio::time::sleep_until(at.into()) => {
                let asked = Instant::now();
                let unwell = unwell(core, new).await;
                next = Instant::now() + every;
                let Some(why) = unwell else {
                    failed = 0;
                    if asked >= end {
                        return Verdict::Commit;
                    }
                    continue;
                };
                // Where this process was held up as well the machine was, and nothing is shown.
                if why.slow && asked.elapsed() > PROBE_LIMIT * 2 {
                    continue;
                }
                failed += 1;
                if failed >= if why.slow && why.lives { PROBES_SLOW } else { PROBES_FAILED } {
                    return Verdict::Resume(Some(why));
                }
            }
        }
    }
}

async fn unwell(core: &Core, new: &Successor) -> Option<Unwell> {
    let socket = core.socket_of(new.identity.generation)?;
    let path = new.terms.health_path.as_deref()?;
    client::unwell(&socket, path, &core.identity().address, PROBE_LIMIT).await
}

/// Lets `candidate` take over from the generation on probation, which has proven nothing and ends;
/// this one goes on standing by. `false` when it has not come to that and all is as it was.
async fn hand_on(
    core: &Core,
    new: &mut Successor,
    mut candidate: Successor,
) -> Result<bool, Verdict> {
    let taken = async {
        candidate.control.send(&Reply::Prepared).await?;
        edge::passed("old.hand-on-prepared");
        loop {
            match candidate.control.next::<Request>().await? {
                Some(Request::Take) => return Ok(()),
                Some(request) => give_listener(core, &mut candidate.control, request).await?,
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
    };
    let taken: Result<io::Result<()>, _> = tokio::time::timeout(HAND_ON_LIMIT, taken).await;
    if !matches!(taken, Ok(Ok(()))) {
        return Ok(false);
    }
    if !core.happened(Event::HandOn) {
        return Err(Verdict::End);
    }
    edge::passed("old.handing-on");
    retire(core, new).await;
    edge::passed("old.retired-heard");
    *new = candidate;
    accepts(core, new).await.map_or(Ok(true), Err)
}

/// Has the generation on probation make room, or ends it where it does not listen.
async fn retire(core: &Core, new: &mut Successor) {
    let failed = match retires(new).await {
        Ok(()) => return,
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            Unwell::slow("hung as another took its place")
        }
        Err(_) => Unwell::faulty("died as another took its place"),
    };
    end(core, &new.identity).await;
    condemn(core, &new.identity, &failed);
}

/// Until the generation on probation accepts nothing any more and finishes what it has.
async fn retires(new: &mut Successor) -> io::Result<()> {
    let retired = async {
        new.control.send(&Reply::Retire).await?;
        match new.control.next::<Request>().await? {
            // One that was told to end meanwhile accepts nothing any more either.
            Some(Request::Retired | Request::Leaving) => Ok(()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    };
    tokio::time::timeout(HAND_ON_LIMIT, retired).await.map_err(io::Error::from)?
}

/// Kills a generation with everything it has started.
async fn end(core: &Core, new: &Identity) {
    let gone = process::end_session(new.pid, new.start_time, Duration::ZERO, KILL_LIMIT).await;
    if !gone {
        tracing::error!(pid = new.pid, "the new generation cannot be killed");
    }
    edge::passed("old.new-killed");
    if let Some(instance) = &core.instance {
        crate::instance::remove(&instance.socket(new.generation));
    }
}

/// Notes why a generation failed.
fn condemn(core: &Core, new: &Identity, failed: &Unwell) {
    if let Some(instance) = &core.instance {
        instance.quarantine(&new.exe_hash, &new.args_hash, failed);
        edge::passed("old.new-quarantined");
    }
}

/// Goes on as if the new generation had never been; what that has begun to answer it finishes, where
/// it can.
async fn resume(core: &Arc<Core>, mut new: Successor, failed: Option<Unwell>) {
    let mut drains = false;
    if let Some(failed) = failed {
        let why = &failed.why;
        tracing::warn!(
            generation = new.identity.generation,
            why,
            "the new generation failed; resuming"
        );
        drains = failed.lives && new.terms.hands_on && retires(&mut new).await.is_ok();
        if drains {
            edge::passed("old.new-retired");
        } else {
            end(core, &new.identity).await;
        }
        condemn(core, &new.identity, &failed);
        if let Some(instance) = &core.instance {
            if let Err(error) = instance.set_current(core.identity()) {
                tracing::error!(%error, "cannot record that this generation serves again");
            }
            edge::passed("old.recorded-again");
        }
    }
    core.happened(Event::Resume);
    edge::passed("old.resumed");
    if drains {
        let Successor { control: connection, identity, .. } = new;
        probation::look_after(core, Session { generation: identity.generation, connection });
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixStream;

    use super::*;
    use crate::State;

    #[tokio::test]
    async fn one_that_dies_before_it_hears_that_it_may_prepare_leaves_the_old_one_serving() {
        let own = Identity::of_this_process("test").unwrap();
        let core = Arc::new(Core::new(own.clone(), None, None));
        core.happened(Event::Serve);
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(theirs);
        let terms = Terms { drain_ms: 0, probation_ms: 0, health_path: None, hands_on: true };
        drop(give(&core, Connection::new(ours), own, terms).await);
        assert_eq!(core.phase().state(), State::Serving);
    }
}
