//! Folders of the store.

use std::{
    fs,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use crate::error::{Error, failed};

pub(crate) fn create(path: &Path) -> Result<(), Error> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(path).map_err(failed("create", path))
}

pub(crate) fn below(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = fs::read_dir(folder).map_err(failed("read", folder))?;
    Ok(entries.flatten().map(|entry| entry.path()).collect())
}

/// The bytes of all files in the folder; nothing where there is none.
pub(crate) fn bytes(folder: &Path) -> u64 {
    let paths = below(folder).unwrap_or_default();
    paths.iter().filter_map(|path| fs::symlink_metadata(path).ok()).map(|meta| meta.len()).sum()
}
