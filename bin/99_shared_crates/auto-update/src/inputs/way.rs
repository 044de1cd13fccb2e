//! Through what a path leads.

use std::{
    collections::{HashMap, VecDeque},
    ffi::OsString,
    fs,
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use crate::stat::{StatVector, lstat};

/// More links than the kernel follows.
const MAX_LINKS: usize = 40;

/// A folder or a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    /// No part of it but the last is a link.
    pub(super) path: PathBuf,
    pub(super) state: StatVector,
    /// Of the folder in which it lies.
    pub(super) holder: StatVector,
}

/// The ways to many files, as they are in one moment: nothing on them is looked at twice, however many
/// files lie behind it.
#[derive(Debug, Default)]
pub(super) struct Ways {
    looked: HashMap<PathBuf, StatVector>,
    /// By the folder's path as files name it.
    into: HashMap<PathBuf, Arc<Way>>,
}

#[derive(Debug)]
struct Way {
    steps: Arc<[Step]>,
    /// Where it ends, if that is a folder, by a path without links.
    folder: Option<PathBuf>,
}

impl Ways {
    /// Every folder and every link that is gone through to get to what the absolute `path` leads to,
    /// without that itself.
    pub(super) fn to(&mut self, path: &Path) -> Arc<[Step]> {
        if let (Some(above), Some(name)) = (path.parent(), path.file_name()) {
            let way = self.into(above);
            let Some(folder) = &way.folder else { return Arc::clone(&way.steps) };
            if !self.look(&folder.join(name)).is_symlink() {
                return Arc::clone(&way.steps);
            }
        }
        self.walk(path, false).steps
    }

    /// The same with the folder at its end.
    fn into(&mut self, folder: &Path) -> Arc<Way> {
        if let Some(known) = self.into.get(folder) {
            return Arc::clone(known);
        }
        let way = Arc::new(self.walk(folder, true));
        self.into.insert(folder.to_owned(), Arc::clone(&way));
        way
    }

    fn walk(&mut self, path: &Path, into: bool) -> Way {
        let mut steps = Vec::new();
        let mut rest: VecDeque<OsString> = names_of(path).collect();
        let mut folders = vec![(PathBuf::from("/"), self.look(Path::new("/")))];
        let mut links = 0;
        while let Some(name) = rest.pop_front() {
            if name == ".." {
                if folders.len() > 1 {
                    folders.pop();
                }
                continue;
            }
            let (folder, holder) = folders.last().expect("the root stays");
            let (path, holder) = (folder.join(name), *holder);
            let state = self.look(&path);
            if state.is_symlink() {
                links += 1;
                let target = fs::read_link(&path).ok().filter(|_| links <= MAX_LINKS);
                let Some(target) = target else { return Way::broken_off(steps) };
                if target.is_absolute() {
                    folders.truncate(1);
                }
                for name in names_of(&target).collect::<Vec<_>>().into_iter().rev() {
                    rest.push_front(name);
                }
            } else if state.is_dir() && (into || !rest.is_empty()) {
                folders.push((path.clone(), state));
            } else {
                return Way::broken_off(steps);
            }
            steps.push(Step { path, state, holder });
        }
        Way { steps: steps.into(), folder: folders.pop().map(|(path, _)| path) }
    }

    fn look(&mut self, path: &Path) -> StatVector {
        if let Some(known) = self.looked.get(path) {
            return *known;
        }
        let state = lstat(path).ok().flatten().unwrap_or(StatVector::NONE);
        self.looked.insert(path.to_owned(), state);
        state
    }
}

impl Way {
    /// To what is no folder, or not there.
    fn broken_off(steps: Vec<Step>) -> Self {
        Self { steps: steps.into(), folder: None }
    }
}

fn names_of(path: &Path) -> impl Iterator<Item = OsString> + '_ {
    path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// Two ways into one folder, by links on the way and at the end.
    fn linked() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let top = fs::canonicalize(folder.path()).unwrap();
        fs::create_dir_all(top.join("a/b")).unwrap();
        fs::create_dir_all(top.join("real/deep")).unwrap();
        fs::write(top.join("real/deep/file"), "").unwrap();
        symlink("../../second", top.join("a/b/first")).unwrap();
        symlink(top.join("real"), top.join("second")).unwrap();
        symlink("../real/deep/file", top.join("a/leaf")).unwrap();
        symlink("round", top.join("round")).unwrap();
        symlink("nowhere", top.join("dangling")).unwrap();
        (folder, top)
    }

    #[test]
    fn links_and_folders_behind_them_are_on_the_way() {
        let (_folder, top) = linked();
        let below = |path: &str| -> Vec<String> {
            let steps = Ways::default().to(&top.join(path));
            let within = |step: &Step| step.path.strip_prefix(&top).ok().map(Path::to_owned);
            steps.iter().filter_map(within).map(|path| path.display().to_string()).collect()
        };
        let expected = ["", "a", "a/b", "a/b/first", "second", "real", "real/deep"];
        let unique = |mut steps: Vec<String>| {
            let mut seen = std::collections::HashSet::new();
            steps.retain(|step| seen.insert(step.clone()));
            steps
        };
        assert_eq!(unique(below("a/b/first/deep/file")), expected);
        assert_eq!(unique(below("a/leaf")), ["", "a", "a/leaf", "real", "real/deep"]);
        assert!(!below("round/x").is_empty());
    }

    #[test]
    fn a_way_is_the_same_whatever_was_looked_at_before() {
        let (_folder, top) = linked();
        let paths = [
            "a/b/first/deep/file",
            "a/b/first/deep/other",
            "a/b/../b/first/../a/leaf",
            "a/leaf",
            "a/leaf/x",
            "real/deep/file",
            "real/deep",
            "second",
            "round/x",
            "dangling/x/y",
            "nowhere/x",
            "..",
        ];
        let mut ways = Ways::default();
        for path in paths.into_iter().chain(paths) {
            let path = top.join(path);
            assert_eq!(ways.to(&path), Ways::default().walk(&path, false).steps, "{path:?}");
        }
        assert!(ways.to(Path::new("/")).is_empty());
    }

    #[test]
    fn each_folder_is_looked_at_once_however_many_files_lie_in_it() {
        const FOLDERS: usize = 10;
        const FILES: usize = 100;
        let folder = tempfile::tempdir().unwrap();
        let top = fs::canonicalize(folder.path()).unwrap();
        let mut ways = Ways::default();
        for (dir, file) in (0..FOLDERS).flat_map(|dir| (0..FILES).map(move |file| (dir, file))) {
            let dir = top.join(format!("d{dir}"));
            fs::create_dir_all(&dir).unwrap();
            let path = dir.join(format!("f{file}"));
            fs::write(&path, "").unwrap();
            assert!(ways.to(&path).iter().any(|step| step.path == dir));
        }
        let above = top.ancestors().count();
        assert_eq!(ways.looked.len(), above + FOLDERS + FOLDERS * FILES);
        ways.to(&top.join("d0/f0"));
        assert_eq!(ways.looked.len(), above + FOLDERS + FOLDERS * FILES, "it is known");
    }
}
