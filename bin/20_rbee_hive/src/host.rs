use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use daemon_lifecycle::Identity;
use futures::future::BoxFuture;
use rbee_config::RbeeConfig;
use worker_lifecycle::{Error, WorkerConfig, WorkerHandle, WorkerType};

use crate::devices;

/// What a hive needs of the machine that it runs on: processes of workers, and memory.
pub trait Host: fmt::Debug + Send + Sync {
    /// Builds the worker's binary if it must, and starts nothing; the model's file need not be there.
    fn build(&self, worker: WorkerConfig) -> BoxFuture<'static, Result<(), Error>>;

    /// Starts the worker, or takes the one that runs there with the same binary and arguments.
    fn spawn(&self, worker: WorkerConfig) -> BoxFuture<'static, Result<WorkerHandle, Error>>;

    /// Whether the process runs what the worker's sources and its configuration say now.
    fn is_current<'a>(
        &'a self,
        worker: &'a WorkerConfig,
        process: &'a Identity,
    ) -> BoxFuture<'a, bool>;

    /// Whether the process was started with what the worker would be started with now, from whichever
    /// binary.
    fn has_inputs_of(&self, _worker: &WorkerConfig, _process: &Identity) -> bool {
        true
    }

    /// Has the binary of `bad` count as one that failed in that worker's place, where `good` is started then.
    fn distrust(&self, worker: &WorkerConfig, bad: &Identity, good: &Path, why: &str);

    /// The file that the process runs from.
    fn executable(&self, process: &Identity) -> Option<PathBuf>;

    /// Resolves when the process is there no more.
    fn ended<'a>(&'a self, process: &'a Identity) -> BoxFuture<'a, ()>;

    /// The workers of the hive that are alive and whose ids are not among the `known`.
    fn running<'a>(
        &'a self,
        config: &'a RbeeConfig,
        hive: &'a str,
        known: Vec<String>,
    ) -> BoxFuture<'a, Result<Vec<WorkerHandle>, Error>>;

    /// Lets the worker finish its streams for as long as `drain`, then ends it.
    fn stop<'a>(
        &'a self,
        config: &'a RbeeConfig,
        id: &'a str,
        drain: Duration,
    ) -> BoxFuture<'a, Result<(), Error>>;

    /// The same for every worker of the hive for that model, those that load it among them.
    fn stop_all_of<'a>(
        &'a self,
        config: &'a RbeeConfig,
        hive: &'a str,
        model: &'a str,
        drain: Duration,
    ) -> BoxFuture<'a, Result<(), Error>>;

    /// Ends a worker that hangs, at once.
    fn end<'a>(&'a self, process: &'a Identity) -> BoxFuture<'a, ()>;

    /// Whether a living process has that id.
    fn is_taken(&self, config: &RbeeConfig, id: &str) -> bool;

    /// Whether a worker of the hive for that model is alive, one that does not answer, or not yet, among
    /// them.
    fn is_alive_for(&self, config: &RbeeConfig, hive: &str, model: &str, but: Option<&str>)
    -> bool;

    /// Memory that a new process could use now, in bytes; `None` where the system does not tell.
    fn available_memory(&self) -> Option<u64>;

    /// How many processes the system has ended so far because there was no memory left.
    fn memory_kills(&self) -> u64;

    /// Memory of the worker and of what it has compute, in bytes.
    fn memory_of(&self, process: &Identity) -> Option<u64>;

    /// Whether what computes for such a worker runs already, and would go on with it.
    fn shares_engine(&self, _worker: &WorkerConfig) -> bool {
        false
    }
}

fn kind(worker: &WorkerConfig) -> WorkerType {
    WorkerType::of(&worker.rbee, &worker.model, &worker.model_path)
}

/// This machine, by worker-lifecycle.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ThisHost;

impl Host for ThisHost {
    fn build(&self, worker: WorkerConfig) -> BoxFuture<'static, Result<(), Error>> {
        Box::pin(worker_lifecycle::build_worker(kind(&worker), worker))
    }

    fn spawn(&self, worker: WorkerConfig) -> BoxFuture<'static, Result<WorkerHandle, Error>> {
        Box::pin(worker_lifecycle::spawn_worker(kind(&worker), worker))
    }

    fn is_current<'a>(
        &'a self,
        worker: &'a WorkerConfig,
        process: &'a Identity,
    ) -> BoxFuture<'a, bool> {
        Box::pin(worker_lifecycle::worker_is_current(kind(worker), worker, process))
    }

    fn has_inputs_of(&self, worker: &WorkerConfig, process: &Identity) -> bool {
        worker_lifecycle::has_inputs_of(kind(worker), worker, process)
    }

    fn distrust(&self, worker: &WorkerConfig, bad: &Identity, good: &Path, why: &str) {
        if let Err(error) = worker_lifecycle::distrust(kind(worker), worker, bad, good, why) {
            tracing::warn!(error = rbee_api::causes(&error), "a binary that failed is not noted");
        }
    }

    fn executable(&self, process: &Identity) -> Option<PathBuf> {
        process.executable()
    }

    fn ended<'a>(&'a self, process: &'a Identity) -> BoxFuture<'a, ()> {
        Box::pin(process.ended())
    }

    fn running<'a>(
        &'a self,
        config: &'a RbeeConfig,
        hive: &'a str,
        known: Vec<String>,
    ) -> BoxFuture<'a, Result<Vec<WorkerHandle>, Error>> {
        let is_known = move |id: &str| known.iter().any(|known| known == id);
        Box::pin(worker_lifecycle::running_workers(config, hive, is_known))
    }

    fn stop<'a>(
        &'a self,
        config: &'a RbeeConfig,
        id: &'a str,
        drain: Duration,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(worker_lifecycle::stop_worker(config, id, drain))
    }

    fn stop_all_of<'a>(
        &'a self,
        config: &'a RbeeConfig,
        hive: &'a str,
        model: &'a str,
        drain: Duration,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(worker_lifecycle::stop_workers_of(config, hive, model, drain))
    }

    fn end<'a>(&'a self, process: &'a Identity) -> BoxFuture<'a, ()> {
        Box::pin(async {
            daemon_lifecycle::kill(process).await;
        })
    }

    fn is_taken(&self, config: &RbeeConfig, id: &str) -> bool {
        worker_lifecycle::is_taken(config, id)
    }

    fn is_alive_for(
        &self,
        config: &RbeeConfig,
        hive: &str,
        model: &str,
        but: Option<&str>,
    ) -> bool {
        worker_lifecycle::is_alive_for(config, hive, model, but)
    }

    fn available_memory(&self) -> Option<u64> {
        devices::available_memory()
    }

    fn memory_kills(&self) -> u64 {
        devices::memory_kills()
    }

    fn memory_of(&self, process: &Identity) -> Option<u64> {
        worker_lifecycle::memory_bytes(process)
    }

    fn shares_engine(&self, worker: &WorkerConfig) -> bool {
        worker_lifecycle::shares_engine(worker)
    }
}
