//! The steps of a hand-over, as events for whoever looks for the one at which it stopped.

use crate::state::State;

/// This process has come past the step `at`, and does what follows it next.
///
/// Every step that a file, a socket or another process can see has one: a process may die or stop
/// at any of them, and the tests let it.
pub(crate) fn passed(at: &'static str) {
    tracing::trace!(target: "daemon_lifecycle::edge", at);
}

/// This generation has gone from one phase of its life to another.
pub(crate) fn entered(from: State, event: &'static str, to: State) {
    tracing::trace!(target: "daemon_lifecycle::phase", ?from, event, ?to);
}
