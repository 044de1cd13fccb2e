use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Health;

/// The names of what `GET /v1/events` tells.
///
/// Whoever begins to look is told all that is so, then what changes. A hive tells its narrations; a
/// queen her hives' and her own, and the rest.
pub mod seen {
    /// A [`super::QueenSeen`].
    pub const QUEEN: &str = "queen";
    /// A [`super::BinarySeen`]; the next one of that binary takes its place.
    pub const BINARY: &str = "binary";
    /// The aliases of all hives, in the configuration's order.
    pub const HIVES: &str = "hives";
    /// A [`crate::Hive`]; the next one of that alias takes its place.
    pub const HIVE: &str = "hive";
    /// A list of [`super::Leaving`]: the queens that this one has replaced.
    pub const LEAVING: &str = "leaving";
    /// What the configuration sets for single models: values by keys, by the models' names.
    pub const SETTINGS: &str = "settings";
    /// A list of [`super::UnderWay`].
    pub const REQUESTS: &str = "requests";
    /// What a person would notice, as in a job's stream, but of all jobs and of none.
    pub const NARRATION: &str = crate::event::NARRATION;
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QueenSeen {
    pub health: Health,
    /// Differs when a file of the queen's page does.
    pub page: String,
    /// Whether sources are watched and built here.
    pub auto_update: bool,
}

/// Whether a binary of the chain is what its sources say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BinarySeen {
    pub binary: String,
    pub freshness: Freshness,
    /// What changed and through which crates, or why nobody knows; empty when fresh.
    pub reasons: Vec<String>,
    /// BLAKE3 of the binary that was built last, in hex, where it is fresh.
    pub exe_hash: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Freshness {
    Fresh,
    Stale,
    /// Cargo has to be asked.
    Unknown,
}

/// A queen or hive that another generation has replaced, and that finishes what it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Leaving {
    pub pid: u32,
    /// BLAKE3 of its binary, in hex.
    pub exe_hash: String,
    pub started_at_ms: u64,
    pub requests: Vec<UnderWay>,
}

/// A job that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UnderWay {
    /// For who may end it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_id: Option<String>,
    pub operation: String,
    /// The model that it is about.
    pub subject: Option<String>,
    pub created_at_ms: u64,
    /// So many so far; of a completion nearly all are tokens.
    pub events: u64,
}
