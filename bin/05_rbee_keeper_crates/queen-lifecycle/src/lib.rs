//! What the keeper knows about the queen: how to start it, find it and stop it.
//!
//! [`ensure_queen_running`] is the whole of it for most callers: afterwards a queen answers, and
//! its binary is what the sources say now.

mod ensure; // start, or replace a stale one
mod error;
mod handle; // a running queen
mod stop;

pub use crate::{
    ensure::{
        ensure_queen,         // (&RbeeConfig) -> QueenHandle
        ensure_queen_running, // (base_url) -> QueenHandle
        find_queen,           // (&RbeeConfig) -> Option<QueenHandle>
        restart_queen,        // (&RbeeConfig) -> QueenHandle
        supervise_queen,      // (&RbeeConfig) -> Supervisor
    },
    error::Error,
    handle::QueenHandle,
    stop::{StopReport, StopRequest, stop_queen}, // (&RbeeConfig, StopRequest) -> StopReport
};

pub use daemon_lifecycle::{Supervised, Supervisor, notify_service_manager, watchdog_interval};
