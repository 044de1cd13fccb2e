//! Built binaries by their content.
//!
//! Cargo replaces what it built; daemons run for days. Each binary is therefore kept under the hash
//! of its bytes: cloned where the file system can, else as one more link to cargo's file, since
//! copying a hundred megabytes takes as long as a small build. Cargo removes its file before it has
//! another one linked, so the link keeps what was built. Whoever writes into cargo's file in place
//! spoils it here too; therefore the state, and if that differs the content, is compared before
//! anything is taken from here ([`Store::verify`]).

use std::{
    collections::HashMap,
    fs::{self, Permissions},
    io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::SystemTime,
};

use serde::Serialize;

use crate::{
    compare::Hashes,
    error::{Error, on},
    hash::{ArtifactHash, hash_file},
    lock::Lock,
    receipt::Look,
    records,
    stat::{StatVector, lstat, state_of},
};

/// How the name of a copy begins while it is made.
const DRAFT: &str = "draft-";

/// The artifact store of one target directory.
#[derive(Debug, Clone)]
pub struct Store {
    home: PathBuf,
}

/// One binary in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoredArtifact {
    pub binary: String,
    pub hash: ArtifactHash,
    #[serde(serialize_with = "crate::freshness::lossy")]
    pub path: PathBuf,
    /// Bytes.
    pub size: u64,
    /// When it was last built or restored.
    #[serde(skip)]
    pub last_used: SystemTime,
    /// It is the newest of some binary, or is running: it will not be removed.
    pub in_use: bool,
    /// It is the newest of some binary.
    pub current: bool,
    /// The processes of this user that run it, in ascending order.
    pub pids: Vec<u32>,
}

impl Store {
    /// How many bytes are kept by whoever does not say otherwise.
    pub const DEFAULT_LIMIT: u64 = 4 << 30;

    pub(crate) fn new(home: PathBuf) -> Self {
        Self { home }
    }

    /// Where the artifact `hash` of the binary `name` lies, if it is kept.
    pub fn path(&self, hash: ArtifactHash, name: &str) -> PathBuf {
        self.home.join("store").join(hash.to_string()).join(name)
    }

    /// Everything in the store, the least recently used first.
    pub fn list(&self) -> Result<Vec<StoredArtifact>, Error> {
        let dir = self.home.join("store");
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(on("list", dir)(error)),
        };
        let current = records::current_artifacts(&self.home);
        let mut running = running_executables(&dir);
        let mut artifacts = Vec::new();
        for entry in entries.flatten() {
            let Some(hash) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            // The files' own times are what those who build go by.
            let used = entry.metadata().and_then(|metadata| metadata.modified());
            for file in fs::read_dir(entry.path()).into_iter().flatten().flatten() {
                let Ok(metadata) = file.metadata() else { continue };
                let pids = running.remove(&file.path()).unwrap_or_default();
                let current = current.contains(&hash);
                artifacts.push(StoredArtifact {
                    binary: file.file_name().to_string_lossy().into_owned(),
                    hash,
                    path: file.path(),
                    size: metadata.len(),
                    last_used: *used.as_ref().unwrap_or(&SystemTime::UNIX_EPOCH),
                    in_use: current || !pids.is_empty(),
                    current,
                    pids,
                });
            }
        }
        artifacts.sort_by_key(|artifact| artifact.last_used);
        Ok(artifacts)
    }

    /// Removes the least recently used artifacts until at most `limit` bytes are kept, but none
    /// that is the newest of its binary or is running. Returns what was removed.
    pub fn collect_garbage(&self, limit: u64) -> Result<Vec<StoredArtifact>, Error> {
        let (_lock, _) = Lock::take(&self.home.join("store.lock"), |_| {}, || {})?;
        let artifacts = self.list()?;
        let mut size: u64 = artifacts.iter().map(|artifact| artifact.size).sum();
        let mut removed = Vec::new();
        for artifact in artifacts {
            if size <= limit {
                break;
            }
            if artifact.in_use {
                continue;
            }
            fs::remove_file(&artifact.path).map_err(on("remove", &artifact.path))?;
            if let Some(dir) = artifact.path.parent() {
                // Not empty where two binaries have the same bytes.
                fs::remove_dir(dir).unwrap_or(());
            }
            size -= artifact.size;
            removed.push(artifact);
        }
        Ok(removed)
    }

    /// Keeps `executable` under `hash`, which its bytes had when its state was `hashed`; returns
    /// the state of what is kept.
    pub(crate) fn insert(
        &self,
        executable: &Path,
        hash: ArtifactHash,
        hashed: StatVector,
        name: &str,
    ) -> Result<StatVector, Error> {
        let (_lock, _) = Lock::take(&self.home.join("store.lock"), |_| {}, || {})?;
        records::remove_drafts(&self.home, DRAFT);
        let path = self.path(hash, name);
        let dir = path.parent().expect("it has a folder");
        if !self.is_whole(&path, hash, hashed) {
            fs::create_dir_all(dir).map_err(on("create", dir))?;
            let draft = self.home.join(format!("{DRAFT}{}-{name}", std::process::id()));
            let kept = keep(executable, &draft, hash, hashed);
            let kept = kept.and_then(|()| fs::rename(&draft, &path).map_err(on("create", &path)));
            if kept.is_err() {
                fs::remove_file(&draft).unwrap_or(());
                fs::remove_dir(dir).unwrap_or(());
            }
            kept?;
        }
        mark_used(dir);
        let state = state_of(&path, lstat)?;
        state.ok_or_else(|| on("look at", &path)(io::ErrorKind::NotFound.into()))
    }

    /// The state of the artifact if it is there with the right bytes. A state that is still the
    /// `recorded` one vouches for them.
    pub(crate) fn verify(
        &self,
        hash: ArtifactHash,
        name: &str,
        recorded: StatVector,
    ) -> Option<StatVector> {
        let path = self.path(hash, name);
        let state = lstat(&path).ok().flatten()?;
        if state == recorded {
            return Some(state);
        }
        let content = Hashes::default().content(&path, Look::File, state).ok()??;
        (content.1 == *hash.as_bytes()).then_some(content.0)
    }

    fn is_whole(&self, path: &Path, hash: ArtifactHash, hashed: StatVector) -> bool {
        let Ok(Some(state)) = lstat(path) else { return false };
        is_unwritten(state, hashed)
            || state.is_file() && hash_file(path).is_ok_and(|found| found == *hash.as_bytes())
    }
}

