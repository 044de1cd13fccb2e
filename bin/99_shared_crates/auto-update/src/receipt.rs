//! The record of a build: every input with its state and content, and what came out.
//!
//! The file is read in one piece and compared as it lies: checking thousands of inputs decodes a
//! few dozen bytes for each and allocates nothing. Whatever does not parse is no receipt.

mod encode; // from a build to bytes
mod decode; // from bytes to entries

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use crate::{
    freshness::InputKind,
    hash::{ArtifactHash, Digest},
    stat::{StatVector, lstat, stat},
};

pub(crate) use decode::{EntryRef, Group, Receipt};

const MAGIC: &[u8; 8] = b"AUTOUPD3";
/// Magic, length of the file, checksum of what follows.
const PREAMBLE: usize = 8 + 8 + 32;

/// Everything of a receipt but its inputs' states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    /// What was built, from which options: a receipt answers for nothing else.
    pub(crate) key: Digest,
    pub(crate) outcome: Outcome,
    pub(crate) packages: Vec<PackageOf>,
    /// Variables by name, with the hash of their value.
    pub(crate) variables: Vec<(OsString, Option<Digest>)>,
    /// What each compilation and each run of a build script left last: while it is the same, nobody
    /// has compiled or run it again.
    pub(crate) marks: Vec<Trace>,
    /// The compiler's directory, and what the variable that chooses one said then.
    pub(crate) sysroot: Option<PathBuf>,
    pub(crate) toolchain: Option<OsString>,
    /// The workspace: others may build in the same target directory.
    pub(crate) root: PathBuf,
    /// The packages that a build script watches as a whole.
    pub(crate) listed: Vec<PathBuf>,
    /// Each program that a build uses, and where it was found.
    pub(crate) tools: Vec<(PathBuf, Option<PathBuf>)>,
    /// What leads to the programs, and which files of configuration there may be.
    pub(crate) leads: Digest,
}

/// A file that is written anew whenever something is done again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trace {
    pub(crate) path: PathBuf,
    pub(crate) state: StatVector,
    pub(crate) hash: Digest,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Built(Output),
    /// What cargo said, without colours.
    Failed {
        diagnostics: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Output {
    pub(crate) hash: ArtifactHash,
    pub(crate) target_path: PathBuf,
    pub(crate) target: StatVector,
    pub(crate) stored: StatVector,
    /// Why cargo must always be asked, if it must.
    pub(crate) opaque: Option<String>,
}

/// A local package that takes part in the build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PackageOf {
    pub(crate) dir: PathBuf,
    /// Its name, then those through which the binary's package uses it.
    pub(crate) via: Vec<String>,
}

/// How an input is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub(crate) enum Look {
    /// A file that is no link: its bytes.
    File = 0,
    /// A file behind a link: its bytes.
    Followed = 1,
    /// A link: where it leads.
    Link = 2,
    /// A directory: the names in it.
    Listing = 3,
    /// A package's directory: the names in it that can matter to its build script.
    PackageListing = 4,
    /// Nothing must be there.
    Absent = 5,
    /// A program, or nothing: its state stands for its content.
    Program = 6,
    /// A file, or nothing, that decides which files a package has: the list of them.
    Rules = 7,
}

impl Look {
    const ALL: [Self; 8] = [
        Self::File,
        Self::Followed,
        Self::Link,
        Self::Listing,
        Self::PackageListing,
        Self::Absent,
        Self::Program,
        Self::Rules,
    ];

    /// The state of what is at `path`, or of what that leads to; none where it cannot be told.
    pub(crate) fn state(self, path: &Path) -> StatVector {
        let state = if self.follows() { stat(path) } else { lstat(path) };
        state.ok().flatten().unwrap_or(StatVector::NONE)
    }

    pub(crate) fn follows(self) -> bool {
        !matches!(self, Self::File | Self::Link | Self::Absent)
    }
}

const KINDS: [InputKind; 8] = [
    InputKind::Source,
    InputKind::Manifest,
    InputKind::BuildScript,
    InputKind::Config,
    InputKind::Toolchain,
    InputKind::Generated,
    InputKind::Environment,
    InputKind::Output,
];

/// One input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) path: PathBuf,
    pub(crate) look: Look,
    pub(crate) kind: InputKind,
    /// An index into the packages.
    pub(crate) owner: Option<u16>,
    pub(crate) stat: StatVector,
    pub(crate) hash: Digest,
}

/// The path as it is kept: relative to the workspace where it lies in it.
fn relative<'a>(path: &'a Path, root: &Path) -> &'a Path {
    path.strip_prefix(root).unwrap_or(path)
}
