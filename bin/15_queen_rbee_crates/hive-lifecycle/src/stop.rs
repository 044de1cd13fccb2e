use chain_daemon::{InstanceName, stop_mode};
use daemon_lifecycle::stop_all;
use rbee_config::RbeeConfig;

use crate::{Error, start::instance};

/// Stops the hive `alias` and the workers that it runs on this host; says what ran.
///
/// The hive goes first, so that it starts no worker again; its workers are found by their
/// instances' names, so they are stopped even when the hive was killed before. Requests under way
/// end first, or at the drain deadline; `now` they are cut, after a moment to say goodbye.
///
/// # Errors
///
/// An alias that is not configured; an instance that does not end.
pub async fn execute_hive_stop(
    config: &RbeeConfig,
    alias: &str,
    now: bool,
) -> Result<Vec<String>, Error> {
    let alias = &config.hive(Some(alias)).map_err(Error::UnknownHive)?.alias;
    let failed = |error| Error::Stop { alias: alias.clone(), source: Box::new(error) };
    let mode = stop_mode(config, now);
    let (run, hive) = (&config.paths.run, instance(alias));
    let is_hive = |name: &str| name.parse::<InstanceName>().is_ok_and(|name| name == hive);
    let mut stopped = stop_all(run, is_hive, mode).await.map_err(failed)?;
    let is_its_worker =
        |name: &str| name.parse::<InstanceName>().is_ok_and(|name| name.is_worker_of(alias));
    stopped.extend(stop_all(run, is_its_worker, mode).await.map_err(failed)?);
    Ok(stopped.into_iter().map(|(name, _)| name).collect())
}
