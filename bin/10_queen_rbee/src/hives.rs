//! The next level of the queen: hives, by alias.

mod bring_up; // from an alias to a hive that answers
mod way; // how one is spoken to
mod elsewhere; // those on other machines
mod follow; // an edit here, on other machines
mod choose; // which hive a model goes to
mod group; // hives that compute one together: what is to be made of their workers
mod turn; // who starts and ends these, one at a time
mod together; // has hives start, watch and end them as one
mod level; // what the pool asks
mod list; // every hive with what it has

use std::sync::Arc;

use chain_level::{Metrics, Places};
use daemon_lifecycle::{Identity, Outcome};
use hive_lifecycle::Elsewhere;
use http_guard::Token;
use narration_core::Narration;
use rbee_api::ErrorBody;
use rbee_config::{LiveConfig, RbeeConfig};
use reqwest::{Method, RequestBuilder};

use self::{together::Groups, way::Way};
use crate::{failure, hosts::Hosts};

#[derive(Debug, Clone)]
pub(crate) struct Hives(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: LiveConfig,
    hosts: Arc<dyn Hosts>,
    elsewhere: Elsewhere,
    /// To hives on this host.
    here: Way,
    metrics: Metrics,
    groups: Groups,
}

/// A hive that answers.
#[derive(Debug, Clone)]
pub(crate) struct HiveHandle {
    pub(crate) alias: String,
    pub(crate) identity: Identity,
    /// How it came to answer.
    pub(crate) outcome: Outcome,
    pub(crate) way: Way,
}

impl Hives {
    /// # Errors
    ///
    /// When the platform's HTTP client cannot be set up.
    pub(crate) fn new(
        config: LiveConfig,
        token: Token,
        hosts: Arc<dyn Hosts>,
        metrics: Metrics,
    ) -> reqwest::Result<Self> {
        let (here, elsewhere) = (Way::here(token)?, Elsewhere::default());
        let groups = Groups::default();
        Ok(Self(Arc::new(Inner { config, hosts, elsewhere, here, metrics, groups })))
    }

    fn config(&self) -> Arc<RbeeConfig> {
        self.0.config.current()
    }

    /// A request to the hive, with the right to change its state.
    pub(crate) fn managing(&self, hive: &HiveHandle, method: Method, path: &str) -> RequestBuilder {
        hive.way.authorized(hive.way.request(method, path))
    }

    /// The same for an answer that goes on and on.
    pub(crate) fn streaming(
        &self,
        hive: &HiveHandle,
        method: Method,
        path: &str,
    ) -> RequestBuilder {
        hive.way.authorized(hive.way.stream(method, path))
    }

    /// The alias as configured; without one, the first hive's.
    pub(crate) fn alias(&self, alias: Option<&str>) -> Result<String, ErrorBody> {
        let config = self.config();
        let hive = config.hive(alias).map_err(hive_lifecycle::Error::UnknownHive);
        hive.map(|hive| hive.alias.clone()).map_err(|error| failure::hive(&error))
    }

    /// Of all configured hives, in the configuration's order.
    pub(crate) fn aliases(&self) -> Vec<String> {
        self.config().hives.iter().map(|hive| hive.alias.clone()).collect()
    }

    /// Stops the hive and its workers, `now` in the middle of requests; says what ran.
    pub(crate) async fn stop(
        &self,
        places: &Places<HiveHandle>,
        alias: &str,
        now: bool,
    ) -> Result<Vec<String>, ErrorBody> {
        let slot = places.slot(alias);
        let _turn = slot.bringing_up.lock().await;
        slot.set(None);
        let when = if now { "now" } else { "when their requests have ended" };
        let human = format!("stopping `{alias}` and its workers {when}");
        Narration::new("queen", "hive_stop", human).about(alias).emit();
        let config = self.config();
        let stopped = match self.is_elsewhere(alias) {
            true => self.0.elsewhere.stop(&config, alias, now).await,
            false => self.0.hosts.stop(&config, alias, now).await,
        };
        let stopped = stopped.map_err(|error| failure::hive(&error))?;
        let human = if stopped.is_empty() {
            format!("`{alias}` was not running")
        } else {
            format!("stopped {}", stopped.join(", "))
        };
        Narration::new("queen", "hive_stop", human).about(alias).emit();
        Ok(stopped)
    }
}
