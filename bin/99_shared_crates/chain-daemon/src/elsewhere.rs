use std::path::{Path, PathBuf};

use daemon_lifecycle::{DaemonManager, Error, Identity, Outcome, Waits};
use narration_core::Narration;
use rbee_config::RbeeConfig;
use serde::{Deserialize, Serialize};

use crate::{Binary, HIVE, InstanceName, as_it_is, unnamed};

/// A line of what a hive's binary says about the hive on its machine. Two builds may speak.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "said", rename_all = "snake_case")]
pub enum There {
    Narration(Narration),
    /// With the right to change its state.
    Runs {
        identity: Identity,
        outcome: Box<Outcome>,
        token: String,
    },
    Nobody,
    Stopped {
        names: Vec<String>,
    },
    Failed {
        why: String,
    },
}

/// A manager for what the hive `alias` on another machine runs from: it makes the binary what its
/// sources say, and starts nothing.
///
/// # Errors
///
/// As [`crate::manager`].
pub fn for_elsewhere(
    config: &RbeeConfig,
    alias: &str,
    binary: Binary,
    waits: Waits,
) -> Result<DaemonManager, Error> {
    // What is remembered of it, such as its hash, lies in a folder of that name.
    let name = match binary == HIVE {
        true => InstanceName::Hive { alias: alias.to_owned() },
        false => InstanceName::worker(binary.name, 0, alias),
    };
    let manager = unnamed(config, binary, Vec::new())?.waits(waits);
    Ok(manager.instance(&config.paths.run, name.to_string()))
}

/// A manager for a hive on this machine that runs from the binary at `path` and answers on a socket of
/// its own: another machine brings the binaries.
pub fn hive_at(config: &RbeeConfig, alias: &str, path: PathBuf) -> DaemonManager {
    let socket = socket_in(&config.paths.run, alias).display().to_string();
    let args = ["--socket", &socket, "--alias", alias].map(str::to_owned).to_vec();
    let name = InstanceName::Hive { alias: alias.to_owned() };
    as_it_is(config, HIVE.role, path, args).instance(&config.paths.run, name.to_string())
}

/// Where such a hive answers whose `RBEE_HOME` is `home`.
pub fn socket_below(home: &Path, alias: &str) -> PathBuf {
    socket_in(&home.join("run"), alias)
}

fn socket_in(run: &Path, alias: &str) -> PathBuf {
    run.join(format!("{alias}.sock"))
}
