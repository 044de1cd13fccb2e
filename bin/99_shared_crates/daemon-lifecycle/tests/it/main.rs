//! Daemons as their starters see them: real processes, real sockets, real faults.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod faults; // new and running daemons that misbehave
mod http; // a client that hides nothing
mod lifecycle; // start, reuse, replace, stop
mod load; // replacement while requests and streams go on
mod supervise; // started again and again
mod update; // with a real workspace and a real cargo
mod world; // a hermetic place with scripted binaries
