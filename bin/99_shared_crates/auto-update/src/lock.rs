//! One builder of a target directory at a time, on this machine, whoever asks; and who waits.

use std::{
    fs::{self, File, OpenOptions},
    io::Read as _,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::mpsc::{RecvTimeoutError, channel},
    thread,
    time::Duration,
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

use crate::error::{Error, on};

/// How often who waits does something else.
const MEANWHILE: Duration = Duration::from_secs(1);

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
    /// where it is known, and waits, with a call of `meanwhile` each second. Says whether it waited.
    pub(crate) fn take(
        path: &Path,
        on_wait: impl FnOnce(Option<u32>),
        mut meanwhile: impl FnMut(),
    ) -> Result<(Self, bool), Error> {
        if let Some(lock) = Self::try_take(path)? {
            return Ok((lock, false));
        }
        let mut file = open(path)?;
        let mut owner = String::new();
        let read = file.read_to_string(&mut owner).ok();
        on_wait(read.and_then(|_| owner.trim().parse().ok()));
        let (taken, is_taken) = channel();
        let locked = thread::scope(|scope| {
            let file = &file;
            scope.spawn(move || taken.send(lock_exclusively(file)));
            loop {
                match is_taken.recv_timeout(MEANWHILE) {
                    Ok(locked) => return locked,
                    Err(RecvTimeoutError::Timeout) => meanwhile(),
                    Err(RecvTimeoutError::Disconnected) => unreachable!("it sends before it ends"),
                }
            }
        });
        locked.map_err(|error| on("lock", path)(error.into()))?;
        Ok((Self { file }.signed(path)?, true))
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

fn lock_exclusively(file: &File) -> Result<(), Errno> {
    loop {
        match flock(file, FlockOperation::LockExclusive) {
            Err(Errno::INTR) => {}
            locked => return locked,
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_knows_for_whom_and_does_something_meanwhile() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let mut held = Lock::try_take(&path).unwrap();
        let mut owner = None;
        let taken = Lock::take(&path, |pid| owner = pid, || drop(held.take()));
        assert!(taken.unwrap().1, "it has waited");
        assert_eq!((owner, held.is_none()), (Some(std::process::id()), true));
    }
}
