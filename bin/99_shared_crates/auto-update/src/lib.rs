//! Decides exactly whether a binary of a cargo workspace is what its sources say now.

mod environment; // what a build sees of its surroundings
mod workspace; // the package, its workspace, its binaries
mod config; // cargo's configuration
mod toolchain; // which compiler is used
mod layout; // one binary with its options, and where it lies
mod stat; // the state of a file
mod hash; // the content of a file
mod receipt; // the record of a build
mod records; // where receipts are kept
mod compare; // a receipt against the world
mod freshness; // the verdict and its reasons
mod check; // the ladder from states to earlier builds
mod cargo; // runs cargo
mod inputs; // what a build was made from
mod build; // single flight, repeat, record
mod priority; // idle builds
mod lock; // one build at a time
mod store; // built binaries by content
mod pending; // a build that is awaited
mod updater; // all of it behind one type
mod chain; // several binaries in one call of cargo
mod watch; // a verdict that holds until something happens
mod error;

pub use crate::{
    build::BuildEvent,
    chain::ensure_all,
    environment::BuildEnvironment,
    error::Error,
    freshness::{Artifact, Change, Doubt, Freshness, InputKind, StaleReason},
    hash::{ArtifactHash, BadArtifactHash},
    store::{Store, StoredArtifact},
    updater::{AutoUpdater, Inspection},
    watch::Watcher,
};
