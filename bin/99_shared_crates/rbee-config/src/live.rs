use std::{
    fs::{self, Metadata},
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use crate::{Overrides, RbeeConfig, error::Error};

/// The configuration of a process that outlives edits of the file.
///
/// Clones share what was read.
#[derive(Debug, Clone)]
pub struct LiveConfig {
    overrides: Overrides,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    config: Arc<RbeeConfig>,
    stamp: Option<Stamp>,
    refused: Option<String>,
}

/// What tells one state of a file from another; `None` in its place where there is no file.
type Stamp = (u64, i64, i64, u64);

impl LiveConfig {
    /// Reads the environment and the file.
    pub fn load(overrides: Overrides) -> Result<Self, Error> {
        let config = RbeeConfig::load(&overrides)?;
        Ok(Self::from_now_on(config, overrides))
    }

    /// `config` until its file changes.
    pub fn from_now_on(config: RbeeConfig, overrides: Overrides) -> Self {
        let stamp = stamp(&config.paths.config_file);
        let state = State { config: Arc::new(config), stamp, refused: None };
        Self { overrides, state: Arc::new(Mutex::new(state)) }
    }

    /// The configuration as the file says now.
    ///
    /// Costs one `stat` while the file is what it was. A file that cannot be read leaves the
    /// configuration as it was; [`Self::refused`] says why.
    pub fn current(&self) -> Arc<RbeeConfig> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = stamp(&state.config.paths.config_file);
        if now != state.stamp {
            state.stamp = now;
            let RbeeConfig { environment, executable, .. } = &*state.config;
            match RbeeConfig::resolve(&self.overrides, environment, executable.as_deref()) {
                Ok(config) => {
                    state.config = Arc::new(config);
                    state.refused = None;
                }
                Err(error) => state.refused = Some(error.to_string()),
            }
        }
        Arc::clone(&state.config)
    }

    /// Why the file as it is now is not the configuration.
    pub fn refused(&self) -> Option<String> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).refused.clone()
    }
}

fn stamp(file: &Path) -> Option<Stamp> {
    let metadata: Metadata = fs::metadata(file).ok()?;
    Some((metadata.ino(), metadata.ctime(), metadata.ctime_nsec(), metadata.size()))
}
