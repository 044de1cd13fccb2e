//! What cargo took for unchanged though it is not.
//!
//! Cargo compares a file's mtime with the time of the last compilation, and tools that copy or
//! restore files set old mtimes. The ctime cannot be set: a file whose ctime is later than the
//! compilation and whose mtime is not was changed behind cargo's back.

use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, utimensat};

use super::{
    Scene,
    units::{ScriptRun, Units},
};
use crate::{
    compare::matters_to_package,
    error::Error,
    receipt::Look,
    stat::{StatVector, lstat, stat},
};

/// A file that cargo must be made to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Suspect {
    pub(crate) path: PathBuf,
}

impl Suspect {
    /// Gives the file the present time as mtime, which is what cargo looks at.
    pub(crate) fn touch(&self) -> Result<(), Error> {
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
        };
        utimensat(CWD, &self.path, &times, AtFlags::empty())
            .map_err(|error| Error::Force { path: self.path.clone(), source: error.into() })
    }
}

pub(crate) fn find(units: &Units, scene: Scene<'_>) -> Vec<Suspect> {
    let mut suspects = Vec::new();
    let mut add = |path: &Path| {
        if !suspects.iter().any(|known: &Suspect| known.path == path) {
            suspects.push(Suspect { path: path.to_owned() });
        }
    };
    for unit in units.compiled.iter().filter(|unit| unit.is_fresh) {
        for file in &unit.files {
            if is_hidden_change(file, unit.read_at) {
                add(file);
            }
        }
    }
    for run in &units.scripts {
        for file in run.watched.iter().filter(|file| !file.is_dir()) {
            if is_hidden_change(file, run.run_at) {
                add(file);
            }
        }
        if run.is_silent
            && let Some(source) = &run.source
            && package_changed_unseen(run, scene)
        {
            add(source);
        }
    }
    suspects
}

fn is_hidden_change(path: &Path, seen_at: i64) -> bool {
    let hidden = |state: StatVector| state.ctime() > seen_at && state.mtime() <= seen_at;
    matches!(stat(path), Ok(Some(state)) if hidden(state))
        || matches!(lstat(path), Ok(Some(state)) if state.is_symlink() && hidden(state))
}

/// Whether a package that its build script watches as a whole lost a file, or got one with an old
/// time, since the script ran.
fn package_changed_unseen(run: &ScriptRun, scene: Scene<'_>) -> bool {
    let Some(dir) = &run.package_dir else { return false };
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
                    let mut hashes = crate::compare::Hashes::default();
                    let same = hashes.content(&path, entry.look, now);
                    if !matches!(same, Ok(Some((_, hash))) if hash == entry.hash) {
                        return true;
                    }
                }
            }
            Look::File | Look::Followed | Look::Link
                if path.file_name().is_some_and(matters_to_package) =>
            {
                if is_hidden_change(&path, run.run_at) {
                    return true;
                }
            }
            _ => {}
        }
    }
    false
}
