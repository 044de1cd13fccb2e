use std::{
    fmt, io,
    path::{Path, PathBuf},
    time::Duration,
};

/// Why a daemon was not started, replaced or stopped, or cannot run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("no binary named `{name}`; looked for {}", list(.looked))]
    BinaryNotFound { name: String, looked: Vec<PathBuf> },
    /// A name becomes a folder: letters, digits, `-`, `_`, `.` and `@`, at most 64.
    #[error("`{name}` cannot name an instance")]
    InstanceName { name: String },
    #[error(
        "the control socket `{}` would have {bytes} bytes and the system allows {limit}: choose a \
         shorter run directory", .path.display()
    )]
    SocketPathTooLong { path: PathBuf, bytes: usize, limit: usize },
    #[error("`{}` must be a directory of this user that nobody else can open (mode 0700)", .path.display())]
    InsecureDirectory { path: PathBuf },
    #[error("cannot {what} `{}`", .path.display())]
    Io { what: &'static str, path: PathBuf, source: io::Error },
    /// The sources of the binary cannot be examined.
    #[error("cannot tell whether `{binary}` is up to date")]
    AutoUpdate { binary: String, source: auto_update::Error },
    /// Automatic updates were asked for. A release, which lies in no target directory, goes without.
    #[error("`{binary}` is to be kept up to date and there is no source tree at `{}`", .path.display())]
    NoSources { binary: String, path: PathBuf },
    #[error("`{binary}` does not build; what runs is left as it is")]
    Build { binary: String, source: auto_update::Error },
    #[error("`{binary}` does not build, and no binary of it has served well before\n{build_error}")]
    NoLastGood { binary: String, build_error: String },
    #[error("cannot start `{}`", .path.display())]
    Launch { path: PathBuf, source: io::Error },
    #[error("`{name}` ended before it was ready ({status}){log}")]
    ExitedBeforeReady { name: String, status: String, log: LogTail },
    #[error("`{name}` was not ready after {} s{log}", .after.as_secs_f32())]
    NotReadyInTime { name: String, after: Duration, log: LogTail },
    /// The daemon said itself why it cannot start.
    #[error("`{name}` cannot start: {reason}")]
    CannotStart { name: String, reason: String, log: LogTail },
    /// It could not be started a moment ago, and there is nothing else to be started.
    #[error("`{name}` is not started again for {} s, or until it changes, since it failed: {why}", .left.as_secs())]
    HeldBack { name: String, why: String, left: Duration },
    /// Neither its own fault nor a stranger's: the generation before did not hand over, or
    /// something could not be written.
    #[error("`{name}` was kept from starting: {reason}")]
    Hindered { name: String, reason: String },
    #[error("`{name}` was stopped before it was ready")]
    Stopped { name: String },
    /// Somebody else listens there. Nothing was done to whoever it is.
    #[error("`{name}` cannot listen on {address}: another program does")]
    AddressInUse { name: String, address: String },
    #[error("`{name}` said that it was ready and then {why}{log}")]
    NotServing { name: String, why: String, log: LogTail },
    /// It may have been the machine's fault.
    #[error("`{name}` said that it was ready and then {why}{log}")]
    TooSlow { name: String, why: String, log: LogTail },
    #[error("`{name}` runs from another file than the one that was started")]
    WrongBinary { name: String },
    #[error(
        "`{name}` is already running from the source tree `{}`, not from `{}`", .running.display(),
        .ours.display()
    )]
    OtherTree { name: String, running: PathBuf, ours: PathBuf },
    #[error("the new `{name}` failed ({why}) and the old one is gone too")]
    HandOver { name: String, why: String },
    #[error("`{name}` did not end: processes {pids:?} are still alive")]
    StillAlive { name: String, pids: Vec<u32> },
    #[error("the listener cannot be bound to {address}")]
    Listen { address: String, source: io::Error },
    #[error("what the starter said cannot be read")]
    Attach { source: io::Error },
    #[error("cannot announce that this daemon is ready")]
    Announce { source: io::Error },
}

impl Error {
    /// Whether the compiler refused the sources.
    pub fn is_build_failure(&self) -> bool {
        matches!(self, Self::Build { .. } | Self::NoLastGood { .. })
    }

    /// Whether nothing was tried, since what has failed before would fail again.
    pub fn is_held_back(&self) -> bool {
        matches!(self, Self::HeldBack { .. })
    }

    pub(crate) fn io(what: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { what, path: path.to_owned(), source }
    }
}

/// The last lines that a daemon wrote to its log; displays as nothing when there are none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogTail {
    pub path: PathBuf,
    pub lines: Vec<String>,
}

impl fmt::Display for LogTail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.lines.is_empty() {
            return Ok(());
        }
        write!(f, "; the end of `{}`:", self.path.display())?;
        self.lines.iter().try_for_each(|line| write!(f, "\n    {line}"))
    }
}

fn list(paths: &[PathBuf]) -> String {
    let quoted: Vec<String> = paths.iter().map(|path| format!("`{}`", path.display())).collect();
    quoted.join(", ")
}
