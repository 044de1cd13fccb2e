//! What one process of a hive leaves to the next: maps by the models' names, each in a file of the state
//! folder.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
};

use chain_daemon::InstanceName;
use rbee_config::RbeeConfig;
use serde::{Serialize, de::DeserializeOwned};

/// The file for `what` of the hive.
pub(super) fn file(config: &RbeeConfig, hive: &str, what: &str) -> PathBuf {
    let hive = InstanceName::Hive { alias: hive.to_owned() };
    config.paths.state.join(format!("{hive}-{what}.json"))
}

/// What the process before has left; nothing where it cannot be read.
pub(super) fn read<T: DeserializeOwned>(file: &Path) -> HashMap<String, T> {
    let read = match fs::read(file) {
        Ok(text) => serde_json::from_slice(&text).map_err(io::Error::from),
        Err(error) => Err(error),
    };
    match read {
        Ok(kept) => kept,
        Err(error) if error.kind() == io::ErrorKind::NotFound => HashMap::new(),
        Err(error) => {
            tracing::warn!(%error, file = %file.display(), "cannot read what the hive before has left");
            HashMap::new()
        }
    }
}

/// Leaves it to the next process: written beside and renamed, so that nobody reads half of it. A map of
/// nothing is no file.
pub(super) fn write<T: Serialize>(file: &Path, kept: &HashMap<String, T>) {
    let written = || {
        if kept.is_empty() {
            return fs::remove_file(file);
        }
        let new = file.with_extension("new");
        fs::write(&new, serde_json::to_vec(kept)?)?;
        fs::rename(new, file)
    };
    if let Err(error) = written()
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(%error, file = %file.display(), "cannot leave it to the next hive");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_found_and_half_a_file_is_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("kept.json");
        assert_eq!(read::<u8>(&file), HashMap::new());
        let kept = HashMap::from([("a/model:1b".to_owned(), 1)]);
        write(&file, &kept);
        assert_eq!(read::<u8>(&file), kept);
        fs::write(&file, "{\"a\": ").unwrap();
        assert_eq!(read::<u8>(&file), HashMap::new());
        write::<u8>(&file, &HashMap::new());
        assert!(!file.exists());
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    }
}
