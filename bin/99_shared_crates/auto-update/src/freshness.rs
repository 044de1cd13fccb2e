use std::{
    fmt,
    path::{Path, PathBuf},
};

use serde::Serialize;

use crate::hash::ArtifactHash;

/// Whether a binary is what its inputs say now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Freshness {
    /// Every input is what it was when this artifact was built.
    Fresh(Artifact),
    /// At least these inputs changed.
    Stale(Vec<StaleReason>),
    /// It cannot be told without asking cargo. Never to be taken for fresh.
    Unknown(Doubt),
}

impl Freshness {
    pub fn is_fresh(&self) -> bool {
        matches!(self, Self::Fresh(_))
    }
}

/// A built binary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Artifact {
    /// The copy in the artifact store, named by its content: a later build never changes it.
    #[serde(serialize_with = "lossy")]
    pub path: PathBuf,
    pub hash: ArtifactHash,
    /// Where cargo puts it. After a branch was switched back this may hold another build.
    #[serde(serialize_with = "lossy")]
    pub target_path: PathBuf,
}

/// One input that is not what it was, and how it reaches the binary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct StaleReason {
    /// What happened to it.
    pub change: Change,
    /// What it is to the build.
    pub kind: InputKind,
    /// The file, or the name of the variable.
    #[serde(serialize_with = "lossy")]
    pub input: PathBuf,
    /// The crates through which it reaches the binary, from the one that it belongs to up to the
    /// package of the binary. Empty where it belongs to no crate, as the lock file does.
    pub via: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Change {
    /// Other content.
    Modified,
    Removed,
    /// It was not there when the binary was built.
    Appeared,
    /// A directory lists other names.
    Relisted,
    /// It is there and cannot be read.
    Unreadable,
    /// A variable has another value, or is set now, or is no longer set.
    Variable,
    /// `PATH`, a home or the configuration lead to this now, and did not.
    Chosen,
    /// They led to this and no longer do.
    Dropped,
    /// The binary has never been built.
    NeverBuilt,
    /// A rebuild was asked for.
    Forced,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum InputKind {
    /// Read by the compiler.
    Source,
    /// A manifest or the lock file; cargo is asked whether that matters.
    Manifest,
    /// Watched by a build script.
    BuildScript,
    /// Cargo's configuration.
    Config,
    /// The compiler, or a file that chooses it.
    Toolchain,
    /// Written by a build script and read by the compiler.
    Generated,
    /// An environment variable.
    Environment,
    /// The binary itself.
    Output,
}

impl InputKind {
    /// A change of this may well change nothing that is built: cargo knows, in about 25 ms.
    pub(crate) fn is_cargos_to_judge(self) -> bool {
        matches!(self, Self::Manifest | Self::Config | Self::Toolchain | Self::Output)
    }
}

impl StaleReason {
    /// The first of them in one line, and how many more there are.
    pub fn in_brief(reasons: &[Self]) -> String {
        const TOLD: usize = 3;
        let mut told: Vec<String> = reasons.iter().take(TOLD).map(ToString::to_string).collect();
        match reasons.len().saturating_sub(TOLD) {
            0 => {}
            1 => told.push("and one more".to_owned()),
            more => told.push(format!("and {more} more")),
        }
        told.join("; ")
    }
}

impl fmt::Display for StaleReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let input = self.input.display();
        match (self.change, self.kind) {
            (Change::Modified, InputKind::Output) => {
                write!(f, "`{input}` is not what was built")?;
            }
            (Change::Modified, _) => write!(f, "`{input}` changed")?,
            (Change::Removed, InputKind::Output) => write!(f, "`{input}` is missing")?,
            (Change::Removed, _) => write!(f, "`{input}` was removed")?,
            (Change::Appeared, _) => write!(f, "`{input}` appeared")?,
            (Change::Relisted, _) => write!(f, "files were added to or removed from `{input}`")?,
            (Change::Unreadable, _) => write!(f, "`{input}` cannot be read")?,
            (Change::Variable, _) => write!(f, "the variable `{input}` has another value")?,
            (Change::Chosen, _) => write!(f, "`{input}` is used now")?,
            (Change::Dropped, _) => write!(f, "`{input}` is no longer used")?,
            (Change::NeverBuilt, _) => write!(f, "`{input}` has not been built")?,
            (Change::Forced, _) => write!(f, "a rebuild of `{input}` was asked for")?,
        }
        match self.via.as_slice() {
            [] => Ok(()),
            [own] => write!(f, " (in {own})"),
            [own, above @ ..] => write!(f, " (in {own}, used by {})", above.join(", used by ")),
        }
    }
}

/// Why cargo must be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Doubt {
    /// There is no receipt: this crate has not yet seen it built.
    NoReceipt,
    /// The receipt is damaged, cut short, or of another version.
    BadReceipt,
    /// The receipt cannot be read.
    Unreadable(String),
    /// The build has an input that cannot be recorded.
    Opaque(String),
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoReceipt => f.write_str("no record of its last build"),
            Self::BadReceipt => f.write_str("the record of its last build is damaged"),
            Self::Unreadable(why) => write!(f, "the record of its last build is unreadable: {why}"),
            Self::Opaque(why) => f.write_str(why),
        }
    }
}

/// Names need not be UTF-8, and text has to be: what is not is replaced.
pub(crate) fn lossy<S: serde::Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}
