use std::{path::PathBuf, sync::Arc, time::SystemTime};

use chain_daemon::Spec;
use daemon_lifecycle::{DaemonManager, Identity, Outcome, Waits};
use rbee_config::RbeeConfig;

use crate::{Error, WorkerClient, WorkerType, engine, failures};

/// Which model a worker is to serve, and for whom.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    pub rbee: Arc<RbeeConfig>,
    /// Alias of the hive that it belongs to.
    pub hive: String,
    /// The name that requests use.
    pub model: String,
    /// The model's file or folder; empty where that is not known yet.
    pub model_path: PathBuf,
    /// `cpu`, as the hive's capabilities name it.
    pub device: String,
    /// Tells apart the workers of one model: a stale one and its successor run side by side.
    pub slot: u8,
    /// Who waits for it.
    pub waits: Waits,
}

/// A worker that answers on its socket.
#[derive(Debug, Clone)]
pub struct WorkerHandle {
    /// The instance's name on this host.
    pub id: String,
    pub model: String,
    pub slot: u8,
    pub identity: Identity,
    pub client: WorkerClient,
    /// What had to be done; [`Outcome::Reused`] for one that was found running.
    pub outcome: Outcome,
}

/// Makes sure that an up-to-date worker for the model answers in the slot.
///
/// Returns once the model is loaded and the worker has answered. One that runs there with the same
/// binary and arguments is taken as it is.
///
/// # Errors
///
/// When the worker cannot be built, or does not become ready: the model's file may be refused, or
/// memory may not suffice; the error has the worker's last words. An engine that has just failed is
/// tried again at once only for a person.
pub async fn spawn_worker(
    worker_type: WorkerType,
    config: WorkerConfig,
) -> Result<WorkerHandle, Error> {
    let id = worker_id(&config);
    let failed = |error| Error::Spawn { model: config.model.clone(), source: Box::new(error) };
    let manager = manager(worker_type, &config, &id).map_err(failed)?;
    let engine = engine::to_be_started(&config);
    if let Some(engine) = &engine
        && config.waits != Waits::Person
        && let Some(why) = failures::recent(engine, SystemTime::now())
    {
        return Err(Error::FailedBefore { model: config.model, why });
    }
    if engine.is_some()
        && worker_type == WorkerType::VLlm
        && let Err(program) = engine::vllm(&config.rbee)
    {
        return Err(Error::NoVllm { model: config.model, program });
    }
    let spawned = manager.spawn().await;
    match (&engine, &spawned) {
        (Some(engine), Ok(_)) => failures::forget(engine),
        (Some(engine), Err(error)) if !error.is_build_failure() => {
            failures::note(engine, rbee_api::causes(error), SystemTime::now());
        }
        _ => {}
    }
    let daemon = spawned.map_err(failed)?;
    Ok(WorkerHandle {
        client: WorkerClient::new(&socket(&config.rbee, &id))?,
        id,
        identity: daemon.identity().clone(),
        outcome: daemon.outcome().clone(),
        slot: config.slot,
        model: config.model,
    })
}

/// Makes the worker's binary what its sources say, which [`spawn_worker`] does first, and starts
/// nothing: the model's file need not be there yet.
///
/// # Errors
///
/// When the worker cannot be built.
pub async fn build_worker(worker_type: WorkerType, config: WorkerConfig) -> Result<(), Error> {
    let failed = |error| Error::Spawn { model: config.model.clone(), source: Box::new(error) };
    let manager = manager(worker_type, &config, &worker_id(&config)).map_err(failed)?;
    manager.build().await.map_err(failed)
}

/// The name of the worker's instance on this host.
pub fn worker_id(config: &WorkerConfig) -> String {
    instance(&config.hive, &config.model, config.slot)
}

/// Whether `identity` runs what the worker's sources say now, with the arguments it would get now.
///
/// Reads file metadata only, narrates nothing and builds nothing. Any doubt is `false`.
pub async fn worker_is_current(
    worker_type: WorkerType,
    config: &WorkerConfig,
    identity: &Identity,
) -> bool {
    let id = worker_id(config);
    match manager(worker_type, config, &id) {
        Ok(manager) => manager.is_current(identity).await,
        Err(_) => false,
    }
}

