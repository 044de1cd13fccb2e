use std::time::Duration;

use narration_core::{Level, lines};

use super::{
    handle::{DaemonHandle, Outcome},
    launch::{Launched, launch},
    running::{self, Running},
    spawn::{say, stop_and_start},
    update::Binary,
};
use crate::{
    DaemonManager, Error, Identity, client::Unwell, identity::hash_args, instance::Instance,
    process::Process,
};

/// A generation past its drain deadline ends soon after it.
const DRAIN_SLACK: Duration = Duration::from_secs(30);

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
    manager: &DaemonManager,
    instance: &Instance,
    binary: &Binary,
    from: Identity,
) -> Result<DaemonHandle, Error> {
    limit_draining(manager, instance).await;
    lines::spawning(&binary.shown, &manager.args).emit();
    let generation = instance.next_generation();
    let mut launched = launch(manager, binary, generation, Some(from.generation))?;
    let why = match try_replace(manager, instance, &mut launched).await {
        Ok(identity) => {
            return Ok(DaemonHandle::new(identity, Outcome::Replaced { from }));
        }
        // The old one listens there itself and does not hand that over.
        Err(Failure::Circumstances(Error::AddressInUse { address, .. }))
            if from.address.ends_with(&address) =>
        {
            crate::instance::remove(&instance.socket(generation));
            return stop_and_start(manager, instance, binary, from).await;
        }
        Err(Failure::Circumstances(error)) => {
            crate::instance::remove(&instance.socket(generation));
            return Err(error);
        }
        Err(Failure::Binary(failed)) => {
            instance.quarantine(&binary.exe_hash, &hash_args(&manager.args), &failed);
            failed.why
        }
    };
    crate::instance::remove(&instance.socket(generation));
    match running::find(instance).await {
        Running::Answering(hello) => {
            say(
                "replace",
                Level::Warn,
                manager,
                format!(
                    "The new '{}' failed, so process {} goes on serving: {why}",
                    manager.binary_name(),
                    hello.identity.pid,
                ),
            );
            Ok(DaemonHandle::new(hello.identity, Outcome::RolledBack { why }))
        }
        Running::Silent(_) | Running::Nobody => {
            Err(Error::HandOver { name: manager.binary_name(), why })
        }
    }
}

async fn try_replace(
    manager: &DaemonManager,
    instance: &Instance,
    launched: &mut Launched,
) -> Result<Identity, Failure> {
    let identity = launched.ready(manager.ready_timeout).await.map_err(Failure::of)?;
    launched.verify(manager, instance, &identity).await.map_err(Failure::of)?;
    launched.take().await.map_err(Failure::of)?;
    Ok(identity)
}

impl Failure {
    fn of(error: Error) -> Self {
        match error {
            Error::AddressInUse { .. }
            | Error::Hindered { .. }
            | Error::Io { .. }
            | Error::Launch { .. } => Self::Circumstances(error),
            Error::NotReadyInTime { .. } | Error::TooSlow { .. } => {
                Self::Binary(Unwell::slow(error.to_string()))
            }
            other => Self::Binary(Unwell::faulty(other.to_string())),
        }
    }
}

/// Waits until fewer generations drain than are allowed to.
async fn limit_draining(manager: &DaemonManager, instance: &Instance) {
    loop {
        let draining = running::draining(instance).await;
        if draining.len() < manager.max_draining {
            return;
        }
        let Some(oldest) = draining.first() else { return };
        let Some(process) = Process::open(oldest.pid, oldest.start_time) else { continue };
        say(
            "replace",
            Level::Info,
            manager,
            format!(
                "Waiting for process {} to finish its streams: {} generations of '{}' are draining",
                oldest.pid,
                draining.len(),
                manager.binary_name(),
            ),
        );
        let limit = manager.drain_timeout + DRAIN_SLACK;
        if tokio::time::timeout(limit, process.ended()).await.is_err() {
            return;
        }
    }
}
