use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use rbee_api::KeyScope;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

const SECRET_BYTES: usize = 32;

/// Tells a key from other secrets wherever it turns up.
const PREFIX: &str = "rbee-";

/// More keys than this are not kept: each request with an unknown key is compared with all.
const MOST_KEYS: usize = 1000;

/// The longest name of a key, in bytes.
const NAME_MAX: usize = 64;

/// One key, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    pub name: String,
    pub scope: KeyScope,
    /// Seconds since 1970.
    pub created: u64,
    /// SHA-256 of the secret in hex. The secret has 256 random bits, so a fast hash is enough.
    hash: String,
}

/// The keys that the owner of this server gave to others, in a file that only they can read.
///
/// The file holds hashes, never secrets. Clones share what they have read of it.
#[derive(Debug, Clone)]
pub struct Keys {
    path: PathBuf,
    read: Arc<Mutex<Option<ReadFile>>>,
}

#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    #[error("cannot read the keys in `{path}`")]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write the keys in `{path}`")]
    Write { path: PathBuf, source: io::Error },
    #[error("`{path}` does not hold keys")]
    Malformed { path: PathBuf, source: serde_json::Error },
    #[error("there is a key named `{name}` already")]
    NameTaken { name: String },
    #[error("`{name}` cannot name a key: 1 to {NAME_MAX} letters, digits, `.`, `_`, `-`, `@`")]
    BadName { name: String },
    #[error("there is no key named `{name}`")]
    Unknown { name: String },
    #[error("there are {MOST_KEYS} keys already")]
    TooMany,
}

/// What was last read of the file, and the state it was in.
type ReadFile = (FileState, Arc<[Key]>);

/// Tells one content of the file from another; each is a new file.
type FileState = (u64, SystemTime, u64);

impl Keys {
    /// The keys in `path`, which need not exist.
    pub fn at(path: PathBuf) -> Self {
        Self { path, read: Arc::default() }
    }

    /// No keys, for a server that only its owner uses.
    pub fn none() -> Self {
        // Nothing has an empty path.
        Self::at(PathBuf::new())
    }

    /// All of them, the oldest first.
    pub fn list(&self) -> Result<Arc<[Key]>, KeysError> {
        let state = state_of(&self.path).map_err(|source| self.unreadable(source))?;
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(state) = state else { return Ok(Arc::default()) };
        if let Some((known, keys)) = &*read
            && *known == state
        {
            return Ok(Arc::clone(keys));
        }
        let bytes = fs::read(&self.path).map_err(|source| self.unreadable(source))?;
        let keys: Arc<[Key]> = serde_json::from_slice(&bytes)
            .map_err(|source| KeysError::Malformed { path: self.path.clone(), source })?;
        *read = Some((state, Arc::clone(&keys)));
        Ok(keys)
    }

    /// Makes a key. Returns its secret, which is kept nowhere.
    pub fn add(&self, name: &str, scope: KeyScope) -> Result<String, KeysError> {
        let fits = |char: char| char.is_ascii_alphanumeric() || "._-@".contains(char);
        if name.is_empty() || name.len() > NAME_MAX || !name.chars().all(fits) {
            return Err(KeysError::BadName { name: name.to_owned() });
        }
        let mut secret = [0; SECRET_BYTES];
        getrandom::fill(&mut secret)
            .map_err(|error| self.unwritable(io::Error::other(error.to_string())))?;
        let secret = format!("{PREFIX}{}", hex(&secret));
        let created = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let key = Key { name: name.to_owned(), scope, created, hash: hash_of(secret.as_bytes()) };
        self.change(|keys| {
            if keys.iter().any(|known| known.name == name) {
                return Err(KeysError::NameTaken { name: name.to_owned() });
            }
            if keys.len() >= MOST_KEYS {
                return Err(KeysError::TooMany);
            }
            keys.push(key);
            Ok(())
        })?;
        Ok(secret)
    }

    /// From now on nobody is let in with the key `name`.
    pub fn revoke(&self, name: &str) -> Result<(), KeysError> {
        self.change(|keys| {
            let before = keys.len();
            keys.retain(|key| key.name != name);
            if keys.len() == before {
                return Err(KeysError::Unknown { name: name.to_owned() });
            }
            Ok(())
        })
    }

    /// What `presented` is good for; `None` where it is no key.
    pub(crate) fn find(&self, presented: &[u8]) -> Result<Option<Key>, KeysError> {
        if !presented.starts_with(PREFIX.as_bytes()) {
            return Ok(None);
        }
        let hash = hash_of(presented);
        let keys = self.list()?;
        let found = keys.iter().find(|key| key.hash.as_bytes().ct_eq(hash.as_bytes()).into());
        Ok(found.cloned())
    }

    /// Changes the file for all who read it at once, one change after the other.
    fn change(
        &self,
        edit: impl FnOnce(&mut Vec<Key>) -> Result<(), KeysError>,
    ) -> Result<(), KeysError> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let lock = File::create(self.path.with_extension("lock"))
            .map_err(|source| self.unwritable(source))?;
        flock(&lock, FlockOperation::LockExclusive)
            .map_err(|error| self.unwritable(error.into()))?;
        let mut keys = self.list()?.to_vec();
        edit(&mut keys)?;
        let write = || {
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            file.write_all(&serde_json::to_vec_pretty(&keys)?)?;
            file.as_file().sync_all()?;
            file.persist(&self.path).map_err(|error| error.error)
        };
        write().map(drop).map_err(|source| self.unwritable(source))
    }

    fn unreadable(&self, source: io::Error) -> KeysError {
        KeysError::Read { path: self.path.clone(), source }
    }

    fn unwritable(&self, source: io::Error) -> KeysError {
        KeysError::Write { path: self.path.clone(), source }
    }
}

fn state_of(path: &Path) -> io::Result<Option<FileState>> {
    use std::os::unix::fs::MetadataExt as _;
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some((metadata.ino(), metadata.modified()?, metadata.len()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn hash_of(secret: &[u8]) -> String {
    hex(&Sha256::digest(secret))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
