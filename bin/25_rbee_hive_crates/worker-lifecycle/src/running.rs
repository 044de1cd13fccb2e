use std::time::Duration;

use daemon_lifecycle::{Outcome, StopMode, instances, stop_instance};
use rbee_config::RbeeConfig;

use crate::{
    Error, WorkerClient, WorkerHandle,
    spawn::{belongs_to, slot_of, socket},
};

/// The workers of a hive that are alive and answer, whoever spawned them.
///
/// # Errors
///
/// When the platform's HTTP client cannot be set up.
pub async fn running_workers(rbee: &RbeeConfig, hive: &str) -> Result<Vec<WorkerHandle>, Error> {
    let mut workers = Vec::new();
    for (id, identity) in
        instances(&rbee.paths.run).into_iter().filter(|(name, _)| belongs_to(name, hive))
    {
        let client = WorkerClient::new(&socket(rbee, &id))?;
        match client.model().await {
            Ok(model) => workers.push(WorkerHandle {
                slot: slot_of(&id),
                id,
                model,
                identity,
                client,
                outcome: Outcome::Reused,
            }),
            Err(error) => tracing::warn!(id, %error, "a worker is alive but does not answer"),
        }
    }
    Ok(workers)
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
