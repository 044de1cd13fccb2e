use std::{path::Path, time::SystemTime};

use chain_daemon::Spec;
use daemon_lifecycle::{DaemonManager, Identity, Outcome, Waits};
use rbee_api::Part;

use crate::{
    Error, WorkerClient, WorkerType,
    config::{WorkerConfig, socket, worker_id},
    engine, failures,
    settings::{self, Settings},
};

/// A worker that answers on its socket.
#[derive(Debug, Clone)]
pub struct WorkerHandle {
    /// The instance's name on this host.
    pub id: String,
    pub model: String,
    pub slot: u8,
    /// Its place among those that compute the model together, where several do.
    pub part: Option<Part>,
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
    let settings = Settings::of(worker_type, &config)?;
    let manager = manager(worker_type, &config, settings.as_ref())?;
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
    settings::put(settings.as_ref(), &config)?;
    let spawned = manager.spawn().await;
    // Of a part nothing is remembered: each start is an engine of its own, and comes from whoever starts
    // the others too.
    let remembered = engine.filter(|_| config.part.is_none());
    match (&remembered, &spawned) {
        (Some(engine), Ok(_)) => failures::forget(engine),
        (Some(engine), Err(error)) if !error.is_build_failure() && !error.is_held_back() => {
            failures::note(engine, rbee_api::causes(error), SystemTime::now());
        }
        _ => {}
    }
    let daemon = spawned.map_err(|error| failed(&config, error))?;
    let generation = daemon.identity().generation;
    let client = WorkerClient::of_generation(&socket(&config.rbee, &id), generation)?;
    // One that has just been started has its socket.
    if matches!(daemon.outcome(), Outcome::Reused) {
        client.reach().await?;
    }
    Ok(WorkerHandle {
        client,
        id,
        identity: daemon.identity().clone(),
        outcome: daemon.outcome().clone(),
        slot: config.slot,
        part: config.part,
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
    // What it is told of its model matters to no build.
    let manager = manager(worker_type, &config, None)?;
    manager.build().await.map_err(|error| failed(&config, error))
}

/// Whether `identity` runs what the worker's sources say now, with the arguments, the settings and the
/// model's file that it would get now.
///
/// Reads file metadata only, narrates nothing and builds nothing. Any doubt is `false`.
pub async fn worker_is_current(
    worker_type: WorkerType,
    config: &WorkerConfig,
    identity: &Identity,
) -> bool {
    let settings = Settings::of(worker_type, config);
    match settings.and_then(|settings| manager(worker_type, config, settings.as_ref())) {
        Ok(manager) => manager.is_current(identity).await,
        Err(_) => false,
    }
}

/// Holds the binary of `bad` to have failed in the worker's place: [`spawn_worker`] starts `good` there until
/// the binary changes or a while is over.
///
/// # Errors
///
/// When `good` cannot be read, or the worker's folder cannot be written.
pub fn distrust(
    worker_type: WorkerType,
    config: &WorkerConfig,
    bad: &Identity,
    good: &Path,
    why: &str,
) -> Result<(), Error> {
    let settings = Settings::of(worker_type, config)?;
    let manager = manager(worker_type, config, settings.as_ref())?;
    manager.distrust(bad, good, why).map_err(|error| failed(config, error))
}

/// Whether what `identity` was started with is what it would be started with now: flags, settings and
/// the state of the model's file. What cannot be told is taken to be.
pub fn has_inputs_of(worker_type: WorkerType, config: &WorkerConfig, identity: &Identity) -> bool {
    let settings = Settings::of(worker_type, config);
    let manager = settings.and_then(|settings| manager(worker_type, config, settings.as_ref()));
    manager.map_or(true, |manager| manager.has_arguments_of(identity))
}

fn failed(config: &WorkerConfig, error: daemon_lifecycle::Error) -> Error {
    Error::Spawn { model: config.model.clone(), source: Box::new(error) }
}

fn manager(
    worker_type: WorkerType,
    config: &WorkerConfig,
    settings: Option<&Settings>,
) -> Result<DaemonManager, Error> {
    let (binary, instance) = (worker_type.binary(), config.instance());
    let args = args(worker_type, config, settings);
    let spec = Spec { binary, instance, args, takeover: true };
    let manager = chain_daemon::manager(&config.rbee, spec);
    let manager = manager.map_err(|error| failed(config, error))?.waits(config.waits);
    Ok(if config.goes_on { manager.without_falling_back() } else { manager })
}

/// All that a worker is started with: one that would be started with anything else is stale.
fn args(
    worker_type: WorkerType,
    config: &WorkerConfig,
    settings: Option<&Settings>,
) -> Vec<String> {
    let rbee = &config.rbee;
    let mut args = vec![
        "--name".to_owned(),
        config.model.clone(),
        "--socket".to_owned(),
        socket(rbee, &worker_id(config)).display().to_string(),
        "--parallel".to_owned(),
        config.parallel().to_string(),
        "--lease".to_owned(),
        rbee.worker.lease.as_secs().max(1).to_string(),
    ];
    if let Some(settings) = settings {
        args.extend(["--settings".to_owned(), settings.path.display().to_string()]);
    }
    args.extend(match worker_type {
        WorkerType::LlamaCpp => llama_flags(config),
        WorkerType::VLlm | WorkerType::External => engine::flags(worker_type, config),
    });
    args
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
    if let Some(state) = settings::file_state(&config.model_path) {
        flags.extend(["--model-state".to_owned(), state]);
    }
    let threads = entry.and_then(|entry| entry.threads).or(rbee.worker.threads);
    let layers = entry.and_then(|entry| entry.gpu_layers);
    for (flag, value) in [("--threads", threads), ("--context", context), ("--gpu-layers", layers)]
    {
        if let Some(value) = value {
            flags.extend([flag.to_owned(), value.to_string()]);
        }
    }
    if let Some(guesses) = entry.and_then(|entry| entry.speculative) {
        flags.extend(["--speculative".to_owned(), guesses.name().to_owned()]);
    }
    flags.extend(entry.into_iter().flat_map(|entry| entry.args.iter().cloned()));
    flags
}
