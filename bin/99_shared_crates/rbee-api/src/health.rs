use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The answer to `GET /health` of queen, hive and worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    pub status: Status,
    /// `queen-rbee`, `rbee-hive`, or a worker's: `llamacpp-worker`, `vllm-worker`, `external-worker`.
    pub role: String,
    /// Differs for every start of a process.
    pub instance_id: String,
    pub pid: u32,
    /// When the kernel started the process, in its own unit; with the pid it names one process.
    pub start_time: u64,
    /// BLAKE3 of the executable that is running, in hex.
    pub exe_hash: String,
    /// The workspace that the binary is built from; `None` for an installed release.
    pub source_root: Option<String>,
    pub version: String,
    pub uptime_s: u64,
}

impl Health {
    /// Without what tells of the process and its files.
    #[must_use]
    pub fn without_process(self) -> Self {
        Self {
            instance_id: String::new(),
            pid: 0,
            start_time: 0,
            exe_hash: String::new(),
            source_root: None,
            ..self
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Takes new requests.
    Ok,
    /// Finishes what it has and takes nothing new.
    Draining,
    /// Runs, and gets nowhere: what it is doing does not end, and it answers nobody before.
    Stuck,
}
