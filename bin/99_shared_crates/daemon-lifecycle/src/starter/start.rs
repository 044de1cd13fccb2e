use narration_core::lines;

use super::{
    binary::Binary,
    handle::{DaemonHandle, Outcome},
    launch::launch,
    stop::{end_dead, make_room},
};
use crate::{Error, Identity, edge, instance::Instance, spec::Spec};

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

/// Replaces a daemon that cannot hand over: it finishes what it has begun, while the next one serves
/// already.
pub(super) async fn stop_and_start(
    spec: &Spec,
    instance: &Instance,
    binary: &Binary,
    from: Identity,
) -> Result<DaemonHandle, Error> {
    make_room(instance, &from, spec.limits.drain_timeout).await?;
    start(spec, instance, binary, Outcome::Replaced { from }).await
}
