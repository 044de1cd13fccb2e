use std::{net::SocketAddr, time::Duration};

use narration_core::{Level, lines};

use super::{
    binary::Binary,
    handle::{DaemonHandle, Outcome},
    launch::{Launched, launch},
    narrate::say,
    running::{self, Running},
    start::{fault, stop_and_start},
};
use crate::{
    Error, Identity,
    client::{self, Unwell},
    instance::Instance,
    process,
    spec::{Limits, Spec},
};

/// How a replacement came out, as far as its starter sees.
enum Failure {
    /// The new binary is at fault, or was slow on what may have been a busy machine.
    Binary(Unwell),
    /// Something else is.
    Circumstances(Error),
}

/// Puts `binary` in the place of the running daemon `from`, which hands its listeners over.
///
/// The starter's part ends when the new one accepts; the old one stands by to resume until the
/// probation is over. With the lock held.
pub(super) async fn replace(
    spec: &Spec,
    instance: &Instance,
    binary: &Binary,
    from: Identity,
) -> Result<DaemonHandle, Error> {
    bound_draining(&spec.name(), &spec.limits, instance).await;
    lines::spawning(&binary.shown, &spec.run.args).emit();
    let mut launched = launch(spec, instance, binary, Some(from.generation))?;
    let why = match try_replace(&spec.limits, instance, &mut launched).await {
        Ok(identity) => {
            return Ok(DaemonHandle::new(identity, Outcome::Replaced { from }));
        }
        // The old one listens there itself and does not hand that over.
        Err(Failure::Circumstances(Error::AddressInUse { address, .. }))
            if is_in_the_way(&from.address, &address) =>
        {
            return stop_and_start(spec, instance, binary, from).await;
        }
        Err(Failure::Circumstances(error)) => return Err(error),
        Err(Failure::Binary(failed)) => {
            instance.quarantine(&binary.exe_hash, &spec.run.args_hash(), &failed);
            failed.why
        }
    };
    match running::find(instance).await? {
        Running::Answering(hello) => {
            say(
                "replace",
                Level::Warn,
                &spec.name(),
                format!(
                    "The new '{}' failed, so process {} goes on serving: {why}",
                    spec.name(),
                    hello.identity.pid,
                ),
            );
            Ok(DaemonHandle::new(hello.identity, Outcome::RolledBack { why }))
        }
        Running::Silent(_) | Running::Nobody => Err(Error::HandOver { name: spec.name(), why }),
    }
}

async fn try_replace(
    limits: &Limits,
    instance: &Instance,
    launched: &mut Launched,
) -> Result<Identity, Failure> {
    let identity = launched.serves(limits, instance).await.map_err(Failure::of)?;
    launched.take().await.map_err(Failure::of)?;
    Ok(identity)
}

/// Whether a daemon that answers at `own` is who listens where `wanted` cannot be bound: an address
/// that stands for all of a machine's has every other in the way.
fn is_in_the_way(own: &str, wanted: &str) -> bool {
    let parsed = |text: &str| text.parse::<SocketAddr>().ok();
    match (parsed(own), parsed(wanted)) {
        (Some(own), Some(wanted)) => {
            let is_any = own.ip().is_unspecified() || wanted.ip().is_unspecified();
            own.port() == wanted.port() && (is_any || own.ip() == wanted.ip())
        }
        _ => own.ends_with(wanted),
    }
}

impl Failure {
    fn of(error: Error) -> Self {
        fault(&error).map_or(Self::Circumstances(error), Self::Binary)
    }
}

/// Has the oldest generations hand on what they still have, where all that drain hold more memory
/// than they may. Nobody waits for them.
async fn bound_draining(name: &str, limits: &Limits, instance: &Instance) {
    let limit = limits.draining_bytes.or_else(|| Some(process::available_bytes()? / 4));
    let Some(limit) = limit else { return };
    let draining = running::draining(instance).await;
    let held = |one: &Identity| process::memory_bytes(one.pid).unwrap_or_default();
    let mut all: u64 = draining.iter().map(held).sum();
    for oldest in draining {
        if all <= limit {
            return;
        }
        all -= held(&oldest).min(all);
        say(
            "replace",
            Level::Info,
            name,
            format!(
                "Process {} hands its streams on: replaced generations of '{name}' hold too much memory",
                oldest.pid,
            ),
        );
        let socket = instance.socket(oldest.generation);
        if let Err(error) = client::stop(&socket, Duration::ZERO).await {
            tracing::debug!(%error, pid = oldest.pid, "does not listen");
        }
    }
}
