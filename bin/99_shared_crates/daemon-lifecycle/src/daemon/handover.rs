//! The old generation's side of a hand-over.
//!
//! ```text
//! Serving -> Prepared -> LameDuck -> Probation -> Draining
//!    ^----------+-----------+------------+     any failure of the new generation
//! ```

use std::{
    io,
    os::fd::AsFd as _,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    core::{Core, Gate},
    listener, probation,
    shutdown::ShutdownReason,
};
use crate::{
    Identity, client, edge, process,
    protocol::{Connection, Reply, Request, State, Terms},
};

/// How long the new generation may take from being given the listeners to accepting on them.
const ACCEPT_LIMIT: Duration = Duration::from_secs(5);

/// How often the new generation is asked during its probation, and how long it may take.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);
const PROBE_LIMIT: Duration = Duration::from_secs(3);

/// One slow answer is not a failure.
const PROBES_FAILED: u32 = 2;

/// How long a new generation that failed may take to die.
const KILL_LIMIT: Duration = Duration::from_secs(3);

/// How long a next one waits for that.
const CLEAR_LIMIT: Duration = Duration::from_secs(4);

/// How a hand-over ended.
enum Verdict {
    /// The new generation stays.
    Commit,
    /// The new generation is not to serve. `Some` when it failed after it had been given the
    /// listeners, so that nobody but this process can say why.
    Resume(Option<String>),
    /// This generation was told to end, and both do.
    End,
}

/// Hands over to the generation `new`, which has asked for it on `control`.
pub(super) async fn give(
    core: &Arc<Core>,
    mut control: Connection,
    new: Identity,
    terms: Terms,
) -> io::Result<()> {
    let refuse = |why: &str| Reply::Refused { why: why.to_owned() };
    // One that has just failed may not have been cleared away yet.
    let only_one = tokio::time::timeout(CLEAR_LIMIT, core.handing_over.lock()).await;
    let Ok(_only_one) = only_one else {
        return control.send(&refuse("another generation is taking over")).await;
    };
    let peer = control.get_ref().peer_cred()?.pid();
    if peer != Some(new.pid.cast_signed()) || !new.is_alive() {
        return control.send(&refuse("the identity is not that of the process that asks")).await;
    }
    if core.shutdown.borrow().is_some() {
        return control.send(&refuse("this generation is ending")).await;
    }
    if !probation::settled(core).await {
        return control.send(&refuse("this generation is itself on probation")).await;
    }
    core.set_state(State::Prepared);
    edge::passed("old.prepared");
    let prepared = match control.send(&Reply::Prepared).await {
        Ok(()) => {
            edge::passed("old.prepared-said");
            prepared(core, &mut control).await
        }
        Err(_) => Some(Verdict::Resume(None)),
    };
    let verdict = match prepared {
        Some(verdict) => verdict,
        None => given(core, &mut control, &new, &terms).await,
    };
    match verdict {
        Verdict::Commit => {
            let drain = Duration::from_millis(terms.drain_ms);
            core.begin_shutdown(ShutdownReason::Replaced, drain);
            edge::passed("old.draining");
            drop(control.send(&Reply::Commit).await);
            edge::passed("old.commit-said");
            tracing::info!(generation = new.generation, "replaced");
        }
        Verdict::Resume(why) => resume(core, &new, why).await,
        // The connection's end tells the new generation that it stands alone.
        Verdict::End => {}
    }
    Ok(())
}

/// Until the new generation takes over; `None` when it does.
async fn prepared(core: &Core, control: &mut Connection) -> Option<Verdict> {
    let mut shutdown = core.shutdown_signal();
    loop {
        let request = tokio::select! {
            request = control.next::<Request>() => request,
            _ = &mut shutdown => return Some(Verdict::End),
        };
        let answered = match request {
            Ok(Some(Request::Listener { address })) => {
                control.send(&Reply::Listener { found: core.held(&address).is_some() }).await
            }
            Ok(Some(Request::Descriptor { address })) => match core.held(&address) {
                Some(fd) => {
                    let sent = listener::send_fd(control.get_ref(), fd.as_fd()).await;
                    edge::passed("old.listener-sent");
                    sent
                }
                None => return Some(Verdict::Resume(None)),
            },
            Ok(Some(Request::Take)) => return None,
            // It has ended, or speaks another language; its starter knows why.
            _ => return Some(Verdict::Resume(None)),
        };
        if answered.is_err() {
            return Some(Verdict::Resume(None));
        }
    }
}

