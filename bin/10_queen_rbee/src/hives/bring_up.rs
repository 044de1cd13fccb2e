use std::sync::Arc;

use chain_daemon::HIVE;
use daemon_lifecycle::{Outcome, Waits};
use hive_lifecycle::{HiveStartRequest, HiveStartResponse};
use http_guard::ApiError;
use narration_core::{Level, Narration};
use rbee_api::ErrorBody;
use tracing::Instrument as _;

use super::{HiveHandle, Hives, Running, Slot, Wanted};
use crate::failure;

impl Hives {
    /// Whether the hive runs what its sources say now.
    pub(super) async fn is_current(&self, running: &Running) -> bool {
        let HiveHandle { alias, identity, .. } = &running.handle;
        self.0.hosts.is_current(&self.config(), alias, identity).await.unwrap_or(false)
    }

    /// Starts or replaces the hive; one caller at a time.
    pub(super) async fn bring_up(
        &self,
        slot: &Arc<Slot>,
        wanted: Wanted,
    ) -> Result<Arc<Running>, ErrorBody> {
        // Whoever has the turn may be building for nobody.
        let is_awaited = wanted.waits != Waits::Nobody;
        let hurry = is_awaited.then(|| chain_daemon::hurry(&self.config(), HIVE));
        let _turn = slot.bringing_up.lock().await;
        drop(hurry);
        // Somebody who was in front may have done it.
        if !wanted.distrust
            && let Some(running) = slot.current()
            && running.handle.identity.is_alive()
            && (!wanted.fresh || self.is_current(&running).await)
        {
            return Ok(running);
        }
        let request = HiveStartRequest { alias: Some(slot.name.clone()), waits: wanted.waits };
        // In a task of its own, so that a client who goes away leaves no half-started hive.
        let starting = self.0.hosts.start(self.config(), request);
        let hive = match tokio::spawn(starting.in_current_span()).await {
            Ok(started) => started.map_err(|error| failure::hive(&error))?,
            Err(error) => return Err(ApiError::internal(error).into()),
        };
        let before = slot.current().map(|running| running.handle.identity.instance_id.clone());
        narrate(&hive, before.as_deref());
        let HiveStartResponse { alias, base_url, identity, .. } = hive;
        let running = Running::new(HiveHandle { alias, base_url, identity });
        slot.set(Some(Arc::clone(&running)));
        Ok(running)
    }

    /// The hive if it runs, stale or not; starts nothing.
    pub(super) async fn find(&self, slot: &Slot) -> Option<HiveHandle> {
        if let Some(running) = slot.current()
            && running.handle.identity.is_alive()
        {
            return Some(running.handle.clone());
        }
        let identity = self.0.hosts.find(&self.config(), &slot.name).await.ok().flatten()?;
        let base_url = hive_lifecycle::base_url(&identity);
        Some(HiveHandle { alias: slot.name.clone(), base_url, identity })
    }
}

/// `before` is the instance that the queen knew.
fn narrate(hive: &HiveStartResponse, before: Option<&str>) {
    let HiveStartResponse { alias, base_url, identity, outcome } = hive;
    let (level, human) = match outcome {
        Outcome::Started => (Level::Info, format!("`{alias}` answers at {base_url}")),
        Outcome::Replaced { .. } => {
            (Level::Info, format!("`{alias}` was replaced and answers at {base_url}"))
        }
        Outcome::Reused if before.is_some_and(|before| before != identity.instance_id) => {
            (Level::Info, format!("`{alias}` has replaced itself and answers at {base_url}"))
        }
        Outcome::Reused => return,
        Outcome::RolledBack { why } => {
            (Level::Warn, format!("`{alias}` was not replaced, the one before serves on: {why}"))
        }
        Outcome::Stale { build_error } => {
            (Level::Warn, format!("`{alias}` runs an old binary: {build_error}"))
        }
    };
    Narration::new("queen", "hive_ready", human).about(alias).level(level).emit();
}
