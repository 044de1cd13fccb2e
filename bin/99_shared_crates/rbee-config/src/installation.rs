//! Where an installed release lies, which is not built here: the folder that `./rbee dist` makes.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Holds one folder for each release, named by its id.
pub const RELEASES: &str = "releases";
/// The link to the release that is used.
pub const CURRENT: &str = "current";
/// What a release's folder has its programs in.
pub const PROGRAMS: &str = "bin";

/// A folder of releases, of which one is used:
///
/// ```text
/// bin       -> current/bin
/// share     -> current/share
/// current   -> releases/0.1.0-64278f7d9b55
/// releases/0.1.0-64278f7d9b55/bin/rbee
/// ```
///
/// A release is never written to once it is there, so that what runs from it can be started from it
/// again while another one is tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installation {
    root: PathBuf,
}

impl Installation {
    /// The installation that `executable` is a program of.
    pub fn around(executable: &Path) -> Option<Self> {
        let programs = executable.parent().filter(|folder| folder.ends_with(PROGRAMS))?;
        let releases = programs.parent()?.parent().filter(|folder| folder.ends_with(RELEASES))?;
        let installation = Self { root: releases.parent()?.to_owned() };
        installation.current().is_ok().then_some(installation)
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where `name` is in the release that is used, whichever that is.
    pub fn program(&self, name: &str) -> PathBuf {
        self.root.join(CURRENT).join(PROGRAMS).join(name)
    }

    /// The folder of the release of that id.
    pub fn release(&self, id: &str) -> PathBuf {
        self.root.join(RELEASES).join(id)
    }

    /// The id of the release that is used.
    pub fn current(&self) -> io::Result<String> {
        let target = fs::read_link(self.root.join(CURRENT))?;
        let id = target.strip_prefix(RELEASES).ok().and_then(Path::to_str);
        id.map(str::to_owned).ok_or_else(|| {
            io::Error::other(format!("it leads to `{}`, which is no release", target.display()))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_program_is_of_an_installation_where_the_whole_of_it_is_there() {
        let root = tempfile::tempdir().unwrap();
        let exe = root.path().join("releases/1-a/bin/queen");
        assert_eq!(Installation::around(&exe), None);
        symlink("releases/1-b", root.path().join(CURRENT)).unwrap();
        let found = Installation::around(&exe).unwrap();
        assert_eq!(found.current().unwrap(), "1-b");
        assert_eq!(found.program("hive"), root.path().join("current/bin/hive"));
        for other in ["releases/1-a/queen", "releases/bin/queen", "bin/queen", "target/debug/queen"]
        {
            assert_eq!(Installation::around(&root.path().join(other)), None, "{other}");
        }
    }

    #[test]
    fn a_link_that_leads_elsewhere_makes_no_installation() {
        let root = tempfile::tempdir().unwrap();
        symlink("/usr/lib/rbee", root.path().join(CURRENT)).unwrap();
        let exe = root.path().join("releases/1-a/bin/queen");
        assert_eq!(Installation::around(&exe), None);
    }
}
