//! What was found out about binaries, kept in memory by whoever serves: the files may be removed, and
//! a binary that failed is not to be tried again for that.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs, io,
    time::{Duration, SystemTime},
};

use crate::instance::Instance;

/// A folder that changed this short a time ago may be on its way to being removed, by a process that a busy
/// machine keeps waiting between two of its files.
const RESTS_AFTER: Duration = Duration::from_secs(1);

/// Copies of the files that say which binaries served well and which failed.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    files: BTreeMap<OsString, Vec<u8>>,
    /// Of the folder, when it was read last.
    modified: Option<SystemTime>,
}

impl Findings {
    /// Reads the files again where the folder has changed and rests. One that is not there teaches
    /// nothing.
    pub(crate) fn refresh(&mut self, instance: &Instance) -> io::Result<()> {
        let dir = instance.path("");
        let modified = fs::metadata(&dir)?.modified()?;
        // A clock that was set back says nothing.
        let rests = modified.elapsed().map_or(true, |age| age > RESTS_AFTER);
        if !rests || self.modified == Some(modified) {
            return Ok(());
        }
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(&dir)? {
            let name = entry?.file_name();
            if is_finding(name.as_encoded_bytes()) {
                files.insert(name.clone(), fs::read(dir.join(name))?);
            }
        }
        *self = Self { files, modified: Some(modified) };
        Ok(())
    }

    /// Writes those that are missing.
    pub(crate) fn restore(&self, instance: &Instance) -> io::Result<()> {
        for (name, content) in &self.files {
            let name = name.to_str().ok_or(io::ErrorKind::InvalidFilename)?;
            if !instance.path(name).exists() {
                instance.store_bytes(name, content)?;
            }
        }
        Ok(())
    }
}

fn is_finding(name: &[u8]) -> bool {
    name == b"good.json" || (name.starts_with(b"bad-") && name.ends_with(b".json"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Unwell;

    /// As if the folder had changed a minute earlier.
    fn rest(instance: &Instance) {
        let dir = fs::File::open(instance.path("")).unwrap();
        let changed = dir.metadata().unwrap().modified().unwrap();
        dir.set_modified(changed - Duration::from_secs(60)).unwrap();
    }

    #[test]
    fn what_was_found_out_is_there_again_and_what_is_newer_stays() {
        let dir = tempfile::tempdir().unwrap();
        let instance = Instance::new(dir.path(), "x").unwrap();
        instance.create().unwrap();
        instance.quarantine("one", "args", &Unwell::faulty("died"));
        instance.quarantine("two", "args", &Unwell::faulty("died"));
        let mut findings = Findings::default();
        rest(&instance);
        findings.refresh(&instance).unwrap();

        fs::remove_dir_all(dir.path().join("x")).unwrap();
        assert!(findings.refresh(&instance).is_err());
        instance.create().unwrap();
        instance.quarantine("two", "args", &Unwell::faulty("answered 500"));
        findings.restore(&instance).unwrap();
        let why = |hash| instance.quarantined(hash, "args").map(|failed| failed.why);
        assert_eq!(why("one").as_deref(), Some("died"));
        assert_eq!(why("two").as_deref(), Some("answered 500"));
    }

    #[test]
    fn what_was_released_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let instance = Instance::new(dir.path(), "x").unwrap();
        instance.create().unwrap();
        instance.quarantine("one", "args", &Unwell::faulty("died"));
        let mut findings = Findings::default();
        rest(&instance);
        findings.refresh(&instance).unwrap();
        instance.release("one", "args");
        rest(&instance);
        findings.refresh(&instance).unwrap();
        findings.restore(&instance).unwrap();
        assert_eq!(instance.quarantined("one", "args"), None);
    }
}
