use std::{
    collections::BTreeMap,
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::Context as _;
use auto_update::{AutoUpdater, Freshness as Checked, Watcher};
use tokio::sync::mpsc;

use super::{
    ear::{Below, Ear, is_source},
    model::Event,
};
use crate::{
    chain::{Binary, Verdict},
    failure::Failure,
};

/// How long a watch waits before it sees whether anybody still listens.
const LISTENING: Duration = Duration::from_secs(60);

/// What makes a stale binary fresh or another one may lie elsewhere, such as in the toolchain: how soon
/// that is looked for after there was news.
const STALE_LOOK: Duration = Duration::from_secs(10);

/// Each look without news makes the next one twice as late, up to this.
const RARE_LOOK: Duration = Duration::from_secs(60);

/// The file of a receipt that a build leaves in the target directory.
const RECEIPTS: &str = ".auto-update/receipts";
const RECEIPT: &str = "current";

/// Where the sources of the workspace are, and what stands beside them.
const SOURCES: &str = "bin";
const BESIDE: [&str; 2] = ["Cargo.toml", "Cargo.lock"];

/// Tells of each of `binaries` what its sources make it, now and whenever that may have changed. Ends
/// when nobody listens.
pub(crate) fn watch(
    root: &Path,
    profile: &str,
    binaries: &'static [Binary],
    events: &mpsc::Sender<Event>,
) -> Result<(), Failure> {
    for (level, binary) in binaries.iter().enumerate() {
        let updater = AutoUpdater::new(binary.name, root.join(binary.source_dir))
            .with_context(|| format!("cannot watch `{}`", binary.name))?;
        let receipts = updater.target_dir().map(|target| target.join(RECEIPTS));
        let receipts = receipts.with_context(|| format!("cannot watch `{}`", binary.name))?;
        let watcher = updater.profile(profile).watch();
        let (root, events) = (root.to_owned(), events.clone());
        thread::spawn(move || follow(level, binary, &root, &receipts, &watcher, &events));
    }
    Ok(())
}

fn follow(
    level: usize,
    binary: &Binary,
    root: &Path,
    receipts: &Path,
    watcher: &Watcher,
    events: &mpsc::Sender<Event>,
) {
    // Only while it is not fresh: then nothing else listens to what is not among its inputs yet.
    let mut ear = None;
    // Looked at again and again while it is stale; only what is news is told.
    let mut told = None;
    let mut pause = STALE_LOOK;
    loop {
        let checked = watcher.check();
        let is_fresh = checked.as_ref().is_ok_and(Checked::is_fresh);
        if is_fresh {
            ear = None;
        } else if ear.is_none() {
            // What happens before it listens is seen by another look.
            ear = Some(Ear::over(vec![
                (root.join(SOURCES), Below::Sources),
                (root.to_owned(), Below::Beside(&BESIDE)),
                (receipts.to_owned(), Below::Named(RECEIPT)),
            ]));
            continue;
        }
        let inputs = match &checked {
            Ok(Checked::Fresh(artifact)) => artifact.hash.to_string(),
            checked => fingerprint(root, checked.as_ref().ok()),
        };
        let verdict = Verdict::of(binary, checked);
        let looked = (verdict, inputs);
        let is_news = told.as_ref() != Some(&looked);
        pause = next_pause(pause, is_news);
        if !is_news {
            if events.is_closed() {
                return;
            }
        } else {
            told = Some(looked.clone());
            let (verdict, inputs) = looked;
            if events.blocking_send(Event::Looked { level, verdict, inputs }).is_err() {
                return;
            }
        }
        let waited = match &mut ear {
            // Where the kernel does not tell, only a look does.
            Some(ear) => {
                ear.wait(if ear.hears() { pause } else { STALE_LOOK });
                Ok(true)
            }
            None => loop {
                match watcher.wait(LISTENING) {
                    Ok(false) if !events.is_closed() => {}
                    waited => break waited,
                }
            },
        };
        if let Err(error) = waited {
            events.blocking_send(Event::Blind(format!("{:#}", anyhow::Error::from(error)))).ok();
            return;
        }
    }
}

/// How long after this look the next one is, if nothing is heard.
fn next_pause(last: Duration, is_news: bool) -> Duration {
    if is_news { STALE_LOOK } else { (last * 2).min(RARE_LOOK) }
}

/// Differs when there is something else to build: an edit, or another one of the same file.
///
/// What the last build read is not enough, since what is missing is not among it.
fn fingerprint(root: &Path, checked: Option<&Checked>) -> String {
    let mut states = BTreeMap::new();
    collect(&root.join(SOURCES), &mut states);
    for file in BESIDE {
        collect_file(root.join(file), &mut states);
    }
    if let Some(Checked::Stale(reasons)) = checked {
        for reason in reasons {
            collect_file(root.join(&reason.input), &mut states);
        }
    }
    let mut hasher = DefaultHasher::new();
    states.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

type States = BTreeMap<PathBuf, Option<(u64, u64, i64, i64)>>;

fn collect(path: &Path, states: &mut States) {
    let Ok(entries) = fs::read_dir(path) else { return collect_file(path.to_owned(), states) };
    for entry in entries.flatten() {
        if !is_source(&entry.file_name().to_string_lossy()) {
            continue;
        }
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => collect(&entry.path(), states),
            _ => collect_file(entry.path(), states),
        }
    }
}

fn collect_file(path: PathBuf, states: &mut States) {
    let state = fs::metadata(&path).ok();
    let state = state.map(|file| (file.ino(), file.size(), file.mtime(), file.mtime_nsec()));
    states.insert(path, state);
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{RARE_LOOK, STALE_LOOK, fingerprint, next_pause};

    #[test]
    fn what_stays_stale_is_looked_at_less_and_less_often_until_there_is_news() {
        let after = |last, is_news| next_pause(last, is_news).as_secs();
        assert_eq!(after(STALE_LOOK, false), 20);
        assert_eq!(after(STALE_LOOK * 2, false), 40);
        assert_eq!(after(STALE_LOOK * 4, false), 60);
        assert_eq!(after(RARE_LOOK, false), 60);
        assert_eq!(after(RARE_LOOK, true), 10);
    }

    #[test]
    fn what_is_to_be_built_differs_after_each_edit_and_not_otherwise() {
        let root = tempfile::tempdir().unwrap();
        let source = root.path().join("bin/queen/src");
        fs::create_dir_all(&source).unwrap();
        let mut seen = vec![fingerprint(root.path(), None)];
        let mut look = || {
            let now = fingerprint(root.path(), None);
            let is_new = !seen.contains(&now);
            seen.push(now);
            is_new
        };
        assert!(!look());
        fs::write(source.join("lib.rs"), "one").unwrap();
        assert!(look());
        fs::write(source.join("lib.rs"), "three").unwrap();
        assert!(look());
        fs::write(source.join(".lib.rs.swp"), "an editor's").unwrap();
        assert!(!look());
        fs::write(root.path().join("Cargo.toml"), "[workspace]").unwrap();
        assert!(look());
    }
}
