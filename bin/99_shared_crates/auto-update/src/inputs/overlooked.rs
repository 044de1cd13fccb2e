//! What cargo took for unchanged though it is not.
//!
//! Cargo compares a file's mtime with the time of the last compilation. Tools that copy or restore
//! files set old mtimes, files and folders take each other's place, clocks are set back. So what
//! cargo did is judged by content: a unit that nobody has compiled since some receipt, and one of
//! whose files is not what it was then, was overlooked. That need not be the last receipt: under
//! other flags, or by another compiler, other units are compiled from the same files.
//!
//! A unit that somebody else has compiled meanwhile may have seen the content that is there now.
//! There only times can tell: the ctime cannot be set, so a file whose ctime is later than the
//! compilation and whose mtime is not was changed behind cargo's back, and so may one have been on
//! the way to which a folder or a link was put in the place of another since.

use std::{
    cell::{OnceCell, RefCell},
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    BuildContext,
    missed::Missed,
    units::{Mark, ScriptRun, Units},
    way::Ways,
};
use crate::{
    compare::{Hashes, World},
    files::Files,
    hash::Digest,
    layout::home_in,
    receipt::{Entry, Look, Receipt},
    records,
    stat::{StatVector, lstat, stat},
};

/// The compilations and the runs of build scripts that missed a change.
///
/// `entries` are the inputs as they are now.
pub(crate) fn find(
    units: &Units,
    context: BuildContext<'_>,
    entries: &[Entry],
    hashes: &mut Hashes,
) -> Vec<Missed> {
    let now = entries.iter().filter(|entry| has_content(entry.look));
    let sight = Sight {
        context,
        now: now.map(|entry| (entry.path.as_path(), entry.hash)).collect(),
        last: context.last.map(|last| Memory::of(last, context.world.root)),
        files: units
            .listed()
            .into_iter()
            .filter_map(|dir| Some((dir.clone(), hashes.files_of(&dir)?)))
            .collect(),
        others: OnceCell::new(),
        ways: RefCell::default(),
        real: RefCell::default(),
        root: real(context.world.root),
        built: context.built_places().iter().map(|place| real(place)).collect(),
    };
    let compiled = units.compiled.iter().filter(|unit| {
        let is_overlooked = || unit.files.iter().any(|file| sight.missed(file, &unit.mark));
        unit.is_fresh
            && !unit.files.is_empty()
            && (sight.is_anybodys(&unit.mark) || is_overlooked())
    });
    let run = units.scripts.iter().filter(|run| {
        run.watched.iter().any(|path| sight.missed(path, &run.mark) || sight.missed_in(path, run))
            || run.is_silent && package_changed_unseen(run, &sight)
            || run.mark.at < context.before.first.ctime() && sight.is_anybodys(&run.mark)
    });
    compiled.map(Missed::compilation).chain(run.map(Missed::run)).collect()
}

fn real(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

/// What the compiler or a build script reads, as opposed to what decides whether it does.
fn has_content(look: Look) -> bool {
    matches!(look, Look::File | Look::Followed | Look::Listing)
}

/// What a receipt says of the inputs, and of what had been made from them.
struct Memory {
    marks: HashMap<PathBuf, (StatVector, Digest)>,
    contents: HashMap<PathBuf, Digest>,
    entries: Vec<Entry>,
}

impl Memory {
    fn of(receipt: &Receipt, root: &Path) -> Self {
        let entries: Vec<Entry> = receipt.entries().map(|entry| entry.to_entry(root)).collect();
        let marks = receipt.head.marks.iter().map(|mark| {
            // Of a checkout that was copied as a whole, target directory and all.
            let path = match mark.path.strip_prefix(&receipt.head.root) {
                Ok(within) => root.join(within),
                Err(_) => mark.path.clone(),
            };
            (path, (mark.state, mark.hash))
        });
        let read = entries.iter().filter(|entry| has_content(entry.look));
        Self {
            marks: marks.collect(),
            contents: read.map(|entry| (entry.path.clone(), entry.hash)).collect(),
            entries,
        }
    }

    /// Nobody has done it again since.
    fn knows(&self, mark: &Mark) -> bool {
        // The other times and the owner change with a copy, a backup or a `chmod`.
        self.marks.get(&mark.path).is_some_and(|(state, hash)| {
            *state == mark.state || state.mtime() == mark.state.mtime() && *hash == mark.hash
        })
    }
}

/// What cargo can and cannot have seen.
struct Sight<'a> {
    context: BuildContext<'a>,
    /// The content of each input.
    now: HashMap<&'a Path, Digest>,
    last: Option<Memory>,
    /// The packages that count as a whole.
    files: HashMap<PathBuf, Arc<Files>>,
    /// Of earlier builds and of other binaries; few builds need them.
    others: OnceCell<Vec<Memory>>,
    /// To what was compiled, and to where it was compiled to.
    ways: RefCell<Ways>,
    real: RefCell<HashMap<PathBuf, Arc<Path>>>,
    /// The workspace, and where cargo builds, by the paths that no link leads through.
    root: PathBuf,
    built: Vec<PathBuf>,
}

