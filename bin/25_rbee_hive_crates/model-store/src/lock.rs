use std::{
    fs::{File, OpenOptions, TryLockError},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::mpsc::{self, RecvTimeoutError},
    thread,
};

use rustix::fs::OFlags;

use crate::{
    error::Error,
    report::{CANCEL_TICK, Report},
};

/// Holds a name for one pull or removal, among all processes of the host, until it is dropped.
///
/// The kernel drops it with the process, so a crash leaves nothing locked.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

/// The lock, or `None` while somebody holds it.
pub(crate) fn try_acquire(path: &Path) -> Result<Option<Lock>, Error> {
    let file = open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(Lock { _file: file })),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(source)) => Err(failed(path, source)),
    }
}

/// Waits for the lock; `waiting` is called again and again meanwhile.
pub(crate) fn acquire(
    path: &Path,
    report: &mut Report<'_>,
    mut waiting: impl FnMut(&mut Report<'_>),
) -> Result<Lock, Error> {
    let file = open(path)?;
    let (sender, receiver) = mpsc::sync_channel(1);
    // Waiting for a file lock cannot be interrupted. A thread whose pull was cancelled waits on
    // until the holder is done; then it finds nobody to give the lock to, and drops it.
    thread::spawn(move || {
        let outcome = file.lock().map(|()| Lock { _file: file });
        drop(sender.send(outcome));
    });
    loop {
        report.check()?;
        match receiver.recv_timeout(CANCEL_TICK) {
            Ok(outcome) => return outcome.map_err(|source| failed(path, source)),
            Err(RecvTimeoutError::Timeout) => waiting(report),
            Err(RecvTimeoutError::Disconnected) => unreachable!("the thread sends before it ends"),
        }
    }
}

fn open(path: &Path) -> Result<File, Error> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    options.custom_flags(OFlags::NOFOLLOW.bits() as i32);
    options.open(path).map_err(|source| failed(path, source))
}

fn failed(path: &Path, source: std::io::Error) -> Error {
    Error::File { action: "lock", path: path.to_owned(), source }
}
