use std::{path::PathBuf, sync::Arc};

use chain_daemon::InstanceName;
use daemon_lifecycle::Waits;
use rbee_api::{Part, Sampling};
use rbee_config::RbeeConfig;

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
    /// What its makers recommend, for requests where neither they nor the configuration say another thing.
    pub sampling: Sampling,
    /// `cpu`, as the hive's capabilities name it.
    pub device: String,
    /// Tells apart the workers of one model: a stale one and its successor run side by side.
    pub slot: u8,
    /// Its place among those that compute the model together, where several do.
    pub part: Option<Part>,
    /// Whether the worker before it goes on where this one cannot be started.
    pub goes_on: bool,
    /// Who waits for it.
    pub waits: Waits,
}

impl WorkerConfig {
    /// Requests that the worker answers at once.
    pub(crate) fn parallel(&self) -> u32 {
        let of_model = self.rbee.model.get(&self.model).and_then(|entry| entry.parallel);
        of_model.unwrap_or(self.rbee.worker.parallel)
    }

    pub(crate) fn instance(&self) -> InstanceName {
        InstanceName::worker(&self.model, self.slot, &self.hive)
    }
}

/// The name of the worker's instance on this host.
pub fn worker_id(config: &WorkerConfig) -> String {
    config.instance().to_string()
}

/// Where the worker of that name answers.
pub(crate) fn socket(rbee: &RbeeConfig, id: &str) -> PathBuf {
    rbee.paths.run.join(id).join("http.sock")
}
