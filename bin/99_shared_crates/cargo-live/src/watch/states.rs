//! The states of a program's files: whether one may have changed since the last look, and which.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use auto_update::AutoUpdater;

/// A workspace is not searched for more files than this.
const MOST_FILES: usize = 50_000;

/// Device, inode, mode, size, and both times with nanoseconds; `None` for what is not there.
type State = Option<[u64; 8]>;

/// Files as they were at one moment.
#[derive(Debug, Default)]
pub(super) struct States(BTreeMap<PathBuf, State>);

impl States {
    pub(super) fn of(paths: &BTreeSet<PathBuf>) -> Self {
        Self(paths.iter().map(|path| (path.clone(), state(path))).collect())
    }

    /// The files that are not what they were, with those that only one of the two knows.
    pub(super) fn changed_since(&self, earlier: &Self) -> Vec<PathBuf> {
        let differs = |path: &&PathBuf| self.0.get(*path) != earlier.0.get(*path);
        let all: BTreeSet<&PathBuf> = self.0.keys().chain(earlier.0.keys()).collect();
        all.into_iter().filter(differs).cloned().collect()
    }

    /// What was seen earlier counts, for files that both know.
    pub(super) fn with_what_was_seen(mut self, earlier: &Self) -> Self {
        for (path, state) in &mut self.0 {
            if let Some(before) = earlier.0.get(path) {
                *state = *before;
            }
        }
        self
    }
}

/// What the last build is known to have been made from, apart from what builds write.
pub(super) fn inputs(updater: &AutoUpdater) -> BTreeSet<PathBuf> {
    let target = updater.target_dir().ok();
    let inputs = updater.inputs().unwrap_or_default().into_iter();
    inputs
        .map(|input| input.path)
        .filter(|path| !target.as_ref().is_some_and(|target| path.starts_with(target)))
        .filter(|path| path.is_absolute())
        .collect()
}

/// [`inputs`], and every other file of the workspace, for when it is not known what a build
/// reads: hidden files and what is built apart.
pub(super) fn everything(updater: &AutoUpdater) -> BTreeSet<PathBuf> {
    let mut found = inputs(updater);
    let target = updater.target_dir().unwrap_or_default();
    let mut folders = vec![updater.workspace_root().to_owned(), updater.package_dir().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_folder && is_searched(&path, &target) {
                folders.push(path);
            } else if !is_folder && !is_hidden(&path) {
                found.insert(path);
            }
            if found.len() > MOST_FILES {
                return found;
            }
        }
    }
    found
}

fn is_searched(folder: &Path, target: &Path) -> bool {
    folder != target
        && !is_hidden(folder)
        && folder.file_name() != Some(OsStr::new("node_modules"))
        && !folder.join("CACHEDIR.TAG").exists()
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

fn state(path: &Path) -> State {
    let link = fs::symlink_metadata(path).ok()?;
    let file = if link.is_symlink() { fs::metadata(path).unwrap_or(link) } else { link };
    // A folder's own times change with files in it that may be nobody's input.
    let times = if file.is_dir() {
        [0; 4]
    } else {
        [file.mtime(), file.mtime_nsec(), file.ctime(), file.ctime_nsec()].map(i64::cast_unsigned)
    };
    let size = if file.is_dir() { 0 } else { file.size() };
    let [mtime, mtime_nsec, ctime, ctime_nsec] = times;
    let mode = u64::from(file.mode());
    Some([file.dev(), file.ino(), mode, size, mtime, mtime_nsec, ctime, ctime_nsec])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_removed_or_made_has_changed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let paths: BTreeSet<_> =
            ["kept", "edited", "removed", "made"].map(|name| folder.path().join(name)).into();
        for name in ["kept", "edited", "removed"] {
            fs::write(folder.path().join(name), "one").unwrap();
        }
        let before = States::of(&paths);
        assert_eq!(States::of(&paths).changed_since(&before), Vec::<PathBuf>::new());
        fs::write(folder.path().join("edited"), "three").unwrap();
        fs::remove_file(folder.path().join("removed")).unwrap();
        fs::write(folder.path().join("made"), "one").unwrap();
        let changed = States::of(&paths).changed_since(&before);
        let names: Vec<_> = changed.iter().filter_map(|path| path.file_name()).collect();
        assert_eq!(names, ["edited", "made", "removed"]);
    }
}
