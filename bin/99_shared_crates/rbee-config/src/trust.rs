//! Whether somebody else could have written what rbee reads, builds and executes.
//!
//! An edit of the source tree is executed, and the configuration and the state say what is. So files and
//! folders of these belong to this user or to root, and are writable by nobody else. A group may write
//! where it is the user's own, as on systems that give each user a group: whom else the administrator
//! has put into it is not looked up.

use std::{
    fs::{self, Metadata},
    os::unix::fs::MetadataExt as _,
    path::Path,
};

use crate::{error::Error, paths::Paths};

/// Of the source tree's own folders those that hold what cargo or git has made.
const MADE: [&str; 3] = ["target", ".git", ".tools"];

const GROUP_WRITES: u32 = 0o020;
const OTHERS_WRITE: u32 = 0o002;

/// Refuses rbee's configuration and its folders that somebody else may write. What is missing will be
/// made for this user alone.
pub(crate) fn require_own_state(paths: &Paths) -> Result<(), Error> {
    // With `RBEE_HOME` the configuration's folder holds all the others.
    let config = [paths.config_file.parent(), Some(paths.config_file.as_path())];
    let folders = [&paths.state, &paths.run, &paths.logs, &paths.models];
    let folders = folders.into_iter().chain(&paths.cache);
    let all = config.into_iter().flatten().chain(folders.map(AsRef::as_ref));
    let user = User::current();
    all.into_iter().try_for_each(|path| user.require_own(path))
}

/// Refuses a source tree in which somebody else may write. Takes about a microsecond for each file.
pub(crate) fn require_own_sources(root: &Path) -> Result<(), Error> {
    let user = User::current();
    user.require_own(root)?;
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        // What vanishes meanwhile, or cannot be read, is not built from either.
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let path = entry.path();
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_symlink() {
                continue;
            }
            user.check(&path, &metadata)?;
            let is_made = folder == root && MADE.iter().any(|made| entry.file_name() == *made);
            if metadata.is_dir() && !is_made {
                folders.push(path);
            }
        }
    }
    Ok(())
}

/// Whom this process runs as.
struct User {
    id: u32,
    group: u32,
}

impl User {
    fn current() -> Self {
        let (id, group) = (rustix::process::geteuid(), rustix::process::getegid());
        Self { id: id.as_raw(), group: group.as_raw() }
    }

    fn require_own(&self, path: &Path) -> Result<(), Error> {
        match fs::metadata(path) {
            Ok(metadata) => self.check(path, &metadata),
            // Whoever uses it will say what is wrong with it.
            Err(_) => Ok(()),
        }
    }

    fn check(&self, path: &Path, metadata: &Metadata) -> Result<(), Error> {
        let (owner, mode) = (metadata.uid(), metadata.mode() & 0o7777);
        if owner != self.id && owner != 0 {
            return Err(Error::Foreign { path: path.to_owned(), owner, user: self.id });
        }
        let is_own_group = metadata.gid() == self.group;
        let writers = if is_own_group { OTHERS_WRITE } else { OTHERS_WRITE | GROUP_WRITES };
        if mode & writers != 0 {
            let mend = if is_own_group { "o-w" } else { "go-w" };
            return Err(Error::Writable { path: path.to_owned(), mode, mend });
        }
        Ok(())
    }
}
