use std::{
    fs::{self, File, TryLockError},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    Error, Identity,
    bound::{self, Bound, generation_of},
    edge, process,
};

/// What the system takes for the path of a socket, without the byte at its end.
const MAX_SOCKET_PATH_BYTES: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// More generations than one instance ever has: each takes a start.
const MAX_GENERATION: u64 = 999_999;

const MAX_NAME_BYTES: usize = 64;

/// The folder of one daemon, of which at most one generation serves.
///
/// ```text
/// lifecycle.lock    held while one starter decides; never removed
/// stop.lock         held while somebody waits for the other lock to stop the daemon; never removed
/// current.json      the identity of the serving generation
/// ctl-N.sock        the control socket of generation N
/// good.json         the last binary that stood its probation
/// bad-HASH.json     why the binary HASH was rolled back
/// ```
#[derive(Debug, Clone)]
pub(crate) struct Instance {
    dir: PathBuf,
    name: String,
}

/// Who holds the lock, by its own word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Holder {
    pub(crate) pid: u32,
    pub(crate) start_time: u64,
}

/// Held by one starter; the kernel releases it when that process dies.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

/// A file that is written and does not count yet.
#[derive(Debug)]
pub(crate) struct Draft {
    new: PathBuf,
    path: PathBuf,
}

pub(crate) const GOOD_FILE: &str = "good.json";

/// A binary that served well.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Good {
    pub(crate) exe: PathBuf,
    pub(crate) exe_hash: String,
}

impl Instance {
    /// Names the folder without touching it.
    pub(crate) fn new(run_dir: &Path, name: &str) -> Result<Self, Error> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '@');
        if name.is_empty()
            || name.len() > MAX_NAME_BYTES
            || name.starts_with('.')
            || !name.chars().all(plain)
        {
            return Err(Error::InstanceName { name: name.to_owned() });
        }
        let run_dir = std::path::absolute(run_dir)
            .map_err(|source| Error::io("resolve the run directory", run_dir, source))?;
        Ok(Self { dir: run_dir.join(name), name: name.to_owned() })
    }

    /// Creates the folder, open to this user only, and refuses one that others could change.
    pub(crate) fn create(&self) -> Result<(), Error> {
        let longest = self.socket(MAX_GENERATION);
        let bytes = longest.as_os_str().len();
        if bytes > MAX_SOCKET_PATH_BYTES {
            return Err(Error::SocketPathTooLong {
                path: longest,
                bytes,
                limit: MAX_SOCKET_PATH_BYTES,
            });
        }
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.dir)
            .map_err(|source| Error::io("create the instance directory", &self.dir, source))?;
        let meta = fs::symlink_metadata(&self.dir)
            .map_err(|source| Error::io("inspect the instance directory", &self.dir, source))?;
        let own = rustix::process::geteuid().as_raw();
        if !meta.is_dir() || meta.uid() != own || meta.mode() & 0o077 != 0 {
            return Err(Error::InsecureDirectory { path: self.dir.clone() });
        }
        Ok(())
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn run_dir(&self) -> &Path {
        self.dir.parent().unwrap_or(&self.dir)
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.dir.join(file)
    }

    pub(crate) fn socket(&self, generation: u64) -> PathBuf {
        self.dir.join(bound::file_name(generation))
    }

    /// A generation that none has been yet.
    pub(crate) fn next_generation(&self) -> u64 {
        let recorded = self.current().map_or(0, |current| current.generation);
        let bound = bound::below(&self.dir).into_iter().filter_map(|one| generation_of(&one.path));
        self.generations().into_iter().chain(bound).max().unwrap_or(0).max(recorded) + 1
    }

    pub(crate) fn exists(&self) -> bool {
        self.dir.is_dir()
    }

    /// Control sockets on which somebody listens and whose files are gone.
    pub(crate) fn lost(&self) -> Vec<Bound> {
        bound::below(&self.dir).into_iter().filter(Bound::is_lost).collect()
    }

    /// The generations that have left a control socket, oldest first.
    pub(crate) fn generations(&self) -> Vec<u64> {
        let Ok(entries) = fs::read_dir(&self.dir) else { return Vec::new() };
        let mut generations: Vec<u64> = entries
            .flatten()
            .filter_map(|entry| generation_of(entry.file_name().as_ref()))
            .collect();
        generations.sort_unstable();
        generations
    }

    /// Waits for the lock, on a thread of its own: nobody waits for that thread when the caller
    /// has given up.
    pub(crate) async fn lock(&self) -> Result<Lock, Error> {
        let path = self.path("lifecycle.lock");
        let (taken, waiting) = tokio::sync::oneshot::channel();
        let at = path.clone();
        let waits = std::thread::Builder::new().name("lock".to_owned()).spawn(move || {
            let opened = File::options().create(true).append(true).mode(0o600).open(&at);
            let locked = opened.and_then(|file| {
                file.lock()?;
                say_who_holds(&file);
                Ok(Lock { _file: file })
            });
            drop(taken.send(locked));
        });
        waits.map_err(|source| Error::io("lock", &path, source))?;
        let locked =
            waiting.await.unwrap_or_else(|_| Err(io::Error::other("the waiting thread died")));
        locked.map_err(|source| Error::io("lock", &path, source))
    }

    /// Says that somebody wants the daemon stopped, until this is dropped or the process dies: a start
    /// that is under way is given up for it.
    pub(crate) fn want_stop(&self) -> io::Result<File> {
        let mut open = File::options();
        let wish = open.create(true).append(true).mode(0o600).open(self.path("stop.lock"))?;
        // A starter looks with a lock of its own, for no time at all.
        wish.lock_shared()?;
        Ok(wish)
    }

    pub(crate) fn is_stop_wanted(&self) -> bool {
        let Ok(wish) = File::open(self.path("stop.lock")) else { return false };
        matches!(wish.try_lock(), Err(TryLockError::WouldBlock))
    }

    /// Makes the lock's file, by which an instance is known.
    pub(crate) fn make_lockable(&self) -> io::Result<()> {
        let mut open = File::options();
        open.create(true).append(true).mode(0o600).open(self.path("lifecycle.lock")).map(drop)
    }

    /// Who holds the lock, if somebody does, or held it last.
    pub(crate) fn holder(&self) -> Option<Holder> {
        self.load("lifecycle.lock")
    }

    /// The identity last written; `None` too when the file cannot be understood.
    pub(crate) fn current(&self) -> Option<Identity> {
        self.load("current.json")
    }

    pub(crate) fn is_recorded(&self) -> bool {
        self.path("current.json").exists()
    }

    pub(crate) fn set_current(&self, identity: &Identity) -> io::Result<()> {
        self.store("current.json", identity)
    }

    /// Forgets `identity` if it is the current one.
    pub(crate) fn clear_current(&self, identity: &Identity) {
        if self.current().is_some_and(|current| current.instance_id == identity.instance_id) {
            remove(&self.path("current.json"));
        }
    }

    pub(crate) fn load<T: DeserializeOwned>(&self, file: &str) -> Option<T> {
        serde_json::from_slice(&fs::read(self.path(file)).ok()?).ok()
    }

    /// All of [`Self::set_current`] that may fail for want of room.
    pub(crate) fn draft_current(&self, identity: &Identity) -> io::Result<Draft> {
        self.draft("current.json", identity)
    }

    /// Written beside and renamed, so that a reader or a crash never meets half a file.
    pub(crate) fn store<T: Serialize>(&self, file: &str, value: &T) -> io::Result<()> {
        self.draft(file, value)?.publish()
    }

    /// As [`Self::store`], of a value that is JSON already.
    pub(crate) fn store_bytes(&self, file: &str, json: &[u8]) -> io::Result<()> {
        self.draft_bytes(file, json)?.publish()
    }

    /// Removes what processes that were killed had begun to write.
    pub(crate) fn remove_old_drafts(&self) {
        let Ok(entries) = fs::read_dir(&self.dir) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let writer = name.to_str().and_then(|name| name.strip_prefix('.')?.rsplit_once('.'));
            if let Some((_, pid)) = writer
                && pid.parse().is_ok_and(|pid| process::stat(pid).is_none())
            {
                remove(&entry.path());
            }
        }
    }

    fn draft<T: Serialize>(&self, file: &str, value: &T) -> io::Result<Draft> {
        self.draft_bytes(file, &serde_json::to_vec(value)?)
    }

    fn draft_bytes(&self, file: &str, json: &[u8]) -> io::Result<Draft> {
        let new = self.path(&format!(".{file}.{}", std::process::id()));
        let draft = Draft { new, path: self.path(file) };
        let mut open = File::options();
        let mut out = open.create(true).truncate(true).write(true).mode(0o600).open(&draft.new)?;
        out.write_all(json)?;
        out.sync_all()?;
        edge::passed("record.drafted");
        Ok(draft)
    }
}