impl Sight<'_> {
    /// What was recorded when this was done.
    fn memory_of(&self, mark: &Mark) -> Option<&Memory> {
        let others = || {
            let World { root, target_dir, .. } = self.context.world;
            let receipts = records::all(&home_in(target_dir));
            // Where another checkout builds as well, what it made is not this one's.
            let are_ours =
                |receipt: &Receipt| receipt.head.root == root || !self.context.before.is_shared;
            receipts.filter(are_ours).map(|receipt| Memory::of(&receipt, root)).collect()
        };
        let last = self.last.iter().find(|last| last.knows(mark));
        last.or_else(|| self.others.get_or_init(others).iter().find(|memory| memory.knows(mark)))
    }

    /// Several checkouts build in the same target directory, cargo takes what lies in either for the
    /// same package, and nothing tells whose this is.
    fn is_anybodys(&self, mark: &Mark) -> bool {
        self.context.before.is_shared
            && mark.package_dir.starts_with(self.context.world.root)
            && !self.context.before.done.contains(&(mark.path.clone(), mark.state))
            && self.memory_of(mark).is_none()
    }

    /// Whether the input at `path` is not what it was then.
    fn has_changed(&self, path: &Path, then: Option<&Memory>) -> bool {
        let (Some(now), Some(then)) = (self.now.get(path), then) else { return false };
        then.contents.get(path) != Some(now)
    }

    /// Whether what is at `path` may have come there after `mark` without cargo noticing.
    fn missed(&self, path: &Path, mark: &Mark) -> bool {
        if let Some(then) = self.memory_of(mark) {
            return self.has_changed(path, Some(then));
        }
        let changed = self.has_changed(path, self.last.as_ref());
        if path.is_dir() && !changed {
            // An entry that comes or goes sets both times of a folder; another name of its own, one.
            let is_moved =
                |state: StatVector| state.ctime() > mark.at && state.ctime() != state.mtime();
            let states = [lstat(path), stat(path)];
            return states.iter().any(|state| matches!(state, Ok(Some(state)) if is_moved(*state)))
                || self.is_another_way(path, mark, changed);
        }
        let Ok(Some(state)) = stat(path) else { return false };
        if state.mtime() > mark.at {
            // Cargo has looked at it and did nothing, or never looks.
            return changed || !mark.is_watched;
        }
        state.ctime() > mark.at || self.is_another_way(path, mark, changed)
    }

    /// Whether a folder or a link through which `path` leads may have come there after `mark`.
    fn is_another_way(&self, path: &Path, mark: &Mark, changed: bool) -> bool {
        let (place, package) = (self.real(&mark.path), self.real(&mark.package_dir));
        let later = |state: StatVector| state.ctime() > mark.at;
        let way = self.ways.borrow_mut().to(path);
        way.iter().any(|step| {
            // What gets another name, or goes, changes the folder that holds it too.
            if !later(step.state) || !later(step.holder) {
                return false;
            }
            // What was built came along with it. Where it lies elsewhere, another checkout's is
            // told by that.
            if place.starts_with(&step.path)
                || self.root.parent().is_some_and(|above| above.starts_with(&step.path))
            {
                return false;
            }
            // An entry of its own that came or went since hides that it was moved.
            let is_hidden = step.state.is_dir() && step.state.ctime() == step.state.mtime();
            let is_near = [&*self.root, &*package].iter().any(|dir| step.path.starts_with(dir));
            let is_built = self.built.iter().any(|dir| step.path.starts_with(dir));
            !is_hidden || !is_built && (changed || is_near)
        })
    }

    /// By the path that no link leads through.
    fn real(&self, path: &Path) -> Arc<Path> {
        if let Some(known) = self.real.borrow().get(path) {
            return Arc::clone(known);
        }
        let found: Arc<Path> = real(path).into();
        self.real.borrow_mut().insert(path.to_owned(), Arc::clone(&found));
        found
    }

    /// The same of anything below a folder that the script watches.
    fn missed_in(&self, dir: &Path, run: &ScriptRun) -> bool {
        let mut below = self.now.keys().filter(|path| **path != dir && path.starts_with(dir));
        below.any(|path| self.missed(path, &run.mark))
    }

    /// Cargo has seen it change; where it did nothing the file is one that git ignores.
    fn is_newer(path: &Path, mark: &Mark) -> bool {
        mark.is_watched && matches!(stat(path), Ok(Some(state)) if state.mtime() > mark.at)
    }
}

/// Whether a package that its build script watches as a whole lost a file, or got one with an old
/// time, since the script ran.
fn package_changed_unseen(run: &ScriptRun, sight: &Sight<'_>) -> bool {
    let Some(dir) = &run.package_dir else { return false };
    let then = sight.memory_of(&run.mark);
    let Some(compared) = then.or(sight.last.as_ref()) else {
        // Nothing tells what was there when it ran, but what came or changed later has its ctime.
        let Some(files) = sight.files.get(dir) else { return true };
        let later =
            |path: &PathBuf| matches!(stat(path), Ok(Some(state)) if state.ctime() > run.mark.at);
        let missed =
            |path: &PathBuf| !Sight::is_newer(path, &run.mark) && sight.missed(path, &run.mark);
        return files.folders.keys().any(later) || files.files.iter().any(missed);
    };
    for entry in compared.entries.iter().filter(|entry| entry.path.starts_with(dir)) {
        let path = &entry.path;
        match entry.look {
            Look::PackageListing => {
                let Ok(Some(now)) = stat(path) else { return true };
                if then.is_none() {
                    // A name may have gone that came after the last receipt.
                    if now.ctime() > run.mark.at {
                        return true;
                    }
                } else if now != entry.stat {
                    let files = sight.files.get(dir);
                    if files.is_none_or(|files| files.names_in(path) != entry.hash) {
                        return true;
                    }
                }
            }
            Look::File | Look::Followed | Look::Link
                if sight.files.get(dir).is_some_and(|files| files.files.contains(path))
                    && !Sight::is_newer(path, &run.mark)
                    && sight.missed(path, &run.mark) =>
            {
                return true;
            }
            _ => {}
        }
    }
    false
}
