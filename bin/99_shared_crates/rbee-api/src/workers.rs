use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Health, Part};

/// The socket on which a worker answers for its lease and its health, beside the `socket` for all else: no
/// load on that keeps it from answering here.
pub fn lease_socket(socket: &Path) -> PathBuf {
    socket.with_extension("life")
}

/// The socket beside that one on which a process answers for its jobs until it ends: also when another one,
/// of a later generation, has the `socket`, or nobody has.
pub fn jobs_socket(socket: &Path, generation: u64) -> PathBuf {
    socket.with_extension(format!("j{generation}"))
}

/// The generations that have, or had, such a socket there, the latest first.
pub fn jobs_sockets(socket: &Path) -> Vec<(u64, PathBuf)> {
    let folder = socket.parent().and_then(|folder| folder.read_dir().ok());
    let paths = folder.into_iter().flatten().flatten().map(|entry| entry.path());
    let generation = |path: &Path| path.extension()?.to_str()?.strip_prefix('j')?.parse().ok();
    let beside = paths.filter(|path| path.file_stem() == socket.file_stem());
    let mut found: Vec<_> = beside.filter_map(|path| Some((generation(&path)?, path))).collect();
    found.sort_unstable();
    found.reverse();
    found
}

/// The answer to `GET /v1/workers` of hive and queen.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WorkerList {
    pub workers: Vec<Worker>,
    /// The models that several hives compute together and whose worker here is alive, but not among these:
    /// it is being started or replaced, or does not answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub silent: Vec<String>,
    /// Those that nobody new is sent to, and that finish what they have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leaving: Vec<Worker>,
    /// How many requests wait for a worker, or for the requests before them, by their models.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub waiting: BTreeMap<String, u32>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Worker {
    pub id: String,
    pub model: String,
    pub kind: WorkerKind,
    pub device: String,
    pub state: WorkerState,
    /// Requests that it is answering now.
    pub active_requests: u32,
    /// Memory of the worker and of the engine's processes.
    pub memory_bytes: Option<u64>,
    /// After how many seconds it is stopped if nobody uses it; `None` where it stays.
    #[serde(default)]
    pub unloads_in_s: Option<u64>,
    /// Why it is `failed`.
    pub detail: Option<String>,
    pub health: Option<Health>,
    /// Its place among those that compute the model together, where several do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<Part>,
    /// Of a part: whether its engine would be started otherwise now.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub outdated: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WorkerKind {
    LlamaCpp,
    #[serde(rename = "vllm")]
    VLlm,
    /// A program that the configuration names.
    External,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WorkerState {
    Starting,
    Ready,
    Draining,
    Failed,
}

/// The answer to `POST /v1/lease` of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Lease {
    /// How long it stays without another renewal or request, in seconds.
    pub lease_s: f64,
    /// Requests that it is answering, whoever sent them.
    pub active_requests: u32,
}
