//! What cargo took for unchanged though it is not.
//!
//! Cargo compares a file's mtime with the time of the last compilation. Tools that copy or restore
//! files set old mtimes, files and folders take each other's place, clocks are set back. So what
//! cargo did is judged by content: a unit that nobody has compiled since the last receipt, and one
//! of whose files is not what it was then, was overlooked.
//!
//! A unit that somebody else has compiled meanwhile may have seen the content that is there now.
//! There only times can tell: the ctime cannot be set, so a file whose ctime is later than the
//! compilation and whose mtime is not was changed behind cargo's back, and so was one in a folder
//! that was put in the place of another since.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    path::Path,
};

use super::{
    Scene,
    units::{Mark, ScriptRun, Units},
};
use crate::{
    compare::{Hashes, matters_to_package},
    receipt::Look,
    stat::{StatVector, lstat, stat},
};

/// The packages, by cargo's ids, whose compilations or build scripts missed a change.
///
/// `changed` are the inputs whose content is not the one in the last receipt.
pub(crate) fn find(units: &Units, scene: Scene<'_>, changed: &HashSet<&Path>) -> BTreeSet<String> {
    let marks =
        scene.last.map(|last| last.head.marks.iter().map(|(path, state)| (path.as_path(), *state)));
    let sight =
        Sight { root: scene.world.root, changed, marks: marks.into_iter().flatten().collect() };
    let compiled = units.compiled.iter().filter(|unit| {
        unit.is_fresh && unit.files.iter().any(|file| sight.missed(file, &unit.mark))
    });
    let run = units.scripts.iter().filter(|run| {
        run.watched.iter().any(|path| sight.missed(path, &run.mark) || sight.missed_in(path, run))
            || run.is_silent && package_changed_unseen(run, scene, &sight)
    });
    compiled.map(|unit| &unit.package_id).chain(run.map(|run| &run.package_id)).cloned().collect()
}

/// What cargo can and cannot have seen.
struct Sight<'a> {
    root: &'a Path,
    changed: &'a HashSet<&'a Path>,
    /// The marks of the last receipt.
    marks: HashMap<&'a Path, StatVector>,
}

impl Sight<'_> {
    /// Nobody has done it again since the last receipt.
    fn is_as_recorded(&self, mark: &Mark) -> bool {
        self.marks.get(mark.path.as_path()) == Some(&mark.state)
    }

    /// Whether what is at `path` may have come there after `mark` without cargo noticing.
    fn missed(&self, path: &Path, mark: &Mark) -> bool {
        let changed = self.changed.contains(path);
        if path.is_dir() && !changed {
            // A folder's times change with every file that is written in it.
            return false;
        }
        if self.is_as_recorded(mark) {
            return changed;
        }
        let Ok(Some(state)) = stat(path) else { return false };
        if state.mtime() > mark.at {
            // Cargo was asked and did nothing, as it does for what `cargo vendor` put there.
            return changed;
        }
        let later = |path: &Path| matches!(lstat(path), Ok(Some(state)) if state.ctime() > mark.at);
        // The file itself, or the link that leads to it, or, where another file than last time is
        // there now, a folder.
        state.ctime() > mark.at || later(path) || changed && self.folders_of(path).any(later)
    }

    /// The same of anything below a folder that the script watches.
    fn missed_in(&self, dir: &Path, run: &ScriptRun) -> bool {
        let below = self.changed.iter().filter(|path| **path != dir && path.starts_with(dir));
        below.into_iter().any(|path| self.missed(path, &run.mark))
    }

    /// Cargo has seen it change; where it did nothing the file is one that git ignores.
    fn is_newer(path: &Path, mark: &Mark) -> bool {
        matches!(stat(path), Ok(Some(state)) if state.mtime() > mark.at)
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
    let Some(last) = scene.last else {
        // Nothing tells which names were there when it ran.
        return matches!(stat(dir), Ok(Some(state)) if state.ctime() > run.mark.at);
    };
    for entry in last.entries() {
        let path = entry.absolute(scene.world.root);
        if !path.starts_with(dir) {
            continue;
        }
        match entry.look {
            Look::PackageListing => {
                let Ok(Some(now)) = stat(&path) else { return true };
                let may_be_later = sight.is_as_recorded(&run.mark) || now.ctime() > run.mark.at;
                if may_be_later && now.0 != entry.stat {
                    let listed = Hashes::default().content(&path, entry.look, now);
                    if !matches!(listed, Ok(Some((_, hash))) if hash == entry.hash) {
                        return true;
                    }
                }
            }
            Look::File | Look::Followed | Look::Link
                if path.file_name().is_some_and(matters_to_package)
                    && !Sight::is_newer(&path, &run.mark)
                    && sight.missed(&path, &run.mark) =>
            {
                return true;
            }
            _ => {}
        }
    }
    false
}
