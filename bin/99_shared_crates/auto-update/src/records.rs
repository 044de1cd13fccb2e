//! Where receipts are kept: the current one of a binary, earlier ones, and the last failure.

use std::{
    collections::{BTreeSet, HashSet},
    ffi::OsString,
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::SystemTime,
};

use crate::{
    config::is_absence,
    error::{Error, on},
    hash::{ArtifactHash, Digest, hash_parts},
    receipt::{Entry, Head, Outcome, Receipt},
    stat::{StatVector, stat},
};

/// Earlier builds that may be of use again when a branch is switched back.
const MAX_HISTORY: usize = 16;
/// The clocks that stamp files advance in steps of at most this, in nanoseconds.
const CLOCK_STEP: i64 = 10_000_000;
/// How far a clock of another file system may be from ours, in nanoseconds.
const CLOCK_SKEW: i64 = 2_000_000_000;

/// What reading a receipt found.
#[derive(Debug)]
pub(crate) enum Found {
    Receipt(Box<Receipt>),
    Nothing,
    Damaged,
    Unreadable(String),
}

impl Found {
    pub(crate) fn receipt(self) -> Option<Receipt> {
        match self {
            Self::Receipt(receipt) => Some(*receipt),
            Self::Nothing | Self::Damaged | Self::Unreadable(_) => None,
        }
    }
}

pub(crate) fn current(records: &Path) -> PathBuf {
    records.join("current")
}

/// What cargo said of the workspace.
pub(crate) fn members(records: &Path) -> PathBuf {
    records.join("members")
}

pub(crate) fn failed(records: &Path) -> PathBuf {
    records.join("failed")
}

/// Reads the receipt at `path` for the binary and options that `key` stands for.
pub(crate) fn read(path: &Path, key: &Digest) -> Found {
    match fs::read(path) {
        // Written by another version of this crate: as good as none.
        Ok(bytes) if Receipt::is_of_another_version(&bytes) => Found::Nothing,
        Ok(bytes) => match Receipt::parse(bytes) {
            Some(receipt) if receipt.head.key == *key => Found::Receipt(Box::new(receipt)),
            _ => Found::Damaged,
        },
        Err(error) if is_absence(&error) => Found::Nothing,
        Err(error) => Found::Unreadable(error.to_string()),
    }
}

/// Earlier receipts, the last used first.
pub(crate) fn history(records: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(records.join("earlier")).into_iter().flatten().flatten();
    let mut found: Vec<(SystemTime, PathBuf)> = entries
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    found.sort_unstable_by(|a, b| b.cmp(a));
    found.into_iter().map(|(_, path)| path).collect()
}

/// The receipt of the last build that is still remembered.
pub(crate) fn newest(records: &Path, key: &Digest) -> Option<Receipt> {
    history(records).iter().find_map(|path| read(path, key).receipt())
}

/// Every receipt under `home`: the current and the earlier ones of each binary.
pub(crate) fn all(home: &Path) -> impl Iterator<Item = Receipt> + use<> {
    let binaries = fs::read_dir(home.join("receipts")).into_iter().flatten().flatten();
    let paths = binaries.flat_map(|dir| {
        let mut paths = history(&dir.path());
        paths.push(current(&dir.path()));
        paths
    });
    paths.filter_map(|path| Receipt::parse(fs::read(path).ok()?))
}

/// The current receipt of each binary under `home`.
pub(crate) fn all_current(home: &Path) -> impl Iterator<Item = Receipt> + use<> {
    let binaries = fs::read_dir(home.join("receipts")).into_iter().flatten().flatten();
    binaries.filter_map(|dir| Receipt::parse(fs::read(current(&dir.path())).ok()?))
}

/// Writes the receipt of a build as the current one, and keeps it for later.
pub(crate) fn write_built(
    records: &Path,
    head: &Head,
    entries: &mut [Entry],
    root: &Path,
) -> Result<(), Error> {
    let name = input_name(head, entries);
    for dir in [records, &records.join("earlier")] {
        remove_drafts(dir, ".");
    }
    forget_racy(records, entries.iter_mut().map(|entry| &mut entry.stat))?;
    let bytes = head.encode(entries, root);
    replace(&records.join("earlier").join(name), &bytes)?;
    replace(&current(records), &bytes)?;
    for surplus in history(records).into_iter().skip(MAX_HISTORY) {
        fs::remove_file(&surplus).map_err(on("remove", &surplus))?;
    }
    Ok(())
}

pub(crate) fn write_failed(
    records: &Path,
    head: &Head,
    entries: &mut [Entry],
    root: &Path,
) -> Result<(), Error> {
    forget_racy(records, entries.iter_mut().map(|entry| &mut entry.stat))?;
    replace(&failed(records), &head.encode(entries, root))
}

