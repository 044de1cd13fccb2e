//! Compares a receipt with the world as it is now.
//!
//! States first, and only of what differs the content. Equality is the only question asked.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    ffi::{OsStr, OsString},
    fs, io,
    num::NonZeroUsize,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use rustix::{
    fd::{AsFd as _, BorrowedFd, OwnedFd},
    fs::{CWD, Mode, OFlags, openat},
    io::Errno,
};

use crate::{
    config::CargoConfig,
    environment::BuildEnvironment,
    files::{self, Files},
    freshness::{Change, InputKind, StaleReason},
    hash::{Digest, hash_bytes, hash_file, hash_parts},
    receipt::{EntryRef, Group, Head, Look, Receipt},
    stat::{StatVector, stat_at},
    toolchain,
};

/// With fewer entries a thread costs more than it saves.
const LEAST_SHARE: usize = 250;
/// A directory with so many entries is worth opening.
const OPEN_FROM: usize = 6;
const MAX_THREADS: usize = 8;

/// What a receipt is compared with, besides the files.
#[derive(Debug, Clone, Copy)]
pub(crate) struct World<'a> {
    pub(crate) root: &'a Path,
    /// Where cargo is started.
    pub(crate) folder: &'a Path,
    pub(crate) config: &'a CargoConfig,
    pub(crate) environment: &'a BuildEnvironment,
    /// Where cargo builds.
    pub(crate) target_dir: &'a Path,
}

#[derive(Debug, Default)]
pub(crate) struct Comparison {
    pub(crate) reasons: Vec<StaleReason>,
    /// Where in the receipt a state differs though the content is the same, and the state now.
    pub(crate) stamps: Vec<(usize, StatVector)>,
}

/// Hashes made in one check, so that trying several receipts reads a file once.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hashes {
    known: HashMap<(PathBuf, Look), (StatVector, Digest)>,
    /// Packages that count as a whole, and how they are listed.
    packages: Option<Packages>,
}

/// The files of packages, listed when they are first asked for.
#[derive(Debug, Clone)]
struct Packages {
    dirs: Vec<PathBuf>,
    target_dir: PathBuf,
    environment: BuildEnvironment,
    lists: HashMap<PathBuf, Arc<Files>>,
}

/// How much of the truth is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    EveryReason,
    OneReason,
}

/// Compares everything but the output.
pub(crate) fn compare(
    receipt: &Receipt,
    world: World<'_>,
    want: Want,
    hashes: &mut Hashes,
) -> Comparison {
    let mut comparison = Comparison::default();
    compare_variables(&receipt.head, world, &mut comparison.reasons);
    compare_leads(receipt, world, &mut comparison.reasons);
    if want == Want::OneReason && !comparison.reasons.is_empty() {
        return comparison;
    }
    let differing = differing_states(receipt, world.root);
    let is_of_list = |look| matches!(look, Look::PackageListing | Look::Rules);
    if differing.iter().any(|(entry, _)| is_of_list(entry.look)) {
        hashes.look_through(&receipt.head.listed, world);
    }
    let mut of_lists = Vec::new();
    for (entry, now) in differing {
        let path = entry.absolute(world.root);
        match difference(&entry, &path, now, hashes) {
            Ok(stamp) if is_of_list(entry.look) => of_lists.push((entry.stat_at, stamp)),
            Ok(stamp) => comparison.stamps.push((entry.stat_at, stamp)),
            Err(change) => {
                comparison.reasons.push(StaleReason {
                    change,
                    kind: entry.kind,
                    input: path,
                    via: via(&receipt.head, entry.owner),
                });
                if want == Want::OneReason {
                    break;
                }
            }
        }
    }
    // A folder that came without a file that counts is not recorded: what comes into it would not
    // be seen if the list were taken for the recorded one from now on.
    if !of_lists.is_empty() && hashes.folders_are_recorded(receipt, world.root) {
        comparison.stamps.extend(of_lists);
    }
    comparison
}

pub(crate) fn via(head: &Head, owner: Option<u16>) -> Vec<String> {
    let package = owner.and_then(|owner| head.packages.get(usize::from(owner)));
    package.map(|package| package.via.clone()).unwrap_or_default()
}

