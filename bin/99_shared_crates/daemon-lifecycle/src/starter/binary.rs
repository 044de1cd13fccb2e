use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{Identity, identity::hash_file};

/// The binary that a daemon should run from.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Binary {
    pub(super) exe: PathBuf,
    pub(super) exe_hash: String,
    /// How a person would name it: within the workspace, where cargo puts it.
    pub(super) shown: String,
    pub(super) source_root: Option<PathBuf>,
    /// Whether it takes the place of a running daemon that has another. Not where updates are
    /// switched off: what runs may be newer than what there is.
    pub(super) replaces_others: bool,
}

/// A binary as a daemon would be started from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BinaryFile {
    pub path: PathBuf,
    /// BLAKE3 of its content, in hex: the [`Identity::exe_hash`] of a daemon that runs from it.
    pub hash: String,
}

impl Binary {
    /// What a daemon that is alive runs from, where that file is still as it was.
    pub(super) fn of(running: &Identity) -> Option<Self> {
        let exe = running.executable()?;
        let is_it = hash_file(&exe).is_ok_and(|exe_hash| exe_hash == running.exe_hash);
        is_it.then(|| Self {
            shown: exe.display().to_string(),
            exe,
            exe_hash: running.exe_hash.clone(),
            source_root: running.source_root.clone(),
            replaces_others: true,
        })
    }

    /// Whether `running` is as a daemon started from this binary would be.
    pub(super) fn is_run_by(&self, running: &Identity, args_hash: &str) -> bool {
        let same_binary = running.exe_hash == self.exe_hash || !self.replaces_others;
        same_binary && running.args_hash == args_hash
    }
}
