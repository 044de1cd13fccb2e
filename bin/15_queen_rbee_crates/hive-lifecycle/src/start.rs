use std::sync::Arc;

use chain_daemon::{HIVE, InstanceName, Spec};
use daemon_lifecycle::{DaemonManager, Identity, Outcome, SignOfLife, Waits, instances};
use rbee_config::{HiveEntry, RbeeConfig};

use crate::Error;

/// Which hive to start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HiveStartRequest {
    /// A configured alias; `None` is the first hive of the configuration.
    pub alias: Option<String>,
    /// Who waits for it.
    pub waits: Waits,
}

/// A hive that answers.
#[derive(Debug, Clone)]
pub struct HiveStartResponse {
    pub alias: String,
    /// Such as `http://127.0.0.1:8600`, without a final slash; the port is the one it bound.
    pub base_url: String,
    pub identity: Identity,
    /// What had to be done: started, replaced, or found running and fresh.
    pub outcome: Outcome,
}

/// Makes sure that an up-to-date hive answers: starts it, or replaces one whose binary is stale.
///
/// # Errors
///
/// An alias that is not configured; and when the hive cannot be built, does not become ready, when
/// something else holds its port, or it runs from another source tree for a queen of that tree.
pub async fn execute_hive_start(
    request: HiveStartRequest,
    config: Arc<RbeeConfig>,
) -> Result<HiveStartResponse, Error> {
    let hive = config.hive(request.alias.as_deref()).map_err(Error::UnknownHive)?;
    let failed = |error| Error::Start { alias: hive.alias.clone(), source: Box::new(error) };
    let manager = manager(&config, hive).map_err(failed)?.waits(request.waits);
    let manager = manager.takeover(is_abandoned(&config, hive));
    let daemon = manager.spawn().await.map_err(failed)?;
    Ok(HiveStartResponse {
        alias: hive.alias.clone(),
        base_url: base_url(daemon.identity()),
        identity: daemon.identity().clone(),
        outcome: daemon.outcome().clone(),
    })
}

/// The hive that runs under `alias`, stale or not; starts nothing.
///
/// # Errors
///
/// An alias that is not configured; an unreadable run directory.
pub async fn find_hive(config: &RbeeConfig, alias: &str) -> Result<Option<Identity>, Error> {
    let hive = config.hive(Some(alias)).map_err(Error::UnknownHive)?;
    let failed = |error| Error::Find { alias: hive.alias.clone(), source: Box::new(error) };
    manager(config, hive).map_err(failed)?.running().await.map_err(failed)
}

/// What the hive `alias` that serves says of itself however much it has to answer; `None` where none is
/// there, or it is silent.
///
/// # Errors
///
/// As [`find_hive`].
pub async fn hive_sign(config: &RbeeConfig, alias: &str) -> Result<Option<SignOfLife>, Error> {
    let hive = config.hive(Some(alias)).map_err(Error::UnknownHive)?;
    let failed = |error| Error::Find { alias: hive.alias.clone(), source: Box::new(error) };
    manager(config, hive).map_err(failed)?.sign_of_life().await.map_err(failed)
}

/// Whether the process `identity` runs what the hive's sources say now.
///
/// Reads file metadata only, narrates nothing and builds nothing. Any doubt is `false`.
///
/// # Errors
///
/// An alias that is not configured.
pub async fn hive_is_current(
    config: &RbeeConfig,
    alias: &str,
    identity: &Identity,
) -> Result<bool, Error> {
    let hive = config.hive(Some(alias)).map_err(Error::UnknownHive)?;
    let failed = |error| Error::Find { alias: hive.alias.clone(), source: Box::new(error) };
    Ok(manager(config, hive).map_err(failed)?.is_current(identity).await)
}

/// Where the process says it listens.
pub fn base_url(identity: &Identity) -> String {
    format!("http://{}", identity.address)
}

fn manager(
    config: &RbeeConfig,
    hive: &HiveEntry,
) -> Result<DaemonManager, daemon_lifecycle::Error> {
    let spec = Spec {
        binary: HIVE,
        instance: instance(&hive.alias),
        args: vec![
            "--port".to_owned(),
            hive.port.to_string(),
            "--alias".to_owned(),
            hive.alias.clone(),
        ],
        takeover: false,
    };
    chain_daemon::manager(config, spec)
}

/// Whether no queen runs any more from the source tree that the hive comes from.
///
/// Somebody was asked before such a queen was replaced by one of this tree, and her hives go with
/// her. While she runs, two queens would replace each other's hive in turn.
fn is_abandoned(config: &RbeeConfig, hive: &HiveEntry) -> bool {
    let running = instances(&config.paths.run);
    let name = instance(&hive.alias).to_string();
    let tree = running.iter().find(|(running, _)| *running == name);
    let tree = tree.and_then(|(_, identity)| identity.source_root.as_ref());
    !running.iter().any(|(name, identity)| {
        let is_queen = matches!(name.parse::<InstanceName>(), Ok(InstanceName::Queen { .. }));
        is_queen && tree.is_some() && identity.source_root.as_ref() == tree
    })
}

/// The name of a hive's instance on its host.
pub(crate) fn instance(alias: &str) -> InstanceName {
    InstanceName::Hive { alias: alias.to_owned() }
}
