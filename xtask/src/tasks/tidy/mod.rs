//! `./rbee tidy`: checks of the source tree that neither compiler nor lints make.

mod arrows; // which crate may use which
mod circles; // which files use each other
mod features; // one variant of each dependency
mod links; // between documents
mod lockfile; // how many packages there are
mod manifests; // what a member's manifest must and must not say
mod names; // folders, crates, ARCHITECTURE.md
mod rust; // the tokens of a source file
mod text; // plain text, without what belongs elsewhere
mod wire; // paths and error codes, written once

use std::{
    fmt,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use cargo_metadata::{Metadata, MetadataCommand, Package};

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// The file or folder, from the root of the tree.
    pub path: PathBuf,
    pub line: Option<usize>,
    /// What is wrong and what to do instead.
    pub message: String,
}

impl Violation {
    fn new(path: impl Into<PathBuf>, message: impl Into<String>) -> Self {
        Self { path: path.into(), line: None, message: message.into() }
    }

    fn at(path: impl Into<PathBuf>, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.into(), line: Some(line), message: message.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", self.message)
    }
}

/// Checks the tree and prints what is wrong with it.
pub fn run(root: &Path) -> anyhow::Result<()> {
    let violations = check(root)?;
    for violation in &violations {
        eprintln!("{violation}");
    }
    match violations.len() {
        0 => {
            eprintln!("tidy: nothing to do");
            Ok(())
        }
        1 => bail!("tidy found one thing to mend"),
        n => bail!("tidy found {n} things to mend"),
    }
}

/// Everything that is wrong with the tree at `root`, sorted by path.
///
/// Fails only where the tree cannot be read, or cargo does not understand its manifests.
pub fn check(root: &Path) -> anyhow::Result<Vec<Violation>> {
    let tree = Tree::read(root)?;
    let mut violations = Vec::new();
    violations.extend(manifests::check(&tree)?);
    violations.extend(arrows::check(&tree));
    violations.extend(circles::check(&tree)?);
    violations.extend(wire::check(&tree)?);
    violations.extend(names::check(&tree)?);
    violations.extend(lockfile::check(&tree)?);
    violations.extend(text::check(&tree)?);
    violations.extend(links::check(&tree)?);
    violations.extend(features::check(&tree)?);
    violations.sort();
    Ok(violations)
}

/// What the rules look at.
struct Tree {
    root: PathBuf,
    metadata: Metadata,
}

impl Tree {
    fn read(root: &Path) -> anyhow::Result<Self> {
        let root =
            root.canonicalize().with_context(|| format!("cannot open `{}`", root.display()))?;
        let metadata = MetadataCommand::new()
            .manifest_path(root.join("Cargo.toml"))
            .current_dir(&root)
            .no_deps()
            .exec()
            .context("cargo does not understand the manifests")?;
        Ok(Self { root, metadata })
    }

    fn members(&self) -> impl Iterator<Item = &Package> {
        self.metadata.workspace_packages().into_iter()
    }

    /// The path of a member's manifest, from the root.
    fn manifest<'a>(&self, package: &'a Package) -> &'a Path {
        let path = package.manifest_path.as_std_path();
        path.strip_prefix(&self.root).unwrap_or(path)
    }

    /// The path of a member's folder, from the root.
    fn folder<'a>(&self, package: &'a Package) -> &'a Path {
        self.manifest(package).parent().unwrap_or_else(|| Path::new(""))
    }

    fn text(&self, path: impl AsRef<Path>) -> anyhow::Result<String> {
        let path = self.root.join(path);
        std::fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))
    }
}
