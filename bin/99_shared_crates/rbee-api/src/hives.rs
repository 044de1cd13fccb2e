use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Health, Leaving, ModelList, WorkerList};

/// The answer to the queen's `GET /v1/hives`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HiveList {
    pub hives: Vec<Hive>,
}

/// The result of the job `hive_install`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HiveInstalled {
    pub alias: String,
    /// What `ssh` calls its machine.
    pub host: String,
    /// How much was brought there; 0 where all of it was there.
    pub pushed_bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Hive {
    pub alias: String,
    pub host: String,
    /// The configured port.
    pub port: u16,
    /// Where it answers, when it runs.
    pub base_url: Option<String>,
    pub state: HiveState,
    /// Why it is `failed`, or what it is waiting for.
    pub detail: Option<String>,
    pub health: Option<Health>,
    pub capabilities: Option<Capabilities>,
    pub workers: WorkerList,
    pub models: ModelList,
    /// Those that it has replaced, and that finish what they have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leaving: Vec<Leaving>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HiveState {
    Stopped,
    Starting,
    Ready,
    Failed,
}

/// The answer to the hive's `GET /v1/capabilities`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Capabilities {
    pub devices: Vec<Device>,
    pub memory_total_bytes: u64,
    pub memory_available_bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Device {
    /// `cpu`, `cuda:0`, `metal:0`: what a worker's `--device` takes.
    pub id: String,
    pub name: String,
    /// Cores of a CPU; `None` for a GPU.
    pub cores: Option<u32>,
    pub memory_bytes: Option<u64>,
}
