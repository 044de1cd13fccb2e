use std::{
    fs,
    os::unix::{fs::DirBuilderExt as _, net::UnixStream},
    path::{Path, PathBuf},
    time::Duration,
};

use tempfile::TempDir;
use tokio::process::Command;

use crate::Error;

/// Where each connection has its folder.
const PREFIX: &str = "link-";

/// Longer than any connection takes from its folder to its socket.
const MADE_BY_THEN: Duration = Duration::from_secs(120);

/// A machine as `ssh` calls it. Clones are the same machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshHost {
    destination: String,
    folder: PathBuf,
}

/// What the user's configuration does not change. `ServerAlive`: a connection over which nothing comes
/// for 15 s is ended.
const OPTIONS: [&str; 13] = [
    "BatchMode=yes",
    "StrictHostKeyChecking=yes",
    "ServerAliveInterval=5",
    "ServerAliveCountMax=3",
    "ConnectTimeout=10",
    "ControlPersist=no",
    "ForwardAgent=no",
    "ForwardX11=no",
    "PermitLocalCommand=no",
    "RemoteCommand=none",
    "RequestTTY=no",
    "StreamLocalBindUnlink=yes",
    "StreamLocalBindMask=0177",
];

impl SshHost {
    /// `destination` is what is written behind `ssh`; sockets of connections are kept in `folder`, for
    /// this user only.
    pub fn new(destination: impl Into<String>, folder: impl Into<PathBuf>) -> Self {
        Self { destination: destination.into(), folder: folder.into() }
    }

    pub fn destination(&self) -> &str {
        &self.destination
    }

    /// `ssh` to this host over the control socket, before its arguments.
    pub(crate) fn ssh(&self, control: &Path) -> Command {
        let mut ssh = Command::new("ssh");
        for option in OPTIONS {
            ssh.args(["-o", option]);
        }
        ssh.arg("-S").arg(control).kill_on_drop(true);
        ssh
    }

    /// A folder for the sockets of one connection, gone with the value.
    pub(crate) fn folder_for_one(&self) -> Result<TempDir, Error> {
        let failed = |source| Error::Folder {
            host: self.destination.clone(),
            path: self.folder.clone(),
            source,
        };
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(&self.folder).map_err(failed)?;
        self.remove_left();
        tempfile::Builder::new()
            .prefix(PREFIX)
            .rand_bytes(4)
            .tempdir_in(&self.folder)
            .map_err(failed)
    }

    /// Removes what processes left that were killed.
    fn remove_left(&self) {
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let is_link = entry.file_name().to_string_lossy().starts_with(PREFIX);
            let age = entry.metadata().and_then(|meta| meta.modified()).map(|at| at.elapsed());
            let is_old = matches!(age, Ok(Ok(age)) if age > MADE_BY_THEN);
            if is_link && is_old && UnixStream::connect(control(&entry.path())).is_err() {
                drop(fs::remove_dir_all(entry.path()));
            }
        }
    }
}

/// The control socket in the folder of a connection.
pub(crate) fn control(folder: &Path) -> PathBuf {
    folder.join("c")
}