fn manager(
    worker_type: WorkerType,
    config: &WorkerConfig,
    id: &str,
) -> Result<DaemonManager, daemon_lifecycle::Error> {
    let rbee = &config.rbee;
    let mut args = vec![
        "--name".to_owned(),
        config.model.clone(),
        "--socket".to_owned(),
        socket(rbee, id).display().to_string(),
        "--parallel".to_owned(),
        config.parallel().to_string(),
        "--lease".to_owned(),
        rbee.worker.lease.as_secs().max(1).to_string(),
    ];
    args.extend(match worker_type {
        WorkerType::LlamaCpp => llama_flags(config),
        WorkerType::VLlm | WorkerType::External => engine::flags(worker_type, config),
    });
    let binary = worker_type.binary();
    let spec = Spec { binary, instance: id, args, takeover: true };
    Ok(chain_daemon::manager(rbee, spec)?.waits(config.waits))
}

fn llama_flags(config: &WorkerConfig) -> Vec<String> {
    let rbee = &config.rbee;
    let entry = rbee.model.get(&config.model);
    let context = entry.and_then(|entry| entry.context).or(rbee.worker.context);
    let mut flags = vec![
        "--model".to_owned(),
        config.model_path.display().to_string(),
        "--device".to_owned(),
        config.device.clone(),
    ];
    for (flag, value) in [("--threads", rbee.worker.threads), ("--context", context)] {
        if let Some(value) = value {
            flags.extend([flag.to_owned(), value.to_string()]);
        }
    }
    flags.extend(entry.into_iter().flat_map(|entry| entry.args.iter().cloned()));
    flags
}

impl WorkerConfig {
    /// Requests that the worker answers at once.
    pub(crate) fn parallel(&self) -> u32 {
        let of_model = self.rbee.model.get(&self.model).and_then(|entry| entry.parallel);
        of_model.unwrap_or(self.rbee.worker.parallel)
    }
}

/// `worker-MODEL.DIGEST.SLOT@HIVE`: readable, bounded, and different for different models.
fn instance(hive: &str, model: &str, slot: u8) -> String {
    let readable: String = model
        .rsplit('/')
        .next()
        .unwrap_or_default()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
        .take(16)
        .collect();
    let digest = blake3::hash(model.as_bytes()).to_hex();
    format!("worker-{readable}.{}.{slot}@{hive}", &digest[..6])
}

/// Whether [`instance`] made this name for a worker of `hive`. No alias has an `@` in it.
pub(crate) fn belongs_to(instance: &str, hive: &str) -> bool {
    instance.starts_with("worker-")
        && instance.rsplit_once('@').is_some_and(|(_, alias)| alias == hive)
}

/// The slot in a name that [`instance`] made.
pub(crate) fn slot_of(instance: &str) -> u8 {
    let before_hive = instance.rsplit_once('@').map_or(instance, |(worker, _)| worker);
    before_hive.rsplit('.').next().and_then(|slot| slot.parse().ok()).unwrap_or_default()
}

pub(crate) fn socket(rbee: &RbeeConfig, id: &str) -> PathBuf {
    rbee.paths.run.join(id).join("http.sock")
}

#[cfg(test)]
mod tests {
    use super::{belongs_to, instance, slot_of};

    #[test]
    fn models_that_read_alike_have_different_instances() {
        let (a, b) = (instance("h", "a/x:1", 0), instance("h", "b/x:1", 0));
        assert_ne!(a, b);
        assert!(a.starts_with("worker-x-1."), "{a}");
    }

    #[test]
    fn the_slot_and_the_hive_are_read_back_from_the_name() {
        let name = instance("my.hive", "smollm2:135m", 1);
        assert_eq!(slot_of(&name), 1);
        assert!(belongs_to(&name, "my.hive"));
    }

    #[test]
    fn a_hive_does_not_own_the_workers_of_one_whose_alias_ends_alike() {
        assert!(!belongs_to(&instance("b-a", "m", 0), "a"));
        assert!(!belongs_to("hive-a", "a"));
    }
}
