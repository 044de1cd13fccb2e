//! How cargo is made to do again what it took for up to date.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};

use super::{
    fingerprint::entries_of,
    units::{Compiled, Mark, ScriptRun},
};
use crate::{
    error::{Error, on},
    stat::StatVector,
};

/// Held by a cargo that builds in the folder.
const LOCKS: [&str; 2] = [".cargo-lock", ".cargo-build-lock"];

/// A compilation or a run of a build script that cargo took for up to date.
#[derive(Debug)]
pub(crate) struct Missed {
    /// The package, by cargo's id.
    pub(crate) package_id: String,
    /// It is the same until cargo has done it again.
    pub(crate) mark: (PathBuf, StatVector),
    /// What cargo cannot do without.
    needed: Vec<PathBuf>,
    /// What a script has written.
    out_dir: Option<PathBuf>,
}

impl Missed {
    pub(super) fn compilation(unit: &Compiled) -> Self {
        let needed = unit.fingerprint.lists();
        Self::new(&unit.package_id, &unit.mark, needed, None)
    }

    pub(super) fn run(run: &ScriptRun) -> Self {
        let needed = vec![run.mark.path.clone()];
        Self::new(&run.package_id, &run.mark, needed, Some(run.out_dir.clone()))
    }

    fn new(id: &str, mark: &Mark, needed: Vec<PathBuf>, out_dir: Option<PathBuf>) -> Self {
        let (package_id, mark) = (id.to_owned(), (mark.path.clone(), mark.state));
        Self { package_id, mark, needed, out_dir }
    }

    /// Makes cargo do it again, and leaves everything else that was built as it is. `false` where
    /// what cargo keeps of it was not found.
    ///
    /// What a script wrote goes with it: tools that it runs may compare times as cargo does.
    pub(crate) fn forget(&self) -> Result<bool, Error> {
        if self.needed.is_empty() {
            return Ok(false);
        }
        // Whoever builds there now may be reading it.
        let _locks = lock_builds(&self.mark.0)?;
        self.needed.iter().try_for_each(|path| remove(path))?;
        for path in self.out_dir.iter().flat_map(|dir| entries_of(dir)) {
            remove(&path)?;
        }
        Ok(true)
    }
}

/// Waits for whoever builds what lies at `path`, and keeps others from it.
fn lock_builds(path: &Path) -> Result<Vec<File>, Error> {
    let mut held = Vec::new();
    for lock in path.ancestors().skip(1).flat_map(|dir| LOCKS.map(|name| dir.join(name))) {
        if let Ok(file) = File::open(&lock) {
            flock(&file, FlockOperation::LockExclusive)
                .map_err(|error| on("lock", &lock)(error.into()))?;
            held.push(file);
        }
    }
    Ok(held)
}

fn remove(path: &Path) -> Result<(), Error> {
    let is_dir = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir());
    match if is_dir { fs::remove_dir_all(path) } else { fs::remove_file(path) } {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(on("remove", path)(error)),
        _ => Ok(()),
    }
}
