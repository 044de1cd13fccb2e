use serde::{Deserialize, Serialize};

/// Where a generation is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Not ready yet, or ready and waiting to take over.
    Starting,
    /// Accepts connections.
    Serving,
    /// Accepts connections, and a new generation has copies of its listeners.
    Prepared,
    /// Accepts nothing, answers what it has; the new generation is about to accept.
    LameDuck,
    /// The new generation accepts; this one would resume if it failed.
    Probation,
    /// Finishes what it has.
    Draining,
}
