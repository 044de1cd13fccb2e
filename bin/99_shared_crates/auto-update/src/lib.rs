//! Decides exactly whether a binary of a cargo workspace is what its sources say now, says why not,
//! and builds it.
//!
//! ```no_run
//! use auto_update::{AutoUpdater, Freshness};
//!
//! # fn main() -> Result<(), auto_update::Error> {
//! let server = AutoUpdater::new("server", "crates/server")?;
//! match server.check()? {
//!     Freshness::Fresh(artifact) => println!("run {}", artifact.path.display()),
//!     Freshness::Stale(reasons) => reasons.iter().for_each(|reason| println!("{reason}")),
//!     Freshness::Unknown(doubt) => println!("only cargo can tell: {doubt}"),
//! }
//! let artifact = server.ensure_built_with(|event| println!("{event:?}"))?;
//! # let _ = artifact;
//! # Ok(())
//! # }
//! ```
//!
//! [`AutoUpdater::check`] starts no process and takes about a microsecond for each input. Nothing
//! here prints or narrates, [`AutoUpdater::rebuild`] apart: what a person is told is the caller's choice, made from
//! [`StaleReason`] and [`BuildEvent`].
//!
//! # How it decides
//!
//! After each build a *receipt* is written: every input with its state (device, inode, size, mode,
//! mtime, ctime) and the hash of its content, and what came out. Inputs are what the compiler says
//! it read, what build scripts watch, the manifests that cargo reads, the lock file, cargo's
//! configuration and the toolchain's, the variables that code and build scripts name, those of
//! cargo and rustc, and *what is not there*: the build script, library, configuration or compiler
//! that would take part if it appeared. Which inputs these are is decided by cargo's own rules, and
//! what decides it is an input too: the files by which git ignores or tracks others, the programs
//! that `PATH` leads to, the files of configuration that the homes of today lead to. A check then climbs a ladder, and the first rung that can
//! answer does:
//!
//! 1. Every state is the recorded one: fresh. Nothing is read.
//! 2. Some states differ: those files are hashed. Equal content is fresh, and the new state is kept.
//! 3. The inputs are those of an earlier build: fresh, and that build is the artifact.
//! 4. Only manifests, configuration or the toolchain differ: cargo is asked, and usually does nothing.
//! 5. It is built.
//!
//! Everything is compared for equality. No time is ever compared with another to decide that
//! something is fresh, so clocks that are wrong, set back or coarse do no harm. Any doubt, a damaged
//! receipt as much as an input that cannot be recorded, is [`Freshness::Unknown`], and leads to
//! cargo.
//!
//! # What it guarantees
//!
//! - A binary is not called fresh after any of its inputs changed, where the change gives the file
//!   another state, as every one through the file system does: an old mtime, an exchange of files
//!   or folders, another target of a link, an edit in the same tick of the clock, an edit, a removal
//!   or another compiler while it was being built.
//! - Where what was built from cannot be told, it is built once more; where it still cannot be
//!   told, and where a build script runs every time, the verdict is [`Freshness::Unknown`] and says
//!   why.
//! - In a target directory outside the workspace, or one in which another checkout was seen to
//!   build, what others built of the workspace's own packages is not used.
//! - Where cargo takes such a change for none, it is made to compile just the units that missed it,
//!   and those made from them. What else was built stays, such as tests that run. Your files are
//!   never written, not even their times.
//! - [`Artifact::path`] is a copy named by its content. No later build touches it, so what runs from it
//!   is what its hash says, and it stays there while it is the newest or a process runs it.
//! - One cargo runs for a binary however many ask, in one process or in many. The lock that sees to
//!   that dies with its owner.
//! - A build that is killed, at any moment, leaves the previous receipt and artifact whole.
//!
//! # What it does not
//!
//! - It sees what cargo and rustc report. System libraries, the linker, and what a build script or a
//!   procedural macro reads without saying so are not inputs, as they are not for cargo.
//! - Crates from registries and from git are vouched for by the lock file and not looked at.
//! - A write through a memory map that exists already changes no state until the kernel writes the
//!   page back, and is not seen before, neither here nor by cargo.
//! - Builds made by others in a target directory inside the workspace are believed as far as cargo
//!   believes them, but for files that changed after they were compiled.
//! - Of git's settings, those that say which files are ignored are read from its files as
//!   `core.excludesFile` and `include.path` name them; conditional includes and patterns that depend
//!   on letter case are not. An index that is kept in two parts is a reason for doubt.
//! - A compiler that is replaced counts as changed by its state, not by its bytes.
//! - Intermediate libraries that were damaged in place in the target directory are not noticed.
//!
//! # Daemons
//!
//! Processes that must agree about what is fresh must judge under one environment:
//! see [`BuildEnvironment`] and [`AutoUpdater::child_environment`]. Those that ask often keep a
//! [`Watcher`]. Several binaries that share crates are compiled in one call of cargo, see
//! [`AutoUpdater::together_with`]. A build that nobody waits for gives way to everything else until
//! somebody waits, see [`AutoUpdater::idle_priority`]; one whose inputs change again is ended, and
//! the next one begins at once.

mod environment; // what a build sees of its surroundings
mod targets; // the programs of a package
mod selection; // which of them is meant
mod workspace; // the package, its workspace, its binaries
mod config; // cargo's configuration
mod toolchain; // which compiler is used
mod layout; // one binary with its options, and where it lies
mod subject; // the same, as it is asked about
mod stat; // the state of a file
mod hash; // the content of a file
mod files; // a package's files by cargo's rules
mod receipt; // the record of a build
mod records; // where receipts are kept
mod compare; // a receipt against the world
mod freshness; // the verdict and its reasons
mod check; // the ladder from states to earlier builds
mod cargo; // runs cargo
mod members; // what cargo said of the workspace
mod inputs; // what a build was made from
mod build; // single flight, repeat, record
mod priority; // idle builds
mod lock; // one build at a time
mod running; // what a program gets that is run
mod store; // built binaries by content
mod pending; // a build that is awaited
mod updater; // all of it behind one type
mod units; // which part of a call of cargo is a binary's
mod together; // several binaries in one call of cargo
mod checkout; // what git is in the middle of
mod watch; // a verdict that holds until something happens
mod error;

pub use crate::{
    build::BuildEvent,
    checkout::git_is_busy_in,
    environment::BuildEnvironment,
    error::Error,
    freshness::{Artifact, Change, Doubt, Freshness, InputKind, StaleReason},
    hash::{ArtifactHash, BadArtifactHash},
    running::RunEnvironment,
    selection::Selection,
    store::{Store, StoredArtifact},
    updater::{AutoUpdater, Hurry, Input, Inspection},
    watch::Watcher,
};

/// Compiles the example in the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
