//! What cargo keeps of a compilation to tell whether it is to be done again.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{cargo::ArtifactMessage, stat::stat};

/// Written when a unit is begun.
const STAMP: &str = "invoked.timestamp";

/// Where cargo keeps what it knows of a compilation: one folder, or some where the unit's name does
/// not tell which.
#[derive(Debug, Default)]
pub(super) struct Fingerprint(Vec<PathBuf>);

impl Fingerprint {
    /// Of the compilation that wrote the list at `dep_info`.
    pub(super) fn of(dep_info: &Path, artifact: &ArtifactMessage) -> Self {
        let Some(dir) = dep_info.parent() else { return Self::default() };
        // Each unit has a folder of its own under `-Z build-dir-new-layout`.
        let own = dir.with_file_name("fingerprint");
        if own.join(STAMP).is_file() {
            return Self(vec![own]);
        }
        let mut places = dir.ancestors().take(4).map(|above| above.join(".fingerprint"));
        let Some(units) = places.find(|place| place.is_dir()) else { return Self::default() };
        let stem = dep_info.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let hash = stem.rsplit_once('-').map(|(_, hash)| hash).filter(|hash| hash.len() == 16);
        let is_of_unit = |unit: &PathBuf| match hash {
            Some(hash) => unit.to_str().is_some_and(|name| name.ends_with(hash)),
            None => unit.join(format!("dep-lib-{}", artifact.target.name)).is_file(),
        };
        Self(entries_of(&units).filter(is_of_unit).collect())
    }

    /// When the compilation began that had ended by then: what it read was there later.
    pub(super) fn begin(&self, end: i64) -> Option<i64> {
        let begins = self.0.iter().filter_map(|dir| modified(&dir.join(STAMP)));
        begins.filter(|begin| *begin <= end).max()
    }

    /// The lists of files whose times cargo compares. Where one is missing cargo compiles the unit,
    /// and everything that is made from it.
    pub(super) fn lists(&self) -> Vec<PathBuf> {
        let is_list = |path: &PathBuf| {
            path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"dep-"))
        };
        self.0.iter().flat_map(|dir| entries_of(dir)).filter(is_list).collect()
    }
}

pub(super) fn entries_of(dir: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path())
}

pub(super) fn modified(path: &Path) -> Option<i64> {
    stat(path).ok().flatten().map(|state| state.mtime())
}
