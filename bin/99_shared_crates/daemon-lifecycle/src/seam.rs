//! The part of auto-update's interface that this crate uses, until that crate provides it: every
//! call says that the binary is in no workspace.

use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("the folder `{}` is in no cargo workspace", .path.display())]
    NoWorkspace { path: PathBuf },
    #[error("the build of `{binary}` failed")]
    BuildFailed { binary: String, diagnostics: String },
}

#[derive(Debug)]
pub(crate) struct AutoUpdater {
    root: PathBuf,
}

#[derive(Debug)]
pub(crate) struct Artifact {
    pub(crate) path: PathBuf,
    pub(crate) hash: String,
}

#[derive(Debug)]
#[expect(dead_code, reason = "constructed by the crate that will stand here")]
pub(crate) enum BuildEvent {
    Fresh,
    WaitingFor { pid: u32 },
    Building,
    Line(String),
    Finished,
    Failed,
}

impl AutoUpdater {
    pub(crate) fn new(_: &str, source_dir: &Path) -> Result<Self, Error> {
        Err(Error::NoWorkspace { path: source_dir.to_owned() })
    }

    pub(crate) fn profile(self, _: &str) -> Self {
        self
    }

    pub(crate) fn idle_priority(self, _: bool) -> Self {
        self
    }

    pub(crate) fn workspace_root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn target_path(&self) -> &Path {
        &self.root
    }

    pub(crate) fn ensure_built_with(&self, _: impl FnMut(BuildEvent)) -> Result<Artifact, Error> {
        Err(Error::NoWorkspace { path: self.root.clone() })
    }
}

pub enum Freshness { Fresh(Artifact), Stale }
impl AutoUpdater { pub fn check(&self) -> Result<Freshness, Error> { Ok(Freshness::Stale) } }
