//! What git tracks and ignores, read from its files: asking starts no process.

mod index; // the files that are tracked
mod settings; // where a person keeps rules for all repositories

use std::{
    ffi::{OsStr, OsString},
    fs,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use ignore::gitignore::{Gitignore, GitignoreBuilder};

use super::{Files, Filter, read, walk};
use crate::{
    environment::BuildEnvironment,
    stat::{lstat, stat},
};
use index::Index;

/// The name of the files with rules about what is ignored.
pub(super) const RULES: &str = ".gitignore";

/// A checkout.
#[derive(Debug)]
pub(super) struct Repository {
    top: PathBuf,
    index: Index,
    /// Rules that hold everywhere in it, the strongest first.
    general: Vec<Gitignore>,
}

/// The rules of a folder and those above it, the nearest first.
#[derive(Debug, Clone, Default)]
struct Rules(Vec<Arc<Gitignore>>);

impl Repository {
    /// The checkout around `root`, if it tracks the manifest there: cargo asks git only then.
    pub(super) fn find(
        root: &Path,
        environment: &BuildEnvironment,
        files: &mut Files,
    ) -> Option<Self> {
        for top in root.ancestors() {
            let found = git_dir(top);
            // Where it is a folder its index tells whether it is still there.
            if found.is_none() || top.join(".git").is_file() {
                files.decide(top.join(".git"));
            }
            let Some(dir) = found else { continue };
            let repository = Self::open(top, &dir, environment, files)?;
            let within = root.strip_prefix(top).ok()?;
            let is_tracked = repository.index.holds(&within.join("Cargo.toml"));
            return is_tracked.then_some(repository);
        }
        None
    }

    fn open(
        top: &Path,
        dir: &Path,
        environment: &BuildEnvironment,
        files: &mut Files,
    ) -> Option<Self> {
        let common = common_dir(dir);
        files.decide(dir.join("index"));
        let bytes = read(&dir.join("index")).ok();
        let Some(Some(index)) = bytes.map(|bytes| Index::parse(bytes.as_deref())) else {
            let index = dir.join("index");
            files.doubt = Some(format!("git's index `{}` cannot be read", index.display()));
            return None;
        };
        let own = common.join("info/exclude");
        let configured = settings::excludes_file(&common, environment, files);
        let mut general = Vec::new();
        for path in [Some(own), configured].into_iter().flatten() {
            files.decide(path.clone());
            general.extend(rules_in(top, &path));
        }
        Some(Self { top: top.to_owned(), index, general })
    }

    /// Adds the files of the package: all of the checkout that lies in it.
    pub(super) fn list(
        &self,
        filter: &Filter<'_>,
        environment: &BuildEnvironment,
        into: &mut Files,
    ) {
        let start = if filter.root.starts_with(&self.top) { filter.root } else { &self.top };
        let mut rules = Rules::default();
        let mut is_ignored = false;
        let mut above: Vec<&Path> =
            start.ancestors().take_while(|dir| dir.starts_with(&self.top)).collect();
        above.reverse();
        for dir in above {
            // A folder above may be ignored though something in it is tracked.
            is_ignored |= dir != self.top && self.ignores(&rules, dir, true);
            into.decide(dir.join(RULES));
            rules = rules.with(dir);
        }
        let scope = Scope { repository: self, filter, environment, start };
        scope.walk(start, &rules, is_ignored, into);
        // What is tracked below the folder that is left out counts nevertheless.
        let left_out = start.join("target");
        let tracked = self.index.below(left_out.strip_prefix(&self.top).unwrap_or(&left_out));
        for path in tracked.map(|path| self.top.join(path)) {
            if filter.takes(&path, false) {
                into.files.insert(path);
            }
        }
    }

    fn ignores(&self, rules: &Rules, path: &Path, is_dir: bool) -> bool {
        let near = rules.0.iter().map(Arc::as_ref);
        for rules in near.chain(&self.general) {
            let matched = rules.matched(path, is_dir);
            if !matched.is_none() {
                return matched.is_ignore();
            }
        }
        false
    }
}

impl Rules {
    /// These and those of `dir`, which are stronger.
    fn with(&self, dir: &Path) -> Self {
        let own = rules_in(dir, &dir.join(RULES)).map(Arc::new);
        Self(own.into_iter().chain(self.0.iter().cloned()).collect())
    }
}

/// What is listed of a checkout.
struct Scope<'a> {
    repository: &'a Repository,
    filter: &'a Filter<'a>,
    environment: &'a BuildEnvironment,
    /// The package, or the top of a checkout inside it.
    start: &'a Path,
}

