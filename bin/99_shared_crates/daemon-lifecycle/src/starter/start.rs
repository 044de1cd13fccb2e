use narration_core::{Level, lines};

use super::{
    binary::Binary,
    handle::{DaemonHandle, Outcome},
    launch::launch,
    narrate::say,
    stop::{end_dead, make_room},
    update,
};
use crate::{Error, Identity, client::Unwell, edge, instance::Instance, spec::Spec};

/// Starts a daemon where none serves, with the lock held.
pub(super) async fn start(
    spec: &Spec,
    instance: &Instance,
    binary: &Binary,
    outcome: Outcome,
) -> Result<DaemonHandle, Error> {
    // A generation that died may have left children, which hold devices and memory.
    if let Some(dead) = instance.current().filter(|current| !current.is_alive()) {
        end_dead(instance, &dead).await?;
    }
    lines::spawning(&binary.shown, &spec.run.args).emit();
    let mut launched = launch(spec, instance, binary, None)?;
    let identity = launched.serves(&spec.limits, instance).await?;
    instance.release(&binary.exe_hash, &identity.args_hash);
    edge::passed("starter.released");
    Ok(DaemonHandle::new(identity, outcome))
}

/// The same, where what cannot be started is held back for a while, and `good` is started instead.
pub(super) async fn start_or(
    spec: &Spec,
    instance: &Instance,
    binary: &Binary,
    outcome: Outcome,
    good: impl FnOnce() -> Option<Binary>,
) -> Result<DaemonHandle, Error> {
    let error = match start(spec, instance, binary, outcome).await {
        Ok(handle) => return Ok(handle),
        Err(error) => error,
    };
    let Some(failed) = fault(&error).filter(|_| !was_killed(&error)) else { return Err(error) };
    instance.hold_back(&binary.exe_hash, &spec.run.args_hash(), &failed);
    let good = good().filter(|good| good.exe_hash != binary.exe_hash);
    let Some(good) = good.filter(|_| !spec.update.no_other) else { return Err(error) };
    let (name, why) = (spec.name(), failed.why);
    let human = format!("The new '{name}' failed, so the binary before is started again: {why}");
    say("replace", Level::Warn, &name, human);
    match start(spec, instance, &good, Outcome::RolledBack { why }).await {
        Ok(handle) => Ok(handle),
        Err(second) => {
            let second: &dyn std::error::Error = &second;
            tracing::warn!(error = second, "nor can the binary before be started");
            Err(error)
        }
    }
}

/// Replaces a daemon that cannot hand over: it finishes what it has begun, while the next one serves
/// already; where that cannot be started, another one from the binary before.
pub(super) async fn stop_and_start(
    spec: &Spec,
    instance: &Instance,
    binary: &Binary,
    from: Identity,
) -> Result<DaemonHandle, Error> {
    let before = Binary::of(&from);
    make_room(instance, &from, spec.limits.drain_timeout).await?;
    let good = || before.or_else(|| update::last_good(&spec.update, instance));
    start_or(spec, instance, binary, Outcome::Replaced { from }, good).await
}

/// Whether somebody else has ended it, or the system for want of memory: that says nothing of its binary.
fn was_killed(error: &Error) -> bool {
    let end = match error {
        Error::ExitedBeforeReady { status, .. } => status,
        Error::NotServing { why, .. } => why,
        _ => return false,
    };
    ["signal: 9 (", "signal: 15 ("].iter().any(|signal| end.contains(signal))
}

/// What is wrong with the binary, if that is why it was not started.
pub(super) fn fault(error: &Error) -> Option<Unwell> {
    match error {
        Error::AddressInUse { .. }
        | Error::Hindered { .. }
        | Error::Stopped { .. }
        | Error::StillAlive { .. }
        | Error::Io { .. }
        | Error::Launch { .. } => None,
        Error::NotReadyInTime { .. } | Error::TooSlow { .. } => {
            Some(Unwell::slow(error.to_string()))
        }
        other => Some(Unwell::faulty(other.to_string())),
    }
}
