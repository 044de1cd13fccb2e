use chain_daemon::{InstanceName, stop_mode};
use daemon_lifecycle::{StopMode, Stopped, stop_all};
use rbee_config::RbeeConfig;

use crate::{Error, ensure::instance};

/// What a stop ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StopReport {
    /// The instances that ran and run no more, in the order in which they ended.
    pub stopped: Vec<String>,
}

/// How much is stopped, and how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StopRequest {
    /// The queen alone; hives and workers go on.
    pub keep_hives: bool,
    /// Requests under way are cut, after a moment to say goodbye.
    pub now: bool,
}

/// Stops the queen and, unless told to keep hives, everything that the chain runs on this host.
///
/// The queen goes first, then hives, then workers, so that none starts again what was stopped.
/// They are found by what is recorded under the run directory, whoever started them: a queen or a
/// hive that was killed leaves its children running, and they are stopped too. Requests under way
/// end first, or at the drain deadline, unless it is to be now.
///
/// # Errors
///
/// When an instance does not end; those before it have ended.
pub async fn stop_queen(config: &RbeeConfig, request: StopRequest) -> Result<StopReport, Error> {
    let queen = instance(config);
    let mode = stop_mode(config, request.now);
    let mut report = StopReport::default();
    stop(config, mode, |name| name == Some(&queen), &mut report).await?;
    if !request.keep_hives {
        let is_hive = |name: Option<&_>| matches!(name, Some(InstanceName::Hive { .. }));
        stop(config, mode, is_hive, &mut report).await?;
        let is_no_queen = |name: Option<&_>| !matches!(name, Some(InstanceName::Queen { .. }));
        stop(config, mode, is_no_queen, &mut report).await?;
    }
    Ok(report)
}

/// Stops what `filter` chooses; it is given no name where the instance is not one of the chain's.
async fn stop(
    config: &RbeeConfig,
    mode: StopMode,
    filter: impl Fn(Option<&InstanceName>) -> bool,
    report: &mut StopReport,
) -> Result<(), Error> {
    let stopped: Vec<(String, Stopped)> =
        stop_all(&config.paths.run, |name| filter(name.parse().ok().as_ref()), mode)
            .await
            .map_err(Error::Stop)?;
    report.stopped.extend(stopped.into_iter().map(|(name, _)| name));
    Ok(())
}
