use std::time::Instant;

use daemon_lifecycle::Identity;
use rbee_api::{Health, Status};

/// What a daemon that takes requests says of itself.
pub fn health(identity: &Identity, since: Instant) -> Health {
    Health {
        status: Status::Ok,
        role: identity.role.clone(),
        instance_id: identity.instance_id.clone(),
        pid: identity.pid,
        start_time: identity.start_time,
        exe_hash: identity.exe_hash.clone(),
        source_root: identity.source_root.as_ref().map(|root| root.display().to_string()),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_s: since.elapsed().as_secs(),
    }
}
