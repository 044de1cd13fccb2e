//! The starter's part: what runs, what should run, and getting from one to the other.

mod binary; // what a daemon runs from
pub(crate) mod find; // binaries, also those not built yet
mod handle; // what a starter gets
mod lock; // one starter at a time
mod launch; // one process, until it is ready
mod narrate; // what a person is told
mod start; // where none serves
mod replace; // a running daemon by a new one
mod remembered; // what earlier starters have found out
pub(crate) mod running; // who is there, by their own word and the kernel's
pub(crate) mod spawn; // the decision
pub(crate) mod stop; // until nothing is left
pub(crate) mod supervise; // again and again
pub(crate) mod update; // the binary that should run

pub use self::{
    binary::BinaryFile,
    handle::{DaemonHandle, Outcome},
    running::{has_proven_itself, instances},
    stop::{StopMode, Stopped, kill, stop_all, stop_instance},
    supervise::{RestartPolicy, Supervised, Supervisor},
};
