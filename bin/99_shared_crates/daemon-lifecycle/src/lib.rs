//! Starts, reuses, replaces and stops daemons: one running process for each instance, always from
//! the binary that its sources say, and never at the price of a request.
//!
//! The starter's side is [`DaemonManager`], the daemon's own side is [`Daemon`]. Neither knows
//! what the daemon is for.

mod error;
mod identity; // who a process is
mod process; // what the kernel says; signals
mod environment; // what a daemon inherits
mod unsafety; // what the compiler cannot check
mod instance; // the folder of one daemon
mod logs; // where its output goes
mod protocol; // what starters and daemons say to each other
mod client; // asking a daemon
mod manager; // how a daemon is started and kept
mod starter; // what becomes of that
mod daemon; // the daemon's own side

pub use crate::{
    daemon::{
        Daemon, Listener, Shutdown, ShutdownReason, ShutdownSignal, TcpListener, UnixListener,
    },
    error::{Error, LogTail},
    identity::Identity,
    manager::{DaemonManager, OnBuildFailure, UpdatePolicy},
    process::memory_bytes,
    protocol::State,
    starter::{
        DaemonHandle, Outcome, RestartPolicy, StopMode, Stopped, Supervised, Supervisor, instances,
        stop_all, stop_instance,
    },
};
