use std::{fs, path::Path, path::PathBuf, process::Command, str::FromStr};

use anyhow::{Context as _, bail};
use cargo_metadata::{Metadata, semver::Version};
use release_archive::{Content, Contents};

use crate::licences;

/// Texts of this workspace that come along.
const TEXTS: [&str; 4] = ["README.md", "CHANGELOG.md", "LICENSE-MIT", "LICENSE-APACHE"];

/// Where what is not needed to run is kept, in a release and in a package.
pub(crate) const DOCUMENTS: &str = "share/doc/rbee";

/// A program of the chain.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
}

impl FromStr for Program {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, path) = text.split_once('=').ok_or("NAME=PATH is wanted")?;
        Ok(Self { name: name.to_owned(), path: path.into() })
    }
}

/// What is packed.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) release: Contents,
    /// Runs the queen for a user's service manager.
    pub(crate) unit: String,
}

/// The version that all members have.
pub(crate) fn version(metadata: &Metadata) -> anyhow::Result<Version> {
    let keeper =
        metadata.workspace_packages().into_iter().find(|package| package.name == "rbee-keeper");
    Ok(keeper.context("there is no `rbee-keeper` here")?.version.clone())
}

pub(crate) fn collect(
    root: &Path,
    metadata: &Metadata,
    programs: &[Program],
    keeper: &Program,
) -> anyhow::Result<Made> {
    let mut release = Contents::new();
    for Program { name, path } in programs {
        release.insert(format!("bin/{name}"), Content::Program(path.clone()));
    }
    for name in TEXTS {
        let text = read(&root.join(name))?;
        release.insert(format!("{DOCUMENTS}/{name}"), Content::Text(text));
    }
    let licences = licences::texts(metadata)?;
    release.insert(format!("{DOCUMENTS}/LICENSES-OF-DEPENDENCIES.txt"), Content::Text(licences));

    let folder = tempfile::tempdir().context("cannot make a folder")?;
    generate(&keeper.path, folder.path())?;
    let share = folder.path().join("share");
    for path in files(&share)? {
        let inner = path.strip_prefix(&share).context("a file lies where it was found")?;
        release.insert(format!("share/{}", inner.display()), Content::Text(read(&path)?));
    }
    let unit = read(&folder.path().join("rbee.service"))?;
    Ok(Made { release, unit })
}

/// Has the keeper write what it knows of its own command line.
fn generate(keeper: &Path, folder: &Path) -> anyhow::Result<()> {
    let home = folder.join("home");
    let output = Command::new(keeper)
        .arg("generate")
        .arg(folder)
        // Nobody's configuration is to be found in it.
        .env("RBEE_HOME", &home)
        .output()
        .with_context(|| format!("cannot start `{}`", keeper.display()))?;
    if !output.status.success() {
        bail!("`rbee generate` failed: {}", String::from_utf8_lossy(&output.stderr).trim_end());
    }
    Ok(())
}

fn files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read `{}`", folder.display()))?;
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() { found.extend(files(&path)?) } else { found.push(path) }
    }
    Ok(found)
}

fn read(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))
}
