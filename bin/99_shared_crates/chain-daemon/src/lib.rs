//! How the daemons of the chain are run: [`manager`] gives a `DaemonManager` with the folders,
//! the update policy and the environment that the configuration asks for, [`stop_mode`] says how one ends.
//!
//! The three lifecycle crates say *which* daemon; this crate says how any of them is run, so that
//! queen, hive and worker differ in nothing but their [`Binary`]. [`init_tracing`] is the daemon's own
//! side of it: what goes to its log, and where its narrations go; [`health`] is what it answers for
//! itself.

mod name; // what daemons are called on their host
mod environment; // what they inherit
mod fresh; // a daemon that watches itself
mod health; // the answer to GET /health
mod log; // a daemon's log
mod binaries; // what the sources make of each daemon
mod standing; // what each daemon runs, and how well it has done
mod elsewhere; // a hive on a machine without sources

pub use crate::{
    binaries::watch_binaries, // (&RbeeConfig, &Weak<T>, told), beside serving
    elsewhere::{
        There,
        for_elsewhere, // (&RbeeConfig, alias, Binary, Waits) -> DaemonManager
        hive_at,       // (&RbeeConfig, alias, binary) -> DaemonManager
        socket_below,  // (home, alias) -> where the hive answers
    },
    fresh::keep_fresh, // (&Daemon, &LiveConfig), while serving
    health::health,    // (&Identity, since) -> Health
    log::init_tracing, // (filter, narrate)
    name::{InstanceName, UnknownName},
    standing::{Standing, standing}, // (&RbeeConfig) -> Vec<Standing>
};

use std::path::PathBuf;

use daemon_lifecycle::{DaemonManager, Error, Hurry, OnBuildFailure, StopMode, UpdatePolicy};
use rbee_config::{DOWNLOAD_VARIABLES, RbeeConfig};

use crate::environment::{DOWNLOADS, ENGINES, SETTINGS};

/// The package that compiles llama.cpp.
pub const LLAMA_CPP: &str = "llama-cpp-sys-2";

/// A binary of the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Binary {
    pub name: &'static str,
    /// Its crate's folder in the workspace.
    pub source_dir: &'static str,
    /// A package that most of its first build goes to, and what is told when that is compiled.
    pub slow_package: Option<(&'static str, &'static str)>,
    pub role: Role,
}

/// What a daemon is for, which decides what it inherits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Builds and downloads, or has others do so.
    Chain,
    /// Parses strangers' files, so it is told nothing that it has no use for; and llama.cpp reads
    /// variables of its own, and is to be configured by rbee.
    Model,
    /// Starts another program, which is told what such programs read.
    Engine,
}

pub const QUEEN: Binary = Binary {
    name: "queen-rbee",
    source_dir: "bin/10_queen_rbee",
    slow_package: None,
    role: Role::Chain,
};
pub const HIVE: Binary = Binary {
    name: "rbee-hive",
    source_dir: "bin/20_rbee_hive",
    slow_package: None,
    role: Role::Chain,
};
pub const LLAMACPP_WORKER: Binary = Binary {
    name: "llamacpp-worker",
    source_dir: "bin/30_llm_worker_rbee",
    slow_package: Some((
        LLAMA_CPP,
        "llama.cpp is compiled with 'llamacpp-worker': that takes 3 to 5 minutes on two cores, and is \
         done once",
    )),
    role: Role::Model,
};

/// Its package lies below the folder.
pub const VLLM_WORKER: Binary = engine_worker("vllm-worker");
/// Its package lies below the folder.
pub const EXTERNAL_WORKER: Binary = engine_worker("external-worker");

const fn engine_worker(name: &'static str) -> Binary {
    Binary { name, source_dir: "bin/30_llm_worker_rbee", slow_package: None, role: Role::Engine }
}

/// An edit of a crate that they share makes all of them stale, so they are compiled together; those
/// of them that have been built before.
const DAEMONS: [Binary; 5] = [QUEEN, HIVE, LLAMACPP_WORKER, VLLM_WORKER, EXTERNAL_WORKER];

/// Which daemon of the chain is run, and with what.
#[derive(Debug, Clone)]
pub struct Spec {
    pub binary: Binary,
    pub instance: InstanceName,
    pub args: Vec<String>,
    /// Whether a daemon of another source tree is replaced.
    pub takeover: bool,
}

/// A manager for the daemon that `spec` describes.
///
/// Where the configuration knows a source tree the daemon is kept up to date with it. An installed
/// release runs the binary that lies beside this one, or that of the release which is used by now.
///
/// # Errors
///
/// When no binary of that name is to be found in the source tree's target directory or beside the
/// running executable.
pub fn manager(config: &RbeeConfig, spec: Spec) -> Result<DaemonManager, Error> {
    Ok(unnamed(config, spec.binary, spec.args)?
        .instance(&config.paths.run, spec.instance.to_string())
        .takeover(spec.takeover))
}

/// The same of any instance of `binary`.
fn unnamed(config: &RbeeConfig, binary: Binary, args: Vec<String>) -> Result<DaemonManager, Error> {
    let Binary { name, source_dir, slow_package, role } = binary;
    let path = match &config.installation {
        Some(installation) => installation.program(name),
        None => DaemonManager::find_in_target(name)?,
    };
    let manager = as_it_is(config, role, path, args);
    let manager = match slow_package {
        Some((package, note)) => manager.slow_package(package, note),
        None => manager,
    };
    let Some(root) = &config.source_root else { return Ok(manager) };
    let others = DAEMONS.iter().filter(|other| **other != binary);
    Ok(manager
        .enable_auto_update(name, root.join(source_dir))
        .build_together_with(others.map(|other| (other.name, root.join(other.source_dir))))
        .auto_update_policy(policy(config)))
}

/// A manager for the binary at `path`, which is not kept up to date.
fn as_it_is(config: &RbeeConfig, role: Role, path: PathBuf, args: Vec<String>) -> DaemonManager {
    let manager = DaemonManager::new(path, args)
        .log_dir(&config.paths.logs)
        .drain_timeout(config.queen.drain_timeout)
        .env_allow(SETTINGS);
    match role {
        Role::Model => manager.builds_nothing(),
        Role::Engine => manager.builds_nothing().env_allow(ENGINES),
        Role::Chain => {
            let downloads = DOWNLOADS.iter().chain(DOWNLOAD_VARIABLES).copied();
            manager.env_allow(downloads).env_allow(ENGINES)
        }
    }
}

/// Says, for as long as the answer lives, that somebody waits for `binary`: what is being built for
/// nobody has the whole machine from then on.
pub fn hurry(config: &RbeeConfig, binary: Binary) -> Option<Hurry> {
    unnamed(config, binary, Vec::new()).ok()?.hurry()
}

/// How a daemon is stopped: `now`, or when the requests under way have ended, or at the drain
/// deadline.
pub fn stop_mode(config: &RbeeConfig, now: bool) -> StopMode {
    match now {
        true => StopMode::Now,
        false => StopMode::Drain(config.queen.drain_timeout),
    }
}

fn policy(config: &RbeeConfig) -> UpdatePolicy {
    UpdatePolicy {
        enabled: config.auto_update.enabled,
        check_interval: config.auto_update.check_interval,
        on_build_failure: match config.auto_update.on_build_failure {
            rbee_config::OnBuildFailure::Refuse => OnBuildFailure::Refuse,
            rbee_config::OnBuildFailure::LastGood => OnBuildFailure::LastGood,
        },
        profile: config.auto_update.profile.clone(),
    }
}