/// Writes `receipt` with newer states as the current one.
pub(crate) fn write_restamped(
    records: &Path,
    receipt: &Receipt,
    head: &Head,
    mut stamps: Vec<(usize, StatVector)>,
    root: &Path,
) -> Result<(), Error> {
    forget_racy(records, stamps.iter_mut().map(|(_, stat)| stat))?;
    replace(&current(records), &receipt.restamped(&stamps, head, root))
}

/// Removes the files of `dir` whose names begin with `prefix`: what a process that was killed has
/// left, since whoever holds the lock writes the only ones.
pub(crate) fn remove_drafts(dir: &Path, prefix: &str) {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let is_draft = |name: OsString| name.as_encoded_bytes().starts_with(prefix.as_bytes());
    for draft in entries.filter(|entry| is_draft(entry.file_name())) {
        fs::remove_file(draft.path()).unwrap_or(());
    }
}

/// Replaces the file at `path` as a whole: whoever reads it sees the old or the new one.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let dir = path.parent().expect("it has a folder");
    fs::create_dir_all(dir).map_err(on("create", dir))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let thread = format!("{:?}", std::thread::current().id());
    let thread: String = thread.chars().filter(char::is_ascii_digit).collect();
    let draft = dir.join(format!(".{name}.{}.{thread}", std::process::id()));
    let write = || {
        let mut file = File::create(&draft)?;
        file.write_all(bytes)?;
        // No sync: after a crash of the machine a checksum that does not hold asks cargo.
        drop(file);
        fs::rename(&draft, path)
    };
    write().map_err(|error: io::Error| {
        fs::remove_file(&draft).unwrap_or(());
        on("write", path)(error)
    })
}

/// The state of a file written now in `dir`: what the clock that stamps files says.
pub(crate) fn clock(dir: &Path) -> Result<StatVector, Error> {
    let thread = format!("{:?}", std::thread::current().id());
    let thread: String = thread.chars().filter(char::is_ascii_digit).collect();
    let probe = dir.join(format!(".clock.{}.{thread}", std::process::id()));
    let write = || {
        fs::create_dir_all(dir)?;
        fs::write(&probe, b"?")?;
        let state = stat(&probe)?;
        fs::remove_file(&probe)?;
        state.ok_or_else(|| io::ErrorKind::NotFound.into())
    };
    write().map_err(on("write", &probe))
}

/// Makes a state unequal to any other where a write in the same tick of the clock could leave it
/// as it is; the next check then looks at the content again.
fn forget_racy<'a>(
    records: &Path,
    stats: impl Iterator<Item = &'a mut StatVector>,
) -> Result<(), Error> {
    let now = clock(records)?;
    let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let wall = wall.as_nanos() as i64;
    for stat in stats.filter(|stat| **stat != StatVector::NONE) {
        let limit = if stat.device() == now.device() {
            now.ctime() - CLOCK_STEP
        } else {
            wall - CLOCK_SKEW
        };
        if stat.ctime() >= limit {
            stat.forget();
        }
    }
    Ok(())
}

/// Two builds from the same inputs share a name.
fn input_name(head: &Head, entries: &[Entry]) -> String {
    use std::os::unix::ffi::OsStrExt as _;
    let mut parts: Vec<&[u8]> = Vec::with_capacity(2 * (entries.len() + head.variables.len()));
    for entry in entries {
        parts.extend([entry.path.as_os_str().as_bytes(), &entry.hash]);
    }
    for (name, value) in &head.variables {
        parts.extend([name.as_bytes(), value.as_ref().map_or(&[][..], |value| value)]);
    }
    parts.push(&head.leads);
    let sysroot = head.sysroot.as_deref().map(|path| path.as_os_str().as_bytes());
    parts.extend(sysroot);
    ArtifactHash::from_bytes(hash_parts(parts)).to_string()[..32].to_owned()
}

/// The artifacts that current receipts under `home` name.
pub(crate) fn current_artifacts(home: &Path) -> HashSet<ArtifactHash> {
    all_current(home)
        .filter_map(|receipt| match receipt.head.outcome {
            Outcome::Built(output) => Some(output.hash),
            Outcome::Failed { .. } => None,
        })
        .collect()
}

/// The variables that any current receipt under `home` names.
pub(crate) fn named_variables(home: &Path) -> BTreeSet<OsString> {
    let heads = all_current(home).map(|receipt| receipt.head);
    heads.flat_map(|head| head.variables).map(|(name, _)| name).collect()
}
