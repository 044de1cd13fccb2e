//! What cargo took for unchanged though it is not.
//!
//! Cargo compares a file's mtime with the time of the last compilation, and tools that copy or
//! restore files set old mtimes. The ctime cannot be set: a file whose ctime is later than the
//! compilation and whose mtime is not was changed behind cargo's back. A folder that takes the
//! place of another brings files that show neither; there the folder's own ctime tells.

use std::{
    collections::{BTreeSet, HashSet},
    path::Path,
};

use super::{
    Scene,
    units::{ScriptRun, Units},
};
use crate::{
    compare::{Hashes, matters_to_package},
    receipt::Look,
    stat::{lstat, stat},
};

/// The packages, by cargo's ids, whose compilations or build scripts missed a change.
///
/// `changed` are the inputs whose content is not the one in the last receipt.
pub(crate) fn find(units: &Units, scene: Scene<'_>, changed: &HashSet<&Path>) -> BTreeSet<String> {
    let sight = Sight { root: scene.world.root, changed };
    let compiled = units.compiled.iter().filter(|unit| {
        unit.is_fresh && unit.files.iter().any(|file| sight.missed(file, unit.read_at))
    });
    let run = units.scripts.iter().filter(|run| {
        let mut files = run.watched.iter().filter(|file| !file.is_dir());
        files.any(|file| sight.missed(file, run.run_at))
            || run.is_silent && package_changed_unseen(run, scene, &sight)
    });
    compiled.map(|unit| &unit.package_id).chain(run.map(|run| &run.package_id)).cloned().collect()
}

/// What cargo can and cannot have seen.
struct Sight<'a> {
    root: &'a Path,
    changed: &'a HashSet<&'a Path>,
}

impl Sight<'_> {
    /// Whether what is at `path` may have come there after `seen_at` without cargo noticing.
    fn missed(&self, path: &Path, seen_at: i64) -> bool {
        let Ok(Some(state)) = stat(path) else { return false };
        if state.mtime() > seen_at {
            // Cargo was asked and did nothing, as it does for what `cargo vendor` put there.
            return self.changed.contains(path);
        }
        let later = |path: &Path| matches!(lstat(path), Ok(Some(state)) if state.ctime() > seen_at);
        // The file itself, or the link that leads to it, or, where another file than last time is
        // there now, a folder that was put in the place of another.
        state.ctime() > seen_at
            || later(path)
            || self.changed.contains(path) && self.folders_of(path).any(later)
    }

    /// Cargo has seen it change; where it did nothing the file is one that git ignores.
    fn is_newer(&self, path: &Path, seen_at: i64) -> bool {
        matches!(stat(path), Ok(Some(state)) if state.mtime() > seen_at)
    }

    fn folders_of<'p>(&self, path: &'p Path) -> impl Iterator<Item = &'p Path> {
        let above_root = self.root.parent();
        path.ancestors().skip(1).take_while(move |dir| Some(*dir) != above_root)
    }
}

/// Whether a package that its build script watches as a whole lost a file, or got one with an old
/// time, since the script ran.
fn package_changed_unseen(run: &ScriptRun, scene: Scene<'_>, sight: &Sight<'_>) -> bool {
    let Some(dir) = &run.package_dir else { return false };
    if scene.last.is_none() {
        // Nothing tells which names were there when it ran.
        return matches!(stat(dir), Ok(Some(state)) if state.ctime() > run.run_at);
    }
    let recorded = scene.last.into_iter().flat_map(|receipt| receipt.entries());
    for entry in recorded {
        let path = entry.absolute(scene.world.root);
        if !path.starts_with(dir) {
            continue;
        }
        match entry.look {
            Look::PackageListing => {
                let Ok(Some(now)) = stat(&path) else { return true };
                if now.ctime() > run.run_at && now.0 != entry.stat {
                    let listed = Hashes::default().content(&path, entry.look, now);
                    if !matches!(listed, Ok(Some((_, hash))) if hash == entry.hash) {
                        return true;
                    }
                }
            }
            Look::File | Look::Followed | Look::Link
                if path.file_name().is_some_and(matters_to_package)
                    && !sight.is_newer(&path, run.run_at)
                    && sight.missed(&path, run.run_at) =>
            {
                return true;
            }
            _ => {}
        }
    }
    false
}