impl Draft {
    pub(crate) fn publish(self) -> io::Result<()> {
        fs::rename(&self.new, &self.path)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Of one that was published nothing is left.
        remove(&self.new);
    }
}

/// For those that wait. Where there is no room for it they wait all the same.
fn say_who_holds(mut file: &File) {
    let pid = std::process::id();
    let start_time = process::stat(pid).map_or(0, |stat| stat.start_time);
    let said = serde_json::to_vec(&Holder { pid, start_time }).map_err(io::Error::other);
    let said = said.and_then(|said| file.set_len(0).and_then(|()| file.write_all(&said)));
    if let Err(error) = said {
        tracing::debug!(%error, "cannot say who holds the lock");
    }
}

/// Removes a file that may be gone already.
pub(crate) fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::debug!(path = %path.display(), %error, "cannot remove");
    }
}

/// The instances of `run_dir` by name, those included whose files are gone while somebody lives.
pub(crate) fn all(run_dir: &Path) -> Vec<Instance> {
    let run_dir = std::path::absolute(run_dir).unwrap_or_else(|_| run_dir.to_owned());
    let entries = fs::read_dir(&run_dir).into_iter().flatten().flatten();
    let there = entries
        .filter(|entry| entry.path().join("lifecycle.lock").exists())
        .filter_map(|entry| entry.file_name().into_string().ok());
    let lost = bound::below(&run_dir).into_iter().filter(Bound::is_lost).filter_map(|bound| {
        let dir = bound.path.parent()?;
        (dir.parent()? == run_dir).then(|| dir.file_name()?.to_str().map(str::to_owned))?
    });
    let names: std::collections::BTreeSet<String> = there.chain(lost).collect();
    names.iter().filter_map(|name| Instance::new(&run_dir, name).ok()).collect()
}