/// From the moment this generation stops accepting.
async fn given(core: &Core, control: &mut Connection, new: &Identity, terms: &Terms) -> Verdict {
    core.set_gate(Gate::Shut);
    core.set_state(State::LameDuck);
    edge::passed("old.lame-duck");
    let accepting = async {
        control.send(&Reply::Yours).await?;
        edge::passed("old.yours-said");
        control.next::<Request>().await
    };
    match tokio::time::timeout(ACCEPT_LIMIT, accepting).await {
        Ok(Ok(Some(Request::Accepting))) => {}
        Ok(_) => return Verdict::Resume(Some("died as it took over".to_owned())),
        Err(_) => return Verdict::Resume(Some("did not begin to accept".to_owned())),
    }
    core.set_state(State::Probation);
    edge::passed("old.probation");
    on_probation(core, control, new, terms).await
}

async fn on_probation(
    core: &Core,
    control: &mut Connection,
    new: &Identity,
    terms: &Terms,
) -> Verdict {
    let mut shutdown = core.shutdown_signal();
    let began = Instant::now();
    let over = tokio::time::sleep(Duration::from_millis(terms.probation_ms));
    tokio::pin!(over);
    let mut probes = tokio::time::interval(PROBE_INTERVAL);
    probes.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    probes.tick().await;
    let mut failed = 0;
    loop {
        tokio::select! {
            () = &mut over => return Verdict::Commit,
            _ = &mut shutdown => return Verdict::End,
            said = control.next::<Request>() => match said {
                Ok(Some(Request::Settle)) => return Verdict::Commit,
                Ok(Some(Request::Leaving)) => {
                    core.begin_shutdown(ShutdownReason::Stop, core.drain());
                    return Verdict::End;
                }
                _ => {
                    let after = began.elapsed().as_secs_f32();
                    return Verdict::Resume(Some(format!("died {after:.1} s after it took over")));
                }
            },
            _ = probes.tick() => {
                let Some(why) = unwell(core, new, terms).await else {
                    failed = 0;
                    continue;
                };
                failed += 1;
                if failed == PROBES_FAILED {
                    return Verdict::Resume(Some(why));
                }
            }
        }
    }
}

async fn unwell(core: &Core, new: &Identity, terms: &Terms) -> Option<String> {
    let socket = core.instance.as_ref()?.socket(new.generation);
    let path = terms.health_path.as_deref()?;
    client::unwell(&socket, path, &core.identity().address, PROBE_LIMIT).await
}

/// Kills the new generation and goes on as if it had never been.
async fn resume(core: &Core, new: &Identity, why: Option<String>) {
    if let Some(why) = why {
        tracing::warn!(generation = new.generation, why, "the new generation failed; resuming");
        let gone = process::end_session(new.pid, new.start_time, Duration::ZERO, KILL_LIMIT).await;
        if !gone {
            tracing::error!(pid = new.pid, "the new generation cannot be killed");
        }
        edge::passed("old.new-killed");
        if let Some(instance) = &core.instance {
            instance.quarantine(&new.exe_hash, &new.args_hash, &why);
            edge::passed("old.new-quarantined");
            if let Err(error) = instance.set_current(core.identity()) {
                tracing::error!(%error, "cannot record that this generation serves again");
            }
            edge::passed("old.recorded-again");
            crate::instance::remove(&instance.socket(new.generation));
        }
    }
    core.set_gate(Gate::Open);
    core.set_state(State::Serving);
    edge::passed("old.resumed");
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixStream;

    use super::*;

    #[tokio::test]
    async fn one_that_dies_before_it_hears_that_it_may_prepare_leaves_the_old_one_serving() {
        let own = Identity::of_this_process("test").unwrap();
        let core = Arc::new(Core::new(own.clone(), None, None));
        core.set_state(State::Serving);
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(theirs);
        let terms = Terms { drain_ms: 0, probation_ms: 0, health_path: None };
        drop(give(&core, Connection::new(ours), own, terms).await);
        assert_eq!(*core.state.borrow(), State::Serving);
    }
}