impl Scope<'_> {
    fn walk(&self, dir: &Path, rules: &Rules, is_ignored: bool, into: &mut Files) {
        if !into.enter(dir) {
            return;
        }
        let Ok(entries) = fs::read_dir(dir) else {
            into.files.insert(dir.to_owned());
            return;
        };
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort_unstable();
        for path in paths {
            let Ok(Some(state)) = lstat(&path) else { continue };
            let Ok(within) = path.strip_prefix(&self.repository.top) else { continue };
            let name = path.file_name().unwrap_or_default();
            if name == ".git" {
                continue;
            }
            let leads_to_dir = state.is_dir()
                || state.is_symlink() && matches!(stat(&path), Ok(Some(real)) if real.is_dir());
            let is_tracked = self.repository.index.holds(within);
            let holds_tracked = state.is_dir() && self.repository.index.holds_below(within);
            let ignored = is_ignored || self.repository.ignores(rules, &path, leads_to_dir);
            if ignored && !is_tracked && !holds_tracked {
                continue;
            }
            if state.is_dir() {
                self.enter(&path, rules, ignored, into);
            } else if state.is_symlink() && leads_to_dir {
                into.files.insert(path.clone());
                self.follow(&path, into);
            } else if (state.is_file() || state.is_symlink())
                && (is_tracked || within != Path::new("Cargo.lock"))
                && self.filter.takes(&path, false)
            {
                into.files.insert(path);
            }
        }
    }

    /// A folder in which something may count.
    fn enter(&self, dir: &Path, rules: &Rules, is_ignored: bool, into: &mut Files) {
        if dir == self.start.join("target") {
            return;
        }
        if self.filter.is_built_in(dir) {
            into.builds_inside = true;
            return;
        }
        let within = dir.strip_prefix(&self.repository.top).unwrap_or(dir);
        if self.repository.index.holds(within) || git_dir(dir).is_some() {
            self.follow(dir, into);
            return;
        }
        if dir.join(RULES).symlink_metadata().is_ok() {
            into.decide(dir.join(RULES));
        }
        let own = rules.with(dir);
        let manifest = dir.join("Cargo.toml");
        let is_package = manifest.symlink_metadata().is_ok()
            && (self.repository.index.holds(&within.join("Cargo.toml"))
                || !is_ignored && !self.repository.ignores(&own, &manifest, false));
        if !is_package {
            self.walk(dir, &own, is_ignored, into);
        }
    }

    /// Another checkout in this one, or a folder that a link leads to.
    fn follow(&self, dir: &Path, into: &mut Files) {
        let inner = git_dir(dir)
            .and_then(|git_dir| Repository::open(dir, &git_dir, self.environment, into));
        match inner {
            Some(inner) => inner.list(self.filter, self.environment, into),
            None if self.filter.takes(dir, true) && !dir.join("Cargo.toml").exists() => {
                walk(dir, false, self.filter, &mut Vec::new(), into);
            }
            None => {}
        }
    }
}

/// Where git keeps what it knows of the checkout at `top`, if there is one.
fn git_dir(top: &Path) -> Option<PathBuf> {
    let place = top.join(".git");
    let dir = if place.is_dir() {
        place
    } else {
        let text = fs::read(&place).ok()?;
        let named = text.strip_prefix(b"gitdir:")?.trim_ascii();
        top.join(PathBuf::from(OsString::from_vec(named.to_vec())))
    };
    (dir.join("HEAD").symlink_metadata().is_ok() && common_dir(&dir).join("objects").is_dir())
        .then_some(dir)
}

/// What the checkouts of one repository share.
fn common_dir(dir: &Path) -> PathBuf {
    match fs::read(dir.join("commondir")) {
        Ok(text) => dir.join(Path::new(OsStr::from_bytes(text.trim_ascii()))),
        Err(_) => dir.to_owned(),
    }
}

fn rules_in(root: &Path, path: &Path) -> Option<Gitignore> {
    if !path.is_file() {
        return None;
    }
    let mut builder = GitignoreBuilder::new(root);
    // What cannot be read of them is no rule, as for git.
    drop(builder.add(path));
    builder.build().ok()
}
