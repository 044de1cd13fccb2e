//! Who owns an engine: any number of workers, each by a lock and by its end of a pipe.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::{CWD, FileType, Mode, mknodat};

/// What the names of the files end with by which owners meet.
const LOCK: &str = "lock";
const OWNERS: &str = "owners";

/// Held by one worker while it takes, or leaves, the engine of a folder.
#[derive(Debug)]
pub(super) struct Turn {
    _file: File,
}

/// Says that this worker owns the engine, for as long as it lives.
#[derive(Debug)]
pub(super) struct Owner {
    owners: File,
    /// The guard sees when the last of them is gone.
    _pipe: Option<File>,
}

impl Turn {
    /// Waits for it; not for a thread that must not block.
    pub(super) fn wait(folder: &Path) -> io::Result<Self> {
        if let Some(parent) = folder.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
        }
        let path = beside(folder, LOCK);
        loop {
            let file = open(&path)?;
            file.lock()?;
            // Whoever had it before may have removed the file as it left.
            if is_at(&file, &path) {
                return Ok(Self { _file: file });
            }
        }
    }

    /// The same for whoever goes on without it: `None` where somebody has it, or it cannot be had.
    fn unless_taken(folder: &Path) -> Option<Self> {
        let path = beside(folder, LOCK);
        let file = File::open(&path).ok()?;
        file.try_lock().ok()?;
        is_at(&file, &path).then_some(Self { _file: file })
    }

    /// Gives it back together with the files by which owners meet, of which there are no more.
    pub(super) fn give_up(self, folder: &Path) {
        for suffix in [OWNERS, LOCK] {
            if let Err(error) = fs::remove_file(beside(folder, suffix)) {
                tracing::debug!(%error, suffix, "cannot remove a file of an engine that has ended");
            }
        }
    }
}

impl Owner {
    /// To be called by whoever has the [`Turn`].
    pub(super) fn new(folder: &Path) -> io::Result<Self> {
        let owners = open(&beside(folder, OWNERS))?;
        owners.lock_shared()?;
        Ok(Self { owners, _pipe: None })
    }

    /// Makes the pipe of an engine that is to be started, and gives the guard's end of it.
    pub(super) fn make_pipe(&mut self, folder: &Path) -> io::Result<File> {
        let path = folder.join(OWNERS);
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
        self.hold(&path)?;
        // There is a writer, so this does not wait.
        File::open(&path)
    }

    /// Holds the pipe of an engine that runs.
    pub(super) fn join(&mut self, folder: &Path) -> io::Result<()> {
        self.hold(&folder.join(OWNERS))
    }

    fn hold(&mut self, path: &Path) -> io::Result<()> {
        // For both directions, which waits for nobody.
        let mut pipe = OpenOptions::new().read(true).write(true).open(path)?;
        pipe.write_all(b"\n")?;
        self._pipe = Some(pipe);
        Ok(())
    }

    /// Whether nobody else owns the engine; to be called by whoever has the [`Turn`] and leaves.
    pub(super) fn is_last(&self) -> bool {
        match self.owners.try_lock() {
            Ok(()) => true,
            Err(TryLockError::WouldBlock) => false,
            Err(TryLockError::Error(error)) => {
                tracing::warn!(%error, "cannot tell whether another worker owns the engine");
                false
            }
        }
    }
}

/// Removes the files by which owners met of the other engines beside `folder` that are no more: whoever is
/// killed removes none.
pub(super) fn remove_left_beside(folder: &Path) {
    let entries = folder.parent().and_then(|parent| fs::read_dir(parent).ok());
    for entry in entries.into_iter().flatten().flatten() {
        let path = entry.path();
        if path.extension().is_none_or(|suffix| suffix != LOCK) {
            continue;
        }
        let other = path.with_extension("");
        if other == folder || other.exists() {
            continue;
        }
        if let Some(turn) = Turn::unless_taken(&other)
            && !other.exists()
            && is_owned_by_nobody(&other)
        {
            turn.give_up(&other);
        }
    }
}

/// To be asked by whoever has the [`Turn`].
fn is_owned_by_nobody(folder: &Path) -> bool {
    match File::open(beside(folder, OWNERS)) {
        Ok(owners) => owners.try_lock().is_ok(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    fs::metadata(path)
        .is_ok_and(|there| file.metadata().is_ok_and(|held| held.ino() == there.ino()))
}

/// `FOLDER.SUFFIX`: what must outlive the folder.
fn beside(folder: &Path, suffix: &str) -> PathBuf {
    let mut name = folder.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).read(true).mode(0o600).open(path)
}
