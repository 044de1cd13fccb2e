use std::time::Duration;

use chain_daemon::InstanceName;
use daemon_lifecycle::{Outcome, StopMode, instances, stop_instance};
use rbee_config::RbeeConfig;
use tokio::task::JoinSet;

use crate::{Error, WorkerClient, WorkerHandle, config::socket};

/// The workers of a hive that are alive and answer, whoever spawned them; those whose id `known`
/// knows are not asked.
///
/// # Errors
///
/// When the platform's HTTP client cannot be set up.
pub async fn running_workers(
    rbee: &RbeeConfig,
    hive: &str,
    known: impl Fn(&str) -> bool,
) -> Result<Vec<WorkerHandle>, Error> {
    let mut asked = JoinSet::new();
    for (id, identity) in instances(&rbee.paths.run) {
        let Ok(InstanceName::Worker { slot, hive: of, .. }) = id.parse() else { continue };
        if of == hive && !known(&id) {
            let client = WorkerClient::new(&socket(rbee, &id))?;
            asked.spawn(async move {
                let model = client.model().await;
                (id, slot, identity, client, model)
            });
        }
    }
    let mut workers = Vec::new();
    for (id, slot, identity, client, model) in asked.join_all().await {
        let outcome = Outcome::Reused;
        match model {
            Ok(model) => workers.push(WorkerHandle { id, model, slot, identity, client, outcome }),
            Err(error) => tracing::warn!(id, %error, "a worker is alive but does not answer"),
        }
    }
    Ok(workers)
}

/// Whether a living process, perhaps one that only finishes its streams, has the instance's name.
pub fn is_taken(rbee: &RbeeConfig, id: &str) -> bool {
    instances(&rbee.paths.run).iter().any(|(name, _)| name == id)
}

/// Lets the worker finish its streams for as long as `drain`, then ends it.
///
/// # Errors
///
/// When the process does not end.
pub async fn stop_worker(rbee: &RbeeConfig, id: &str, drain: Duration) -> Result<(), Error> {
    stop_instance(&rbee.paths.run, id, StopMode::Drain(drain))
        .await
        .map(drop)
        .map_err(|error| Error::Stop { instance: id.to_owned(), source: Box::new(error) })
}
