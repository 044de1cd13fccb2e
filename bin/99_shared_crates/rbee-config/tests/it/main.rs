//! Configuration as a process gets it: from an environment and a file in a folder of its own.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod edit; // single keys of the file changed
mod file; // what is read from config.toml, and what is refused
mod layers; // who wins, and what is said about it
mod places; // folders, sources
mod trust; // what somebody else may write

use std::{ffi::OsString, fs, path::Path};

use rbee_config::{Environment, Error, Origin, Overrides, RbeeConfig};
use tempfile::TempDir;

/// A home of rbee with a configuration file.
struct Home {
    folder: TempDir,
}

impl Home {
    fn with(toml: &str) -> Self {
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join("config.toml"), toml).unwrap();
        Self { folder }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn load(&self) -> Result<RbeeConfig, Error> {
        self.load_with(&[], &Overrides::default())
    }

    fn load_with(
        &self,
        variables: &[(&str, &str)],
        overrides: &Overrides,
    ) -> Result<RbeeConfig, Error> {
        let home = [("RBEE_HOME", self.path().as_os_str().to_owned())];
        let others = variables.iter().map(|(name, value)| (*name, OsString::from(value)));
        let environment: Environment = home.into_iter().chain(others).collect();
        RbeeConfig::resolve(overrides, &environment, None)
    }

    /// Loads the file and says why it was refused, without the folder's name.
    #[track_caller]
    fn refusal(&self) -> String {
        let refusal = self.load().unwrap_err().to_string();
        refusal.replace(&format!("{}/", self.path().display()), "")
    }
}

/// The value and the origin that are listed for `key`.
#[track_caller]
fn listed<'a>(config: &'a RbeeConfig, key: &str) -> (&'a str, &'a Origin) {
    let value = config.values().find(|value| value.key == key).unwrap();
    (&value.value, &value.origin)
}
