use chain_level::{Slot, to_its_end};
use daemon_lifecycle::{Outcome, Waits};
use futures::TryFutureExt as _;
use hive_lifecycle::{HiveStartRequest, HiveStartResponse};
use narration_core::{Level, Narration};
use rbee_api::ErrorBody;

use super::{HiveHandle, Hives};
use crate::failure;

impl Hives {
    /// Starts or replaces the hive.
    pub(super) async fn start(
        &self,
        slot: &Slot<HiveHandle>,
        waits: Waits,
    ) -> Result<HiveHandle, ErrorBody> {
        let request = HiveStartRequest { alias: Some(slot.name.clone()), waits };
        let starting = self.0.hosts.start(self.config(), request);
        let hive = to_its_end(starting.map_err(|error| failure::hive(&error))).await?;
        let before = slot.current().map(|running| running.handle.identity.instance_id.clone());
        narrate(&hive, before.as_deref());
        let HiveStartResponse { alias, base_url, identity, outcome } = hive;
        Ok(HiveHandle { alias, base_url, identity, outcome })
    }

    /// The hive if it runs, stale or not; starts nothing.
    pub(super) async fn find(&self, slot: &Slot<HiveHandle>) -> Option<HiveHandle> {
        if let Some(running) = slot.current()
            && running.handle.identity.is_alive()
        {
            return Some(running.handle.clone());
        }
        let identity = self.0.hosts.find(&self.config(), &slot.name).await.ok().flatten()?;
        let base_url = hive_lifecycle::base_url(&identity);
        let (alias, outcome) = (slot.name.clone(), Outcome::Reused);
        Some(HiveHandle { alias, base_url, identity, outcome })
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
