//! Compares a receipt with the world as it is now.
//!
//! States first, and only of what differs the content. Equality is the only question asked.

use std::{
    collections::HashMap,
    ffi::{OsStr, OsString},
    fs, io,
    num::NonZeroUsize,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::{Path, PathBuf},
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
    pub(crate) config: &'a CargoConfig,
    pub(crate) environment: &'a BuildEnvironment,
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
    if want == Want::OneReason && !comparison.reasons.is_empty() {
        return comparison;
    }
    let differing = differing_states(receipt, world.root);
    for (entry, now) in differing {
        let path = entry.absolute(world.root);
        match difference(&entry, &path, now, hashes) {
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

    /// The content of what is at `path` and the state in which it was read; `None` where it is
    /// not what `look` looks at, or does not stay the same while it is read.
    pub(crate) fn content(
        &mut self,
        path: &Path,
        look: Look,
        now: StatVector,
    ) -> io::Result<Option<(StatVector, Digest)>> {
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

fn content(path: &Path, look: Look, stat: StatVector) -> io::Result<Option<Digest>> {
    match look {
        Look::File | Look::Followed if stat.is_file() => hash_file(path).map(Some),
        Look::Link if stat.is_symlink() => {
            let target = rustix::fs::readlink(path, Vec::new())?;
            Ok(Some(hash_bytes(target.to_bytes())))
        }
        Look::Listing if stat.is_dir() => list(path, |_| true).map(Some),
        Look::PackageListing if stat.is_dir() => list(path, matters_to_package).map(Some),
        Look::Absent | Look::Program => Ok(Some([0; 32])),
        _ => Ok(None),
    }
}

/// The names that cargo takes for a package's files: no hidden ones and no build output.
pub(crate) fn matters_to_package(name: &OsStr) -> bool {
    !name.as_bytes().starts_with(b".") && name != "target"
}

fn list(dir: &Path, matters: impl Fn(&OsStr) -> bool) -> io::Result<Digest> {
    let mut names: Vec<Vec<u8>> = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if matters(&entry.file_name()) {
            names.push(entry.file_name().into_vec());
        }
    }
    names.sort_unstable();
    Ok(hash_parts(names.iter().map(Vec::as_slice)))
}