pub(crate) fn hash_value(value: &OsStr) -> Digest {
    hash_bytes(value.as_bytes())
}

fn compare_variables(head: &Head, world: World<'_>, reasons: &mut Vec<StaleReason>) {
    let reason = |name: OsString, kind| StaleReason {
        change: Change::Variable,
        kind,
        input: name.into(),
        via: Vec::new(),
    };
    for (name, recorded) in &head.variables {
        let now = world.config.effective(name, world.environment).map(hash_value);
        if now != *recorded {
            reasons.push(reason(name.clone(), InputKind::Environment));
        }
    }
    for (name, _) in world.environment.significant() {
        if !head.variables.iter().any(|(known, _)| known == name) {
            reasons.push(reason(name.to_owned(), InputKind::Environment));
        }
    }
    if let Some(sysroot) = &head.sysroot
        && !toolchain::leads_to(sysroot, head.toolchain.as_deref(), world.environment)
    {
        reasons.push(reason(toolchain::OVERRIDE.into(), InputKind::Toolchain));
    }
}

/// Whether the programs and the configuration files that today's variables lead to are those that
/// the receipt lists.
fn compare_leads(receipt: &Receipt, world: World<'_>, reasons: &mut Vec<StaleReason>) {
    let head = &receipt.head;
    if toolchain::leads(world.config, world.environment) == head.leads {
        return;
    }
    let reason = |change, kind, input| StaleReason { change, kind, input, via: Vec::new() };
    let sysroot = head.sysroot.as_deref();
    for (program, place) in toolchain::found(world.config, world.environment) {
        // That another program is named is told by the variable or the file that names it.
        let Some((_, then)) = head.tools.iter().find(|(known, _)| *known == program) else {
            continue;
        };
        let is_same = match (&place, then) {
            (Some(now), Some(then)) => toolchain::is_same(now, then, sysroot),
            (now, then) => now == then,
        };
        if !is_same {
            let input = place.unwrap_or(program);
            reasons.push(reason(Change::Chosen, InputKind::Toolchain, input));
        }
    }
    let mut today: BTreeSet<PathBuf> = world.config.looked_for.iter().cloned().collect();
    today.extend(world.environment.rustup_home().map(|home| home.join("settings.toml")));
    let mut then = BTreeSet::new();
    for entry in receipt.entries().filter(|entry| {
        entry.look == Look::File || entry.look == Look::Absent || entry.look == Look::Link
    }) {
        let path = entry.absolute(world.root);
        let is_settings = || path.ends_with("settings.toml") && entry.kind == InputKind::Toolchain;
        if entry.kind == InputKind::Config || is_settings() {
            let was_there = entry.stat != StatVector::NONE.0;
            if was_there && !today.contains(&path) {
                reasons.push(reason(Change::Dropped, entry.kind, path.clone()));
            }
            then.insert(path);
        }
    }
    for path in today.into_iter().filter(|path| !then.contains(path) && path.exists()) {
        reasons.push(reason(Change::Chosen, InputKind::Config, path));
    }
}

type Differing<'a> = Vec<(EntryRef<'a>, Result<Option<StatVector>, Errno>)>;

