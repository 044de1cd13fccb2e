use chain_level::{Slot, to_its_end};
use daemon_lifecycle::{Outcome, SignOfLife, Waits};
use futures::TryFutureExt as _;
use hive_lifecycle::{HiveStartRequest, HiveStartResponse};
use narration_core::{Level, Narration};
use rbee_api::{ErrorBody, causes};

use super::{HiveHandle, Hives};
use crate::failure;

impl Hives {
    /// Starts or replaces the hive.
    pub(super) async fn start(
        &self,
        slot: &Slot<HiveHandle>,
        waits: Waits,
    ) -> Result<HiveHandle, ErrorBody> {
        let before = slot.current().map(|running| running.handle.identity.instance_id.clone());
        if self.is_elsewhere(&slot.name) {
            let (hives, alias) = (self.clone(), slot.name.clone());
            let starting = async move {
                let started = hives.0.elsewhere.start(&hives.config(), &alias, waits).await;
                hives.handle(&alias, started.map_err(|error| failure::hive(&error))?)
            };
            let hive = to_its_end(starting).await?;
            narrate(&hive, before.as_deref());
            return Ok(hive);
        }
        let request = HiveStartRequest { alias: Some(slot.name.clone()), waits };
        let starting = self.0.hosts.start(self.config(), request);
        let hive = to_its_end(starting.map_err(|error| failure::hive(&error))).await?;
        let HiveStartResponse { alias, base_url, identity, outcome } = hive;
        let hive = HiveHandle { alias, identity, outcome, way: self.0.here.at(base_url) };
        narrate(&hive, before.as_deref());
        Ok(hive)
    }

    /// What a hive on this host says of itself past its listener; `None` where that cannot be had.
    pub(super) async fn sign(&self, alias: &str) -> Option<SignOfLife> {
        let sign = self.0.hosts.sign(&self.config(), alias).await;
        sign.inspect_err(|error| tracing::debug!(error = causes(error), alias, "no sign of life"))
            .ok()?
    }

    /// The hive if it runs, stale or not; starts nothing.
    ///
    /// # Errors
    ///
    /// When it is not to be found out, as where its machine is out of reach.
    pub(crate) async fn find(
        &self,
        slot: &Slot<HiveHandle>,
    ) -> Result<Option<HiveHandle>, ErrorBody> {
        if let Some(running) = slot.current()
            && running.is_alive()
        {
            return Ok(Some(running.handle.clone()));
        }
        if self.is_elsewhere(&slot.name) {
            return self.look_for(&slot.name).await;
        }
        let found = self.0.hosts.find(&self.config(), &slot.name).await;
        let Some(identity) = found.map_err(|error| failure::hive(&error))? else { return Ok(None) };
        let way = self.0.here.at(hive_lifecycle::base_url(&identity));
        let (alias, outcome) = (slot.name.clone(), Outcome::Reused);
        Ok(Some(HiveHandle { alias, identity, outcome, way }))
    }
}

/// `before` is the instance that the queen knew.
fn narrate(hive: &HiveHandle, before: Option<&str>) {
    let HiveHandle { alias, identity, outcome, way } = hive;
    let base_url = way.shown();
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
