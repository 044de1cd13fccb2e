use std::{
    fs::{self, File, FileTimes},
    path::Path,
    time::SystemTime,
};

use anyhow::Context as _;

use crate::llama_cpp::{FOLDERS, READ, Read, UNITS, copy, entries, lock};

/// Copies a build of the cache that has read what is there now into `target`, the folder of a profile
/// in which llama.cpp has not been compiled.
pub(super) fn lend(root: &Path, cache: &Path, target: &Path) -> anyhow::Result<()> {
    let mut why = None;
    for kept in entries(cache) {
        let Ok(text) = fs::read(kept.join(READ)) else { continue };
        let Ok(read) = serde_json::from_slice::<Read>(&text) else { continue };
        if let Some(differs) = read.difference(root) {
            why = Some(differs);
            continue;
        }
        // Who builds there compiles it, or has it already.
        let Some(_lock) = lock(target)? else { return Ok(()) };
        let lent = give(&kept.join(UNITS), target);
        lent.with_context(|| format!("cannot copy `{}`", kept.display()))?;
        eprintln!(
            "rbee: llama.cpp was compiled for another checkout from the same files: taken over"
        );
        return Ok(());
    }
    if let Some(differs) = why {
        eprintln!("rbee: llama.cpp was compiled for another checkout before `{differs}` changed");
    }
    Ok(())
}

fn give(units: &Path, target: &Path) -> std::io::Result<()> {
    // Cargo takes a unit for stale whose dependencies are newer, and some of these may have been
    // compiled here just now. That they are what this one was compiled with it knows by their hashes.
    let times = FileTimes::new().set_modified(SystemTime::now());
    for folder in FOLDERS {
        for path in entries(&units.join(folder)) {
            let to = target.join(folder).join(path.file_name().unwrap_or_default());
            if !to.exists() {
                copy(&path, &to, &mut |made| {
                    File::options().write(true).open(made)?.set_times(times)
                })?;
            }
        }
    }
    Ok(())
}
