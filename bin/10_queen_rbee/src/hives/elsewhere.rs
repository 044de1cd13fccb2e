//! Hives on other machines, behind the same names.

use std::{sync::Arc, time::Duration};

use chain_level::{Lapse, Places, Slot, to_its_end};
use hive_lifecycle::HiveElsewhere;
use http_guard::Token;
use narration_core::Narration;
use rbee_api::{ErrorBody, ErrorCode, Health, HiveInstalled, paths};
use tokio::time::{Instant, sleep, timeout};

use super::{HiveHandle, Hives, way::Way};
use crate::failure;

/// How long what a hive elsewhere was answering waits for a way to it.
const LINK_CUT: Duration = Duration::from_mins(2);

/// How long whoever looks on waits for a way to it.
const LOOK_LIMIT: Duration = Duration::from_secs(3);

/// Between two looks for a way.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// How long a hive elsewhere may take to answer, and its machine after that, within one round.
const HIVE_ANSWERS: Duration = Duration::from_millis(1200);
const MACHINE_ANSWERS: Duration = Duration::from_millis(600);

impl Hives {
    pub(super) fn is_elsewhere(&self, alias: &str) -> bool {
        let config = self.config();
        config.hive(Some(alias)).is_ok_and(|hive| hive.ssh_destination().is_some())
    }

    pub(super) fn handle(&self, alias: &str, hive: HiveElsewhere) -> Result<HiveHandle, ErrorBody> {
        let token = Token::revealed(&hive.token).ok_or_else(|| {
            let message = format!("the hive `{alias}` says no token");
            ErrorBody::new(ErrorCode::HiveUnavailable, message)
        })?;
        let (identity, outcome) = (hive.identity.clone(), hive.outcome.clone());
        let way = Way::elsewhere(hive, token);
        let way = way.map_err(|error| failure::unreachable(alias, &error))?;
        Ok(HiveHandle { alias: alias.to_owned(), identity, outcome, way })
    }

    /// The hive elsewhere if it runs; starts nothing.
    pub(super) async fn look_for(&self, alias: &str) -> Result<Option<HiveHandle>, ErrorBody> {
        let found = self.0.elsewhere.find(&self.config(), alias).await;
        let found = found.map_err(|error| failure::hive(&error))?;
        found.map(|hive| self.handle(alias, hive)).transpose()
    }

    async fn look_again_for(&self, alias: &str) -> Result<Option<HiveHandle>, ErrorBody> {
        let found = self.0.elsewhere.find_again(&self.config(), alias).await;
        let found = found.map_err(|error| failure::hive(&error))?;
        found.map(|hive| self.handle(alias, hive)).transpose()
    }

    /// The hive, for whoever looks on and does not wait for a connection to be made.
    pub(super) async fn found_soon(
        &self,
        slot: &Arc<Slot<HiveHandle>>,
    ) -> Result<Option<HiveHandle>, ErrorBody> {
        let (hives, slot) = (self.clone(), Arc::clone(slot));
        let looking = to_its_end(async move { hives.find(&slot).await });
        timeout(LOOK_LIMIT, looking).await.unwrap_or_else(|_| {
            let message = "its machine has not answered yet";
            Err(ErrorBody::new(ErrorCode::HiveUnavailable, message))
        })
    }

    /// The hive that goes on with what it was answering when the way to it was lost: waited for, for as
    /// long as a link may be cut. `None` where there is a way, and no hive.
    pub(super) async fn linked_again(
        &self,
        slot: &Slot<HiveHandle>,
    ) -> Result<Option<HiveHandle>, ErrorBody> {
        let until = Instant::now() + LINK_CUT;
        loop {
            let known = slot.current().filter(|running| running.is_alive());
            let found = match known {
                Some(running) => Ok(Some(running.handle.clone())),
                None => self.look_again_for(&slot.name).await,
            };
            let lost = match found {
                Ok(Some(hive)) => match self.get::<Health>(&hive, paths::HEALTH).await {
                    Ok(_) => return Ok(Some(hive)),
                    // It has died, and whoever is started in its place goes on.
                    Err(_) if hive.way.machine_answers(MACHINE_ANSWERS).await => return Ok(None),
                    Err(lost) => lost,
                },
                Ok(None) => return Ok(None),
                Err(lost) => lost,
            };
            if Instant::now() > until {
                return Err(lost);
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// Whether a hive elsewhere that has not answered in time is to blame itself.
    pub(super) async fn renewed<T>(
        hive: &HiveElsewhere,
        asked: impl Future<Output = Result<T, ErrorBody>>,
    ) -> Result<T, Lapse> {
        match timeout(HIVE_ANSWERS, asked).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(body)) => return Err(Lapse::Refused(body.error.message)),
            Err(_) => {}
        }
        if hive.machine_answers(MACHINE_ANSWERS).await {
            // It counts as missed once its time is over.
            std::future::pending::<()>().await;
        }
        Err(Lapse::Refused("its machine does not answer: the link may be slow, or cut".to_owned()))
    }

    /// Brings to its machine what the hive runs from; starts nothing.
    pub(crate) async fn install(&self, alias: &str) -> Result<HiveInstalled, ErrorBody> {
        let installed = self.0.elsewhere.install(&self.config(), alias).await;
        let installed = installed.map_err(|error| failure::hive(&error))?;
        let hive_lifecycle::Installed { host, pushed_bytes } = installed;
        Ok(HiveInstalled { alias: alias.to_owned(), host, pushed_bytes })
    }

    /// Stops the hive and removes it from its machine; says what ran.
    pub(crate) async fn uninstall(
        &self,
        places: &Places<HiveHandle>,
        alias: &str,
        models: bool,
    ) -> Result<Vec<String>, ErrorBody> {
        let slot = places.slot(alias);
        let _turn = slot.bringing_up.lock().await;
        slot.set(None);
        let stopped = self.0.elsewhere.uninstall(&self.config(), alias, models).await;
        let stopped = stopped.map_err(|error| failure::hive(&error))?;
        let human = format!("removed `{alias}` from its machine");
        Narration::new("queen", "hive_uninstall", human).about(alias).emit();
        Ok(stopped)
    }
}