/// Makes `draft` what `from` is.
fn keep(from: &Path, draft: &Path, hash: ArtifactHash, hashed: StatVector) -> Result<(), Error> {
    fs::remove_file(draft).or_else(absent_is_fine).map_err(on("remove", draft))?;
    let changed = || on("keep", from)(io::Error::other("it changed while it was kept"));
    let is_cloned = reflink_copy::reflink(from, draft).is_ok();
    // The file itself, where a symbolic link leads to it.
    let link = || fs::canonicalize(from).and_then(|file| fs::hard_link(file, draft));
    // What cannot be run as it is needs rights of its own.
    let is_program = hashed.mode() & 0o100 != 0;
    if !is_cloned && is_program && link().is_ok() {
        let now = state_of(draft, lstat)?;
        let is_same = now.is_some_and(|now| is_unwritten(now, hashed));
        return if is_same { Ok(()) } else { Err(changed()) };
    }
    if !is_cloned {
        fs::copy(from, draft).map_err(on("copy", from))?;
    }
    // Nobody may write it, so that what runs from it stays what its name says.
    fs::set_permissions(draft, Permissions::from_mode(0o555)).map_err(on("protect", draft))?;
    let copied = hash_file(draft).map_err(on("read", draft))?;
    if copied == *hash.as_bytes() { Ok(()) } else { Err(changed()) }
}

/// Whether it is that very file, and nobody has written it since; one more link to it is another
/// state as well.
fn is_unwritten(now: StatVector, then: StatVector) -> bool {
    let content = |state: StatVector| (state.device(), state.inode(), state.size(), state.mtime());
    content(now) == content(then)
}

fn absent_is_fine(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// Its mtime is when what it holds was last of use. What cannot be marked is merely removed
/// earlier.
pub(crate) fn mark_used(path: &Path) {
    use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, utimensat};
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
    };
    utimensat(CWD, path, &times, AtFlags::empty()).unwrap_or(());
}

/// What this user's processes run from `store`, and which processes those are.
fn running_executables(store: &Path) -> HashMap<PathBuf, Vec<u32>> {
    // The kernel names files without links in the path; so is the store looked at.
    let real = store.canonicalize().unwrap_or_else(|_| store.to_owned());
    let mut running: HashMap<PathBuf, Vec<u32>> = HashMap::new();
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let Ok(executable) = fs::read_link(process.path().join("exe")) else { continue };
        if let Ok(within) = executable.strip_prefix(&real) {
            running.entry(store.join(within)).or_default().push(pid);
        }
    }
    running.values_mut().for_each(|pids| pids.sort_unstable());
    running
}
