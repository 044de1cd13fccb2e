use std::{io, path::PathBuf};

/// Why an archive was not made, or not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("cannot {what} `{path}`")]
    Io { what: &'static str, path: PathBuf, source: io::Error },
    #[error("cannot write the archive")]
    Write { source: io::Error },
    #[error("`{path}` is no archive of a release: it is not a gzip-compressed tar")]
    NotAnArchive { path: PathBuf, source: io::Error },
    #[error("`{path}` is a Debian package, which `self-update` does not take")]
    DebianPackage { path: PathBuf },
    #[error("`{path}` is no archive of a release: `{wanted}` is not the first file in it")]
    NoManifest { path: PathBuf, wanted: String },
    #[error("the archive's `{path}` cannot be understood")]
    Manifest { path: String, source: serde_json::Error },
    #[error("the archive breaks off, or is damaged, at `{at}`")]
    Damaged { at: String, source: io::Error },
    #[error("the archive has `{path}`, {why}")]
    Unexpected { path: String, why: &'static str },
    #[error("the archive's `{path}` is not what its manifest says: it was changed or damaged")]
    Changed { path: String },
    #[error("the archive lacks `{path}`, which its manifest names")]
    Missing { path: String },
    #[error("the release is for {theirs}, and this machine is {ours}")]
    OtherPlatform { theirs: String, ours: String },
    #[error("the release is {theirs}, and {ours} is installed")]
    Older { theirs: String, ours: String },
}

impl Error {
    pub(crate) fn io(what: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Io { what, path: path.into(), source }
    }
}
