use std::time::Duration;

use chain_daemon::InstanceName;
use daemon_lifecycle::{Outcome, StopMode, instances, stop_all, stop_instance};
use rbee_config::RbeeConfig;
use tokio::task::JoinSet;

use crate::{Error, WorkerClient, WorkerHandle, client::Served, config::socket};

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
            let client = WorkerClient::of_generation(&socket(rbee, &id), identity.generation)?;
            asked.spawn(async move {
                let served = client.model().await;
                (id, slot, identity, client, served)
            });
        }
    }
    let mut workers = Vec::new();
    for (id, slot, identity, client, served) in asked.join_all().await {
        let outcome = Outcome::Reused;
        match served {
            Ok(Served { model, part }) => {
                workers.push(WorkerHandle { id, model, slot, part, identity, client, outcome });
            }
            Err(error) => tracing::warn!(id, %error, "a worker is alive but does not answer"),
        }
    }
    Ok(workers)
}

/// Whether a living process, perhaps one that only finishes its streams, has the instance's name.
pub fn is_taken(rbee: &RbeeConfig, id: &str) -> bool {
    instances(&rbee.paths.run).iter().any(|(name, _)| name == id)
}

/// Whether a worker of the hive for the model is alive, one that does not answer, or not yet, among them;
/// but for the worker `but`, if one is named.
pub fn is_alive_for(rbee: &RbeeConfig, hive: &str, model: &str, but: Option<&str>) -> bool {
    let instances = instances(&rbee.paths.run);
    let mut ids = instances.iter().map(|(id, _)| id.as_str());
    ids.any(|id| is_worker_for(id, hive, model) && Some(id) != but)
}

fn is_worker_for(id: &str, hive: &str, model: &str) -> bool {
    match id.parse() {
        Ok(InstanceName::Worker { slot, .. }) => {
            InstanceName::worker(model, slot, hive).to_string() == id
        }
        _ => false,
    }
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

/// The same for every worker that the hive has for the model, also those that still load it.
///
/// # Errors
///
/// When one of them does not end.
pub async fn stop_workers_of(
    rbee: &RbeeConfig,
    hive: &str,
    model: &str,
    drain: Duration,
) -> Result<(), Error> {
    let is_one = |id: &str| is_worker_for(id, hive, model);
    let stopped = stop_all(&rbee.paths.run, is_one, StopMode::Drain(drain)).await;
    let failed = |error| Error::StopAll { model: model.to_owned(), source: Box::new(error) };
    stopped.map(drop).map_err(failed)
}
