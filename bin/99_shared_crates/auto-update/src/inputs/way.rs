//! Through what a path leads.

use std::{
    collections::VecDeque,
    ffi::OsString,
    fs,
    path::{Component, Path, PathBuf},
};

use crate::stat::{StatVector, lstat};

/// More links than the kernel follows.
const MAX_LINKS: usize = 40;

/// A folder or a link.
#[derive(Debug, Clone)]
pub(super) struct Step {
    /// No part of it but the last is a link.
    pub(super) path: PathBuf,
    pub(super) state: StatVector,
    /// Of the folder in which it lies.
    pub(super) holder: StatVector,
}

/// Every folder and every link that is gone through to get to what the absolute `path` leads to,
/// without that itself.
pub(super) fn way_to(path: &Path) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut rest: VecDeque<OsString> = names_of(path).collect();
    let mut folders = vec![(PathBuf::from("/"), look(Path::new("/")))];
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
        let state = look(&path);
        if state.is_symlink() {
            links += 1;
            let Ok(target) = fs::read_link(&path) else { return steps };
            if links > MAX_LINKS {
                return steps;
            }
            if target.is_absolute() {
                folders.truncate(1);
            }
            for name in names_of(&target).collect::<Vec<_>>().into_iter().rev() {
                rest.push_front(name);
            }
        } else if state.is_dir() && !rest.is_empty() {
            folders.push((path.clone(), state));
        } else {
            return steps;
        }
        steps.push(Step { path, state, holder });
    }
    steps
}

fn look(path: &Path) -> StatVector {
    lstat(path).ok().flatten().unwrap_or(StatVector::NONE)
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

    #[test]
    fn links_and_folders_behind_them_are_on_the_way() {
        let folder = tempfile::tempdir().unwrap();
        let top = fs::canonicalize(folder.path()).unwrap();
        fs::create_dir_all(top.join("a/b")).unwrap();
        fs::create_dir_all(top.join("real/deep")).unwrap();
        fs::write(top.join("real/deep/file"), "").unwrap();
        symlink("../../second", top.join("a/b/first")).unwrap();
        symlink(top.join("real"), top.join("second")).unwrap();
        symlink("../real/deep/file", top.join("a/leaf")).unwrap();
        let below = |path: &str| -> Vec<String> {
            let steps = way_to(&top.join(path)).into_iter();
            let within = |step: Step| step.path.strip_prefix(&top).ok().map(Path::to_owned);
            steps.filter_map(within).map(|path| path.display().to_string()).collect()
        };
        let expected = ["", "a", "a/b", "a/b/first", "second", "real", "real/deep"];
        let unique = |mut steps: Vec<String>| {
            let mut seen = std::collections::HashSet::new();
            steps.retain(|step| seen.insert(step.clone()));
            steps
        };
        assert_eq!(unique(below("a/b/first/deep/file")), expected);
        assert_eq!(unique(below("a/leaf")), ["", "a", "a/leaf", "real", "real/deep"]);
        symlink("round", top.join("round")).unwrap();
        assert!(!below("round/x").is_empty());
    }
}
