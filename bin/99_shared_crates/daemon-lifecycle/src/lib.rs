//! Starts, reuses, replaces and stops daemons: of each instance one process runs, from the binary
//! that its sources say now, and putting a new one in its place costs no request and no stream.
//!
//! The starter's side is [`DaemonManager`]; it belongs into whatever needs the daemon to run, and
//! may be called each time that it does:
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use daemon_lifecycle::{DaemonManager, Outcome, StopMode};
//!
//! # async fn example() -> Result<(), daemon_lifecycle::Error> {
//! let manager = DaemonManager::new(DaemonManager::find_in_target("clockd")?, ["--port", "8600"])
//!     .enable_auto_update("clockd", "crates/clockd")
//!     .instance("/run/user/1000/clock", "clockd");
//! let daemon = manager.spawn().await?;
//! if let Outcome::RolledBack { why } = daemon.outcome() {
//!     eprintln!("the new clockd failed, the old one goes on: {why}");
//! }
//! println!("process {} answers on {}", daemon.id(), daemon.address());
//! manager.stop(StopMode::Drain(Duration::from_secs(30))).await?;
//! # Ok(())
//! # }
//! ```
//!
//! The daemon's own side is [`Daemon`], in its `main`: attach, listen, ready, serve and keep fresh, or
//! [`Daemon::run`], which is all of them; `examples/clockd.rs` shows it.
//!
//! # What `spawn` does
//!
//! | What runs | What happens | [`Outcome`] |
//! | --- | --- | --- |
//! | nothing | it is started; where its binary has failed before, the last good one is | `Started`, `RolledBack` |
//! | the same binary with the same arguments | nothing | `Reused` |
//! | another binary, or other arguments | it is replaced | `Replaced` |
//! | another binary, and the new one fails | the old one goes on; that binary is not tried again until it changes | `RolledBack` |
//! | something that is alive and does not answer | it is ended, then a new one is started | `Replaced` |
//! | a daemon of another source tree | nothing, unless [`DaemonManager::takeover`] says so | [`Error::OtherTree`] |
//! | a stranger on the port | nothing is done to it | [`Error::AddressInUse`] |
//!
//! With [`DaemonManager::enable_auto_update`] the binary is checked first, by the `auto-update`
//! crate, and built when it is stale. What does not build changes nothing that runs, and is in the
//! daemon's log. One that has died is started from its last good binary before anything is built.
//!
//! # How a running daemon is replaced
//!
//! The new process gets a copy of the old one's listening socket over a control socket, so that
//! connections that wait to be accepted belong to both. It says through its channel that it is
//! ready and answers a request past the listener; only then does the old one pause and the new
//! one accept, and `spawn` returns. The old one keeps its listener for a probation of ten seconds
//! and watches the new one. When that dies, hangs or answers with server errors the old one ends
//! it and goes on; otherwise it finishes what it has begun, streams to their end or to the drain
//! deadline, and exits. A kept connection is told to close with its next answer.
//!
//! What is lost when a new process dies in its probation is what it had accepted itself; one that only
//! answers badly, or too late, finishes that.
//!
//! A binary that failed is not tried again until it changes, as long as something else runs. One
//! that was only too slow is, since that may have been a busy machine: after a minute, then after
//! twice as long each time, up to an hour. If a third generation comes within the probation of the
//! second, the first one goes on standing by, for the third. `docs/handover.md` in the repository has
//! each message and step.
//!
//! # What is relied on
//!
//! - A process is named by pid, start time and boot, and signals go through a pidfd: a pid that
//!   was given to somebody else is never signalled.
//! - Each daemon is the leader of a session. Stopping it ends the whole session, in the end with
//!   SIGKILL; a process that it starts in a session of its own is not part of it.
//! - A daemon's environment is cleared but for an allow-list; its output goes to a log, rotated
//!   by size; it inherits no descriptor, and no death of its starter touches it.
//! - Folders and sockets are open to one user, and the other side's user is checked.
//! - Deadlines count on clocks that nobody can set.
//!
//! Each step of a start and of a hand-over is a `tracing` event of level TRACE with the target
//! `daemon_lifecycle::edge`, named by its field `at`: of a hand-over that stopped, the last ones say
//! where.
//!
//! Linux only: `/proc` and pidfds are used throughout.

mod error;
mod state; // where a daemon is in its life
mod edge; // the steps of a hand-over, to be traced
mod identity; // who a process is
mod process; // what the kernel says; signals
mod environment; // what a daemon inherits
mod unsafety; // what the compiler cannot check
mod descriptor; // passed over Unix sockets, and whose the other end is
mod bound; // control sockets, with and without their files
mod instance; // the folder of one daemon
mod spec; // how a daemon is started and kept
mod quarantine; // binaries that failed
mod findings; // what is known of binaries when its files are gone
mod logs; // where its output goes
mod protocol; // what starters and daemons say to each other
mod client; // asking a daemon
mod starter; // what becomes of that
mod manager; // the starter's side, as one type
mod program; // what is no daemon
mod daemon; // the daemon's own side
mod service; // what a service manager is told

pub use auto_update::Hurry;

pub use crate::{
    daemon::{
        Beside, Connection, Daemon, Handshake, HttpService, Listener, Pulse, Shaking, Shutdown,
        ShutdownReason, ShutdownSignal, Stream, TcpListener, UnixListener, Work,
    },
    descriptor::{is_own, receive_descriptor, send_descriptor},
    error::{Error, LogTail},
    identity::Identity,
    manager::{DaemonManager, SignOfLife},
    process::memory_bytes,
    program::{Member, Program},
    quarantine::wait_after,
    service::{notify_service_manager, watchdog_interval},
    spec::{OnBuildFailure, UpdatePolicy, Waits},
    starter::{
        BinaryFile, DaemonHandle, Outcome, RestartPolicy, StopMode, Stopped, Supervised,
        Supervisor, has_proven_itself, instances, kill, stop_all, stop_instance,
    },
    state::State,
};
