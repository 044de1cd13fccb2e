//! One builder of a target directory at a time, on this machine, whoever asks; and who waits.

use std::{
    fs::{self, File, OpenOptions},
    io::Read as _,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

use crate::error::{Error, on};

/// Held until dropped, or until the process that holds it ends, however it ends.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
}

impl Lock {
    /// Takes the lock at `path` if nobody holds it.
    pub(crate) fn try_take(path: &Path) -> Result<Option<Self>, Error> {
        let file = open(path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Self { file }.signed(path).map(Some),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(on("lock", path)(error.into())),
        }
    }

    /// Takes the lock at `path`; if somebody holds it, calls `on_wait` with their process id,
    /// where it is known, and waits. Says whether it waited.
    pub(crate) fn take(
        path: &Path,
        on_wait: impl FnOnce(Option<u32>),
    ) -> Result<(Self, bool), Error> {
        if let Some(lock) = Self::try_take(path)? {
            return Ok((lock, false));
        }
        let mut file = open(path)?;
        let mut owner = String::new();
        let read = file.read_to_string(&mut owner).ok();
        on_wait(read.and_then(|_| owner.trim().parse().ok()));
        loop {
            match flock(&file, FlockOperation::LockExclusive) {
                Ok(()) => return Ok((Self { file }.signed(path)?, true)),
                Err(Errno::INTR) => {}
                Err(error) => return Err(on("lock", path)(error.into())),
            }
        }
    }

    /// Writes who holds it, for those who wait.
    fn signed(self, path: &Path) -> Result<Self, Error> {
        // One write of a fixed length: whoever reads meanwhile sees the old owner or the new one.
        let sign = format!("{:<10}", std::process::id());
        self.file.write_all_at(sign.as_bytes(), 0).map_err(on("write", path))?;
        Ok(self)
    }
}

/// Says, for as long as it lives, that somebody waits for what is done under a lock. Like the lock
/// it ends with its owner, however that ends.
#[derive(Debug)]
pub(crate) struct Wanted {
    _file: File,
}

impl Wanted {
    /// Where it cannot be said, one waits for longer.
    pub(crate) fn say(lock: &Path) -> Option<Self> {
        let file = open(&beside(lock)).ok()?;
        flock(&file, FlockOperation::LockShared).ok()?;
        Some(Self { _file: file })
    }

    /// Whether anybody says so, in whichever process.
    pub(crate) fn is_said(lock: &Path) -> bool {
        let Ok(file) = File::open(beside(lock)) else { return false };
        flock(&file, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK)
    }
}

fn beside(lock: &Path) -> PathBuf {
    lock.with_extension("wanted")
}

fn open(path: &Path) -> Result<File, Error> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).map_err(on("create", dir))?;
    }
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    options.open(path).map_err(on("open", path))
}
