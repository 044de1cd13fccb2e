use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use crate::{
    error::{Error, on},
    files::Files,
    freshness::InputKind,
    receipt::Look,
    stat::{StatVector, lstat, stat},
};

/// More files than anybody watches; past it a build script's directory is not listed.
const MAX_LISTED: usize = 500_000;

/// What is to be recorded.
#[derive(Debug, Default)]
pub(super) struct InputSet {
    pub(super) wanted: BTreeMap<(PathBuf, Look), InputKind>,
    pub(super) opaque: Option<String>,
}

impl InputSet {
    /// Whatever is at `path`: a file, a link and what it leads to, or nothing.
    pub(super) fn add(&mut self, path: &Path, kind: InputKind) {
        match lstat(path) {
            Ok(Some(state)) if state.is_symlink() => {
                self.add_as(path, Look::Link, kind);
                // A folder behind it is looked at by what lies in it.
                if !matches!(stat(path), Ok(Some(real)) if real.is_dir()) {
                    self.add_as(path, Look::Followed, kind);
                }
            }
            // Of a socket, a pipe or a device nothing is read.
            Ok(Some(state)) if !state.is_file() && !state.is_dir() => {
                self.add_as(path, Look::Program, kind);
            }
            _ => self.add_as(path, Look::File, kind),
        }
    }

    pub(super) fn add_as(&mut self, path: &Path, look: Look, kind: InputKind) {
        self.wanted.entry((path.to_owned(), look)).or_insert(kind);
    }

    /// Where `path` is not, it must not appear; where it is, others account for it.
    pub(super) fn add_absence(&mut self, path: &Path, kind: InputKind) {
        if matches!(lstat(path), Ok(None)) {
            self.add_as(path, Look::Absent, kind);
        }
    }

    /// What a build script of `package` watches: a file, or a directory with everything in it.
    /// Cargo writes to `built`.
    pub(super) fn add_watched(&mut self, path: &Path, package: &str, built: &[PathBuf]) {
        match stat(path) {
            Ok(Some(state)) if state.is_dir() => {
                let mut below = Self::default();
                below.add_below(path, built);
                if let Some(dir) = below.opaque {
                    self.opaque.get_or_insert_with(|| {
                        let path = path.display();
                        format!("a build script of `{package}` watches `{path}`, {dir}")
                    });
                } else {
                    self.wanted.append(&mut below.wanted);
                }
            }
            Ok(Some(_)) => self.add(path, InputKind::BuildScript),
            // Cargo takes a missing file for changed each time, and scripts use that on purpose.
            Ok(None) | Err(_) => {
                self.opaque.get_or_insert_with(|| {
                    format!(
                        "a build script of `{package}` watches `{}`, which does not exist, so it \
                         runs every time",
                        path.display()
                    )
                });
            }
        }
    }

    /// Everything below a folder, through links too. Ends with a reason where cargo writes there.
    fn add_below(&mut self, top: &Path, built: &[PathBuf]) {
        let identity = |state: StatVector| (state.device(), state.inode());
        let of = |path: &PathBuf| stat(path).ok().flatten().map(identity);
        let built: Vec<_> = built.iter().filter_map(of).collect();
        if matches!(lstat(top), Ok(Some(state)) if state.is_symlink()) {
            self.add_as(top, Look::Link, InputKind::BuildScript);
        }
        let mut pending = vec![(top.to_owned(), Vec::new())];
        let mut count = 0;
        while let Some((dir, mut above)) = pending.pop() {
            let Ok(Some(state)) = stat(&dir) else { continue };
            if built.contains(&identity(state)) {
                self.opaque = Some("in which cargo builds, so it runs every time".to_owned());
                return;
            }
            // A link to a folder above would lead round and round.
            if above.contains(&identity(state)) {
                continue;
            }
            above.push(identity(state));
            let Ok(entries) = fs::read_dir(&dir) else {
                // Closed to cargo and to the script as well.
                self.add_as(&dir, Look::Program, InputKind::BuildScript);
                continue;
            };
            self.add_as(&dir, Look::Listing, InputKind::BuildScript);
            for path in entries.flatten().map(|entry| entry.path()) {
                let is_real_dir = matches!(lstat(&path), Ok(Some(state)) if state.is_dir());
                if !is_real_dir {
                    self.add(&path, InputKind::BuildScript);
                }
                if matches!(stat(&path), Ok(Some(state)) if state.is_dir()) {
                    pending.push((path, above.clone()));
                }
                count += 1;
                if count > MAX_LISTED {
                    self.opaque = Some("which holds too many files".to_owned());
                    return;
                }
            }
        }
    }

    /// The files of `package`, which a build script watches as a whole.
    pub(super) fn add_package(&mut self, package: &str, files: &Files) {
        if files.builds_inside {
            self.opaque.get_or_insert_with(|| {
                format!(
                    "a build script watches all of `{package}`, in which cargo builds, so it runs \
                     every time"
                )
            });
            return;
        }
        if let Some(doubt) = &files.doubt {
            self.opaque.get_or_insert_with(|| doubt.clone());
        }
        let kind = InputKind::BuildScript;
        files.files.iter().for_each(|file| self.add(file, kind));
        files.folders.keys().for_each(|folder| self.add_as(folder, Look::PackageListing, kind));
        files.deciders.keys().for_each(|path| self.add_as(path, Look::Rules, kind));
    }

    /// All that may have been read below `dir`, whether cargo counts it or not.
    pub(super) fn add_all(&mut self, dir: &Path, target_dir: &Path) -> Result<(), Error> {
        let mut pending = vec![dir.to_owned()];
        while let Some(dir) = pending.pop() {
            self.add_as(&dir, Look::Listing, InputKind::BuildScript);
            for entry in fs::read_dir(&dir).map_err(on("list", &dir))? {
                let entry = entry.map_err(on("list", &dir))?;
                let path = entry.path();
                if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    self.add(&path, InputKind::BuildScript);
                } else if entry.file_name() != ".git"
                    && path != target_dir
                    && entry.file_name() != "target"
                    && !path.join("Cargo.toml").is_file()
                {
                    pending.push(path);
                }
                if self.wanted.len() > MAX_LISTED {
                    self.opaque = Some(format!("`{}` holds too many files", dir.display()));
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}
