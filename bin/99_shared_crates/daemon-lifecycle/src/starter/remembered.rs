//! What earlier starters have found out, in the instance's folder.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

use super::binary::Binary;
use crate::{identity::hash_file, instance::Instance, process, spec::UpdatePolicy};

/// A check that is trusted for a while; its time is one that nobody can set.
#[derive(Serialize, Deserialize)]
struct Trusted {
    boot_id: String,
    since_boot: Duration,
    binary: Binary,
}

/// What is remembered of a binary that is not kept up to date.
const HASHED: &str = "hashed.json";

/// The coarsest clock of a file system.
const CLOCK_TICK: Duration = Duration::from_secs(2);

#[derive(Serialize, Deserialize)]
struct Hashed {
    /// Everything that the file system says about the file.
    state: String,
    exe_hash: String,
}

/// The binary of a check that is young enough.
pub(super) fn trusted(policy: &UpdatePolicy, instance: &Instance) -> Option<Binary> {
    if policy.check_interval.is_zero() {
        return None;
    }
    let trusted: Trusted = instance.load("checked.json")?;
    let age = process::since_boot().checked_sub(trusted.since_boot)?;
    let holds = trusted.boot_id == process::boot_id()
        && age < policy.check_interval
        && trusted.binary.exe.is_file();
    holds.then_some(trusted.binary)
}

/// Lets this check be trusted for the interval.
pub(super) fn trust(policy: &UpdatePolicy, instance: &Instance, binary: &Binary) {
    if policy.check_interval.is_zero() {
        return;
    }
    let (boot_id, since_boot) = (process::boot_id(), process::since_boot());
    let trusted = Trusted { boot_id, since_boot, binary: binary.clone() };
    if let Err(error) = instance.store("checked.json", &trusted) {
        tracing::warn!(%error, "cannot record the check");
    }
}

/// The hash of a file, remembered for as long as nothing about the file changes.
pub(super) fn known_hash(exe: &Path, instance: &Instance) -> io::Result<String> {
    let meta = fs::metadata(exe)?;
    let changed = Duration::new(meta.ctime().unsigned_abs(), meta.ctime_nsec() as u32);
    let state = format!(
        "{} {} {} {} {changed:?} {}.{}",
        exe.display(),
        meta.dev(),
        meta.ino(),
        meta.size(),
        meta.mtime(),
        meta.mtime_nsec()
    );
    if let Some(known) = instance.load::<Hashed>(HASHED)
        && known.state == state
    {
        return Ok(known.exe_hash);
    }
    let exe_hash = hash_file(exe)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // A file that changed just now could change again within the same tick of its clock.
    if now.saturating_sub(changed) > CLOCK_TICK {
        let hashed = Hashed { state, exe_hash: exe_hash.clone() };
        if let Err(error) = instance.store(HASHED, &hashed) {
            tracing::debug!(%error, "cannot remember a hash");
        }
    }
    Ok(exe_hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_hashed_again_when_anything_about_it_changed() {
        let dir = tempfile::tempdir().unwrap();
        let instance = Instance::new(dir.path(), "x").unwrap();
        instance.create().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "a").unwrap();
        let a = known_hash(&file, &instance).unwrap();
        fs::write(&file, "b").unwrap();
        assert_ne!(known_hash(&file, &instance).unwrap(), a);
    }

    #[test]
    fn a_file_that_is_as_it_was_is_not_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let instance = Instance::new(dir.path(), "x").unwrap();
        instance.create().unwrap();
        // Has not been written in the last seconds.
        let file = Path::new("/bin/sh");
        known_hash(file, &instance).unwrap();
        let mut remembered: Hashed = instance.load(HASHED).unwrap();
        remembered.exe_hash = "remembered".to_owned();
        instance.store(HASHED, &remembered).unwrap();
        assert_eq!(known_hash(file, &instance).unwrap(), "remembered");
    }
}
