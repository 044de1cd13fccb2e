use std::{
    env, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::bail;
use rbee_config::{NarrationMode, OnBuildFailure, Overrides, RbeeConfig};

use crate::update::Policy;

/// The checkout that xtask works on, and what is configured for its user.
#[derive(Debug)]
pub struct Workspace {
    root: PathBuf,
    config: Result<RbeeConfig, Arc<rbee_config::Error>>,
}

impl Workspace {
    /// The checkout that `RBEE_SOURCE_ROOT` names, else the one around the executable or the
    /// current folder; `overrides` is what flags say.
    pub fn find(overrides: &Overrides) -> anyhow::Result<Self> {
        let config = RbeeConfig::load(overrides).map_err(Arc::new);
        let configured = config.as_ref().ok().and_then(|config| config.source_root.clone());
        let root = configured
            .or_else(|| around(env::current_exe()))
            .or_else(|| around(env::current_dir()));
        let Some(root) = root else {
            bail!("neither the executable nor the current folder is inside a checkout of rbee");
        };
        Ok(Self { root, config })
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What is configured; an error where the configuration is refused.
    ///
    /// Tasks that need none of it do not ask, and work whatever the person's file says.
    pub fn config(&self) -> anyhow::Result<&RbeeConfig> {
        self.config.as_ref().map_err(|error| anyhow::Error::new(Arc::clone(error)))
    }

    /// Whether configuration allows building, and how. A configuration that is refused forbids
    /// nothing: it must not keep the developer's tasks from running.
    pub(crate) fn build_policy(&self) -> Option<Policy> {
        let Ok(config) = &self.config else {
            return Some(Policy {
                narration: NarrationMode::Human,
                on_build_failure: OnBuildFailure::Refuse,
            });
        };
        config.auto_update.enabled.then_some(Policy {
            narration: config.narration,
            on_build_failure: config.auto_update.on_build_failure,
        })
    }
}

fn around(path: io::Result<PathBuf>) -> Option<PathBuf> {
    let path = path.ok()?;
    path.ancestors().find(|folder| folder.join("xtask/Cargo.toml").is_file()).map(Path::to_owned)
}