fn differing_states<'a>(receipt: &'a Receipt, root: &Path) -> Differing<'a> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    // Without the root each entry is absent, which is what looking from a closed place says too.
    let root_fd = openat(CWD, root, flags, Mode::empty());
    let Ok(root_fd) = root_fd else {
        return receipt.entries().map(|entry| (entry, Ok(None))).collect();
    };
    let groups: Vec<Group<'a>> = receipt.groups().collect();
    let total: usize = groups.iter().map(|group| group.len).sum();
    let threads = match total / LEAST_SHARE {
        0 | 1 => 1,
        shares => {
            let processors = thread::available_parallelism().map_or(1, NonZeroUsize::get);
            shares.min(processors).min(MAX_THREADS)
        }
    };
    if threads == 1 {
        return groups.into_iter().flat_map(|group| differing_in(group, root_fd.as_fd())).collect();
    }
    // Contiguous parts of about equal size: neighbours share directories in the kernel's cache.
    let share = total.div_ceil(threads);
    let mut parts: Vec<Vec<Group<'a>>> = vec![Vec::new()];
    let mut filled = 0;
    for group in groups {
        if filled >= share && parts.len() < threads {
            parts.push(Vec::new());
            filled = 0;
        }
        filled += group.len;
        parts.last_mut().expect("never empty").push(group);
    }
    let root_fd = root_fd.as_fd();
    thread::scope(|scope| {
        let handles: Vec<_> = parts
            .into_iter()
            .map(|part| {
                scope.spawn(move || {
                    part.into_iter()
                        .flat_map(|group| differing_in(group, root_fd))
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        handles
            .into_iter()
            .flat_map(|handle| {
                handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect()
    })
}

fn differing_in<'a>(group: Group<'a>, root: BorrowedFd<'_>) -> Differing<'a> {
    let mut differing = Vec::new();
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir: Option<OwnedFd> = if group.len < OPEN_FROM {
        None
    } else {
        openat(root, group.dir, flags, Mode::empty()).ok()
    };
    for entry in group.entries() {
        let now = match &dir {
            Some(dir) => stat_at(dir, entry.name, entry.look.follows()),
            None => stat_at(root, entry.path, entry.look.follows()),
        };
        let same = match &now {
            Ok(Some(stat)) => stat.0 == entry.stat,
            Ok(None) => StatVector::NONE.0 == entry.stat,
            Err(_) => false,
        };
        if !same {
            differing.push((entry, now));
        }
    }
    differing
}

/// The state under which the content is what was recorded, or what happened to it.
fn difference(
    entry: &EntryRef<'_>,
    path: &Path,
    now: Result<Option<StatVector>, Errno>,
    hashes: &mut Hashes,
) -> Result<StatVector, Change> {
    if entry.look == Look::Rules {
        let Ok(state) = now else { return Err(Change::Unreadable) };
        let state = state.unwrap_or(StatVector::NONE);
        let hash = hashes.list_digest(path, state);
        return if hash.is_some_and(|hash| hash == entry.hash) {
            Ok(state)
        } else {
            Err(Change::Modified)
        };
    }
    let was_there = entry.stat != StatVector::NONE.0;
    let now = match now {
        Ok(Some(now)) => now,
        Ok(None) => return Err(Change::Removed),
        Err(_) => return Err(Change::Unreadable),
    };
    if !was_there {
        return Err(Change::Appeared);
    }
    let modified = match entry.look {
        Look::Absent => return Err(Change::Appeared),
        Look::Rules => Change::Modified,
        Look::Program => return Err(Change::Modified),
        Look::Listing | Look::PackageListing => Change::Relisted,
        Look::File | Look::Followed | Look::Link => Change::Modified,
    };
    match hashes.content(path, entry.look, now) {
        Ok(Some((stat, hash))) if hash == entry.hash => Ok(stat),
        Ok(_) => Err(modified),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Change::Removed),
        Err(_) => Err(Change::Unreadable),
    }
}

impl Hashes {
    /// Takes over what a receipt knows of its inputs.
    pub(crate) fn learn(&mut self, receipt: &Receipt, root: &Path) {
        for entry in receipt.entries().map(|entry| entry.to_entry(root)) {
            self.known.insert((entry.path, entry.look), (entry.stat, entry.hash));
        }
    }

    /// Whether `hash` is what was last known of `path`.
    pub(crate) fn knows(&self, path: &Path, look: Look, hash: Digest) -> bool {
        self.known.get(&(path.to_owned(), look)).is_some_and(|(_, known)| *known == hash)
    }

    /// Says which packages count as a whole; what was listed before is forgotten.
    pub(crate) fn look_through(&mut self, dirs: &[PathBuf], world: World<'_>) {
        self.packages = Some(Packages {
            dirs: dirs.to_vec(),
            target_dir: world.target_dir.to_owned(),
            environment: world.environment.clone(),
            lists: HashMap::new(),
        });
    }

    /// The files of the package in `dir`.
    pub(crate) fn files_of(&mut self, dir: &Path) -> Option<Arc<Files>> {
        Some(self.packages.as_mut()?.list(dir))
    }

    /// The names that count in the folder at `path`, which is in the state `now`.
    fn names_in(&mut self, path: &Path, now: StatVector) -> Option<Digest> {
        let packages = self.packages.as_mut()?;
        let holders = packages.dirs.iter().filter(|dir| path.starts_with(dir));
        let dir = holders.max_by_key(|dir| dir.as_os_str().len())?.clone();
        let is_current = |files: &Files| files.folders.get(path).is_none_or(|state| *state == now);
        let files = packages.list_if(&dir, is_current)?;
        files.folders.contains_key(path).then(|| files.names_in(path))
    }

    /// All files of all packages; `None` where what is at `path` does not stay as it is.
    pub(crate) fn list_digest(&mut self, path: &Path, now: StatVector) -> Option<Digest> {
        let packages = self.packages.as_mut()?;
        let is_current = |files: &Files| files.deciders.get(path).is_none_or(|state| *state == now);
        let dirs = packages.dirs.clone();
        let digests: Option<Vec<Digest>> = dirs
            .iter()
            .map(|dir| packages.list_if(dir, is_current).map(|files| files.digest()))
            .collect();
        Some(hash_parts(digests?.iter().map(Digest::as_slice)))
    }

    /// Whether the receipt has every folder in which a file could come to count.
    fn folders_are_recorded(&self, receipt: &Receipt, root: &Path) -> bool {
        let Some(packages) = &self.packages else { return true };
        let listings = receipt.entries().filter(|entry| entry.look == Look::PackageListing);
        let recorded: HashSet<PathBuf> = listings.map(|entry| entry.absolute(root)).collect();
        let mut folders = packages.lists.values().flat_map(|files| files.folders.keys());
        folders.all(|folder| recorded.contains(folder))
    }

    /// The content of what is at `path` and the state in which it was read; `None` where it is
    /// not what `look` looks at, or does not stay the same while it is read.
    pub(crate) fn content(
        &mut self,
        path: &Path,
        look: Look,
        now: StatVector,
    ) -> io::Result<Option<(StatVector, Digest)>> {
        if look == Look::PackageListing {
            let hash = if now.is_dir() { self.names_in(path, now) } else { None };
            return Ok(hash.map(|hash| (now, hash)));
        }
        let key = (path.to_owned(), look);
        if let Some((stat, hash)) = self.known.get(&key)
            && *stat == now
        {
            return Ok(Some((now, *hash)));
        }
        let Some(hash) = content(path, look, now)? else { return Ok(None) };
        // Looked at before and after, so that the hash belongs to the state.
        let after = stat_at(CWD, path, look.follows())?;
        if after != Some(now) {
            return Ok(None);
        }
        self.known.insert(key, (now, hash));
        Ok(Some((now, hash)))
    }
}

impl Packages {
    fn list(&mut self, dir: &Path) -> Arc<Files> {
        if let Some(files) = self.lists.get(dir) {
            return files.clone();
        }
        let files = Arc::new(files::list(dir, &self.target_dir, &self.environment));
        self.lists.insert(dir.to_owned(), files.clone());
        files
    }

    /// The list, made again where it is not `current`; `None` where it is not even then.
    fn list_if(&mut self, dir: &Path, current: impl Fn(&Files) -> bool) -> Option<Arc<Files>> {
        if !current(&self.list(dir)) {
            self.lists.remove(dir);
        }
        Some(self.list(dir)).filter(|files| current(files))
    }
}

fn content(path: &Path, look: Look, stat: StatVector) -> io::Result<Option<Digest>> {
    match look {
        Look::File | Look::Followed if stat.is_file() => hash_file(path).map(Some),
        Look::Link if stat.is_symlink() => {
            let target = rustix::fs::readlink(path, Vec::new())?;
            Ok(Some(hash_bytes(target.to_bytes())))
        }
        Look::Listing if stat.is_dir() => list(path).map(Some),
        Look::Absent | Look::Program => Ok(Some([0; 32])),
        _ => Ok(None),
    }
}

fn list(dir: &Path) -> io::Result<Digest> {
    let mut names: Vec<Vec<u8>> = Vec::new();
    for entry in fs::read_dir(dir)? {
        names.push(entry?.file_name().into_vec());
    }
    names.sort_unstable();
    Ok(hash_parts(names.iter().map(Vec::as_slice)))
}
