use serde::{Deserialize, Serialize};

use crate::Identity;

/// A daemon that runs and has answered. Dropping it leaves the daemon running.
#[derive(Debug, Clone)]
pub struct DaemonHandle {
    identity: Identity,
    outcome: Outcome,
}

/// How a daemon came to be the one that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// None was running.
    Started,
    /// It was running already, from the same binary with the same arguments.
    Reused,
    /// It took the place of `from`, which finishes what it had begun.
    Replaced { from: Identity },
    /// The binary that should run failed and is not tried again, so the one before goes on serving, or
    /// was started.
    RolledBack { why: String },
    /// Its sources do not build, so it goes on serving, or is the last one that served well.
    Stale { build_error: String },
}

impl DaemonHandle {
    pub(super) fn new(identity: Identity, outcome: Outcome) -> Self {
        Self { identity, outcome }
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.identity.pid
    }

    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Where it answers, as it announced it.
    pub fn address(&self) -> &str {
        &self.identity.address
    }

    pub fn outcome(&self) -> &Outcome {
        &self.outcome
    }
}
