use std::{collections::BTreeMap, env::consts};

use semver::Version;
use serde::{Deserialize, Serialize};

/// What a release says of itself: the content of its manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    pub version: Version,
    /// Such as `x86_64-linux`: where its programs run.
    pub platform: String,
    /// Every file but the manifest, by its path in the release's folder.
    pub files: BTreeMap<String, FileEntry>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// In hex.
    pub blake3: String,
    pub bytes: u64,
    #[serde(default)]
    pub executable: bool,
}

/// What this program was compiled for.
pub fn this_platform() -> String {
    format!("{}-{}", consts::ARCH, consts::OS)
}

impl Release {
    /// Names the release by its version and its content: two builds of one version are two releases.
    pub fn id(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for (path, FileEntry { blake3, executable, .. }) in &self.files {
            hasher.update(format!("{path}\0{blake3}\0{executable}\0").as_bytes());
        }
        format!("{}-{}", self.version, &hasher.finalize().to_hex()[..12])
    }

    /// The hash of the program of that name.
    pub fn program(&self, name: &str) -> Option<&str> {
        let entry = self.files.get(&format!("{}/{name}", rbee_config::installation::PROGRAMS))?;
        Some(&entry.blake3)
    }

    /// The paths of its programs.
    pub fn programs(&self) -> impl Iterator<Item = &str> {
        let programs = self.files.iter().filter(|(_, entry)| entry.executable);
        programs.map(|(path, _)| path.as_str())
    }
}
