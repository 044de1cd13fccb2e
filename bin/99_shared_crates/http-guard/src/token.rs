use std::{
    fmt,
    fs::{DirBuilder, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use axum::http::HeaderValue;
use rustix::fs::OFlags;
use subtle::ConstantTimeEq as _;

const SECRET_BYTES: usize = 32;

/// A secret that only processes of one user can know: it is in a file that only they can read.
///
/// Its `Debug` form does not show it. Clones share it.
#[derive(Clone)]
pub struct Token {
    /// The secret in hex.
    text: Arc<str>,
}

#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("cannot read the token in `{path}`")]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot create the token in `{path}`")]
    Create { path: PathBuf, source: io::Error },
    #[error("`{path}` is not a regular file, so it is not used as a token")]
    NotAFile { path: PathBuf },
    #[error(
        "the token in `{path}` is open to other users (mode {mode:04o}); delete it, since it may be known"
    )]
    Exposed { path: PathBuf, mode: u32 },
    #[error("the token in `{path}` belongs to user {owner} and not to {user}")]
    Foreign { path: PathBuf, owner: u32, user: u32 },
    #[error("`{path}` does not hold a token; delete it, and another will be made")]
    Malformed { path: PathBuf },
}

impl Token {
    /// Reads the token in `path`, after making one where there is no such file.
    ///
    /// Processes that do so at the same moment all get the same token. The folder is created for
    /// the user alone if it is missing.
    pub fn load_or_create(path: &Path) -> Result<Self, TokenError> {
        match Self::load(path) {
            Err(TokenError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                create(path)
                    .map_err(|source| TokenError::Create { path: path.to_owned(), source })?;
                Self::load(path)
            }
            loaded => loaded,
        }
    }

    /// Reads the token in `path`, unless anybody else could read or write it.
    pub fn load(path: &Path) -> Result<Self, TokenError> {
        let path_of = || path.to_owned();
        let read = |source| TokenError::Read { path: path_of(), source };
        let file = open(path).map_err(read)?;
        // Of the open file, so that nobody exchanges it between the look and the use.
        let metadata = file.metadata().map_err(read)?;
        if !metadata.is_file() {
            return Err(TokenError::NotAFile { path: path_of() });
        }
        let (owner, user) = (metadata.uid(), rustix::process::geteuid().as_raw());
        if owner != user {
            return Err(TokenError::Foreign { path: path_of(), owner, user });
        }
        let mode = metadata.mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(TokenError::Exposed { path: path_of(), mode });
        }
        let mut text = String::new();
        // One more than a token and a line end, so that a longer file is seen to be longer.
        let most = 2 * SECRET_BYTES as u64 + 2;
        match file.take(most).read_to_string(&mut text) {
            Err(error) if error.kind() != io::ErrorKind::InvalidData => return Err(read(error)),
            _ => {}
        }
        let secret = text.strip_suffix('\n').unwrap_or(&text);
        if !is_token(secret) {
            return Err(TokenError::Malformed { path: path_of() });
        }
        Ok(Self { text: secret.into() })
    }

    /// The secret, for a process of the same user on another machine.
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// One that a process on another machine has revealed; `None` for what is none.
    pub fn revealed(text: &str) -> Option<Self> {
        is_token(text).then(|| Self { text: text.into() })
    }

    /// The value of the `Authorization` header that [`crate::require_token`] asks for.
    ///
    /// It is marked as sensitive, so that clients do not log it.
    pub fn authorization(&self) -> HeaderValue {
        let mut value = HeaderValue::try_from(format!("Bearer {}", self.text))
            .expect("hexadecimal digits are fit for a header");
        value.set_sensitive(true);
        value
    }

    /// In a time that does not depend on where the two differ.
    pub(crate) fn matches(&self, presented: &[u8]) -> bool {
        self.text.as_bytes().ct_eq(presented).into()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

fn is_token(text: &str) -> bool {
    text.len() == 2 * SECRET_BYTES && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn open(path: &Path) -> io::Result<File> {
    // A named pipe would wait for its writer.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path)
}

/// Puts a whole token in place, unless another process was faster.
fn create(path: &Path) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mut secret = [0; SECRET_BYTES];
    getrandom::fill(&mut secret).map_err(|error| io::Error::other(error.to_string()))?;
    let mut text: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    text.push('\n');
    // Created for the user alone, under a name of its own.
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    match file.persist_noclobber(path) {
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        persisted => persisted.map(drop).map_err(|error| error.error),
    }
}
