use std::{sync::Arc, time::Duration};

use super::core::Core;
use crate::{
    client, edge,
    instance::{GOOD_FILE, Good},
};

/// After a probation without incident this binary is one to fall back to. Only serving counts: one
/// that another has replaced meanwhile, and that resumes, begins anew.
pub(super) async fn stand_probation(core: Arc<Core>) {
    let Some(attachment) = &core.attachment else { return };
    let mut phases = core.phases();
    loop {
        let serves = phases.wait_for(|phase| phase.accepts() || phase.end().is_some()).await;
        let serves = serves.is_ok_and(|phase| phase.accepts());
        if !serves {
            return;
        }
        let has_stood = tokio::select! {
            () = tokio::time::sleep(attachment.spec.limits.probation) => true,
            _ = phases.wait_for(|phase| !phase.accepts()) => false,
        };
        if has_stood && answers_well(&core).await {
            return remember_as_good(&core);
        }
    }
}

/// What a generation before it would have asked, had there been one.
async fn answers_well(core: &Core) -> bool {
    const LIMIT: Duration = Duration::from_secs(3);
    let (identity, terms) = (core.identity(), core.terms());
    let Some(socket) = core.socket_of(identity.generation) else { return true };
    let Some(path) = terms.health_path else { return true };
    client::unwell(&socket, &path, &identity.address, LIMIT).await.is_none()
}

pub(super) fn remember_as_good(core: &Core) {
    let (Some(instance), Ok(exe)) = (&core.instance, std::env::current_exe()) else { return };
    let exe_hash = core.identity().exe_hash.clone();
    if let Err(error) = instance.store(GOOD_FILE, &Good { exe, exe_hash }) {
        tracing::warn!(%error, "cannot record this binary as a good one");
    }
    edge::passed("daemon.recorded-as-good");
}
