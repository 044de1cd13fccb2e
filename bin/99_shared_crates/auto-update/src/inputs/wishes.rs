use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use crate::{
    compare::matters_to_package,
    error::{Error, on},
    freshness::InputKind,
    receipt::Look,
    stat::{lstat, stat},
};

/// More files than any package has; past it a build script's directory is not listed.
const MAX_LISTED: usize = 500_000;

/// What is to be recorded.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    pub(super) wanted: BTreeMap<(PathBuf, Look), InputKind>,
    pub(super) opaque: Option<String>,
}

impl Wishes {
    /// Whatever is at `path`: a file, a link and what it leads to, or nothing.
    pub(super) fn add(&mut self, path: &Path, kind: InputKind) {
        let is_link = matches!(lstat(path), Ok(Some(state)) if state.is_symlink());
        if is_link {
            self.add_as(path, Look::Link, kind);
            self.add_as(path, Look::Followed, kind);
        } else {
            self.add_as(path, Look::File, kind);
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

    /// What a build script watches: a file, or a directory with everything in it.
    pub(super) fn add_watched(&mut self, path: &Path, binary: &str) -> Result<(), Error> {
        match stat(path) {
            Ok(Some(state)) if state.is_dir() => self.walk(path, Look::Listing, &|_, _| true),
            Ok(Some(_)) => {
                self.add(path, InputKind::BuildScript);
                Ok(())
            }
            // Cargo takes a missing file for changed each time, and scripts use that on purpose.
            Ok(None) | Err(_) => {
                self.opaque.get_or_insert_with(|| {
                    format!(
                        "a build script of `{binary}` watches `{}`, which does not exist, so it \
                         runs every time",
                        path.display()
                    )
                });
                Ok(())
            }
        }
    }

    /// Every file of a package that cargo would take for one of its own.
    pub(super) fn add_package(&mut self, dir: &Path, target_dir: &Path) -> Result<(), Error> {
        self.walk(dir, Look::PackageListing, &|path, is_dir| {
            let name = path.file_name().unwrap_or_default();
            matters_to_package(name)
                && !(is_dir && (path == target_dir || path.join("Cargo.toml").is_file()))
        })
    }

    fn walk(
        &mut self,
        dir: &Path,
        look: Look,
        enters: &dyn Fn(&Path, bool) -> bool,
    ) -> Result<(), Error> {
        let mut pending = vec![dir.to_owned()];
        let mut count = 0;
        while let Some(dir) = pending.pop() {
            self.add_as(&dir, look, InputKind::BuildScript);
            for entry in fs::read_dir(&dir).map_err(on("list", &dir))? {
                let entry = entry.map_err(on("list", &dir))?;
                let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
                let path = entry.path();
                if !enters(&path, is_dir) {
                    continue;
                }
                if is_dir {
                    pending.push(path);
                } else {
                    self.add(&path, InputKind::BuildScript);
                }
                count += 1;
                if count > MAX_LISTED {
                    self.opaque = Some(format!("`{}` holds too many files", dir.display()));
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}
