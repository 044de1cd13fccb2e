//! A package's files by cargo's rules: what a build script that watches nothing by name watches.
//!
//! Cargo lists a package in a git checkout as git would: what is tracked, and what is not and that
//! no rule ignores. Outside it leaves hidden names out. `include` and `exclude` narrow both. Which
//! files count is therefore decided by other files, and these are listed too.

mod git; // what git tracks and ignores

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fs, io,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::{
    environment::BuildEnvironment,
    hash::{Digest, hash_parts},
    stat::{StatVector, lstat, stat},
    workspace::{read_toml, strings},
};
use git::Repository;

/// More files than any package has.
const MAX_LISTED: usize = 500_000;

/// The files of one package, and what decided which they are.
#[derive(Debug, Default)]
pub(crate) struct Files {
    /// Everything that counts but folders, links among them.
    pub(crate) files: BTreeSet<PathBuf>,
    /// The folders that were looked through, in the state before.
    pub(crate) folders: BTreeMap<PathBuf, StatVector>,
    /// What decides which files count, there or not, in the state before it was read.
    pub(crate) deciders: BTreeMap<PathBuf, StatVector>,
    /// Cargo builds in the package, in a folder whose files count.
    pub(crate) builds_inside: bool,
    /// Why the list may not be cargo's.
    pub(crate) doubt: Option<String>,
}

/// Lists the package in `root`. `target_dir` is where cargo builds.
pub(crate) fn list(root: &Path, target_dir: &Path, environment: &BuildEnvironment) -> Files {
    let mut files = Files::default();
    let manifest = read_toml(&root.join("Cargo.toml")).ok().flatten().unwrap_or_default();
    let package = manifest.get("package");
    let rules_of = |key: &str| strings(package.and_then(|package| package.get(key)));
    let include: Vec<&str> = rules_of("include").collect();
    let repository =
        if include.is_empty() { Repository::find(root, environment, &mut files) } else { None };
    let mut exclude: Vec<&str> = rules_of("exclude").collect();
    if include.is_empty() && repository.is_none() {
        exclude.insert(0, ".*");
    }
    let filter = Filter {
        root,
        target_dir,
        include: (!include.is_empty()).then(|| matcher(root, &include)),
        exclude: matcher(root, &exclude),
    };
    match repository {
        Some(repository) => repository.list(&filter, environment, &mut files),
        None => walk(root, true, &filter, &mut Vec::new(), &mut files),
    }
    files
}

impl Files {
    /// The names in `folder` that count, and whether it has rules of its own.
    pub(crate) fn names_in(&self, folder: &Path) -> Digest {
        let mut names: BTreeSet<&[u8]> = BTreeSet::new();
        for file in self.files.range(folder.to_owned()..) {
            let Ok(below) = file.strip_prefix(folder) else { break };
            names.extend(below.iter().next().map(OsStr::as_bytes));
        }
        if self.deciders.contains_key(&folder.join(git::RULES)) {
            names.insert(git::RULES.as_bytes());
        }
        hash_parts(names)
    }

    /// All of the list.
    pub(crate) fn digest(&self) -> Digest {
        hash_parts(self.files.iter().map(|file| file.as_os_str().as_bytes()))
    }

    /// Notes that `path` decides, and in which state.
    fn decide(&mut self, path: PathBuf) {
        let state = stat(&path).ok().flatten().unwrap_or(StatVector::NONE);
        // `/dev/null` is how people say that there is none.
        if state == StatVector::NONE || state.is_file() || state.is_dir() {
            self.deciders.entry(path).or_insert(state);
        }
    }

    /// Notes that `folder` is looked through; whether there is room for more.
    fn enter(&mut self, folder: &Path) -> bool {
        if self.files.len() > MAX_LISTED {
            self.doubt = Some(format!("`{}` holds too many files", folder.display()));
            return false;
        }
        let state = stat(folder).ok().flatten().unwrap_or(StatVector::NONE);
        self.folders.entry(folder.to_owned()).or_insert(state);
        true
    }
}

/// What the package's manifest includes and excludes.
#[derive(Debug)]
struct Filter<'a> {
    root: &'a Path,
    target_dir: &'a Path,
    include: Option<Gitignore>,
    exclude: Gitignore,
}

impl Filter<'_> {
    fn takes(&self, path: &Path, is_dir: bool) -> bool {
        let Ok(relative) = path.strip_prefix(self.root) else { return false };
        if relative == Path::new("Cargo.lock") || relative == Path::new("Cargo.toml") {
            return true;
        }
        match &self.include {
            // Folders are seldom named; their files decide.
            Some(_) if is_dir => true,
            Some(include) => include.matched_path_or_any_parents(relative, false).is_ignore(),
            None => !self.exclude.matched_path_or_any_parents(relative, is_dir).is_ignore(),
        }
    }

    /// Whether cargo builds there: what lies in it is never the same twice.
    fn is_built_in(&self, folder: &Path) -> bool {
        folder == self.target_dir
    }
}

fn matcher(root: &Path, rules: &[&str]) -> Gitignore {
    let mut builder = GitignoreBuilder::new(root);
    for rule in rules {
        // Cargo refuses a manifest with a rule that cannot be read.
        builder.add_line(None, rule).map(drop).unwrap_or(());
    }
    builder.build().unwrap_or_else(|_| Gitignore::empty())
}

/// Everything below `folder`, through links too, as cargo takes it without git.
fn walk(
    folder: &Path,
    is_root: bool,
    filter: &Filter<'_>,
    above: &mut Vec<(u64, u64)>,
    into: &mut Files,
) {
    // A link to a folder above would lead round and round.
    let Ok(Some(state)) = stat(folder) else { return };
    let identity = (state.device(), state.inode());
    if above.contains(&identity) || !into.enter(folder) {
        return;
    }
    let Ok(entries) = fs::read_dir(folder) else {
        into.files.insert(folder.to_owned());
        return;
    };
    above.push(identity);
    for entry in entries.flatten() {
        let path = entry.path();
        // What cannot be looked at counts by its name, as a link that leads nowhere does.
        let kind = stat(&path).ok().flatten();
        let is_dir = kind.is_some_and(|kind| kind.is_dir());
        if !filter.takes(&path, is_dir) {
            continue;
        }
        if is_dir {
            let is_target = is_root && entry.file_name() == "target";
            if is_target || path.join("Cargo.toml").exists() {
                continue;
            }
            if filter.is_built_in(&path) {
                into.builds_inside = true;
                continue;
            }
            if matches!(lstat(&path), Ok(Some(state)) if state.is_symlink()) {
                into.files.insert(path.clone());
            }
            walk(&path, false, filter, above, into);
        } else if kind.is_none_or(|kind| kind.is_file()) {
            into.files.insert(path);
        }
    }
    above.pop();
}

fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if crate::config::is_absence(&error) => Ok(None),
        Err(error) => Err(error),
    }
}
