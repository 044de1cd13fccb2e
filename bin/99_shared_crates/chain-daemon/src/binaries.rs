use std::{sync::Weak, thread, time::Duration};

use auto_update::{AutoUpdater, Change, Error, Freshness as Checked, Watcher};
use rbee_api::{BinarySeen, Freshness, causes};
use rbee_config::RbeeConfig;

use crate::DAEMONS;

/// How long a fresh binary's watch waits before it sees whether anybody still listens.
const LISTENING: Duration = Duration::from_secs(1);

/// How often one that is not fresh is looked at: the system tells of its inputs only when they are
/// known.
const AGAIN: Duration = Duration::from_millis(500);

/// Tells `listener` what the sources make of each daemon's binary, now and when that changes; each on a
/// thread of its own, for as long as the listener lives. Builds nothing.
///
/// There is nothing to tell where nothing is built from sources.
pub fn watch_binaries<T: Send + Sync + 'static>(
    config: &RbeeConfig,
    listener: &Weak<T>,
    told: fn(&T, BinarySeen),
) {
    let Some(root) = config.build_root() else { return };
    for binary in DAEMONS {
        let updater = match AutoUpdater::new(binary.name, root.join(binary.source_dir)) {
            Ok(updater) => updater,
            Err(error) => {
                tracing::warn!(binary = binary.name, error = causes(&error), "cannot be watched");
                continue;
            }
        };
        let watcher = updater.profile(config.auto_update.profile.as_str()).watch();
        let listener = Weak::clone(listener);
        let follow = move || follow(binary.name, &watcher, &listener, told);
        if let Err(error) = thread::Builder::new().name("freshness".to_owned()).spawn(follow) {
            tracing::warn!(binary = binary.name, %error, "cannot be watched");
        }
    }
}

fn follow<T>(binary: &str, watcher: &Watcher, listener: &Weak<T>, told: fn(&T, BinarySeen)) {
    loop {
        let checked = watcher.check();
        let is_fresh = checked.as_ref().is_ok_and(Checked::is_fresh);
        let Some(listening) = listener.upgrade() else { return };
        if let Some(seen) = seen(binary, checked) {
            told(&listening, seen);
        }
        drop(listening);
        let wait = if is_fresh { LISTENING } else { AGAIN };
        loop {
            match watcher.wait(wait) {
                Ok(false) if is_fresh && listener.strong_count() > 0 => {}
                Ok(_) => break,
                Err(error) => {
                    tracing::warn!(binary, error = causes(&error), "is not watched any more");
                    return;
                }
            }
        }
    }
}

/// `None` of an engine's worker that nobody has built yet: it is built where a model needs it.
fn seen(binary: &str, checked: Result<Checked, Error>) -> Option<BinarySeen> {
    let (freshness, reasons, exe_hash) = match checked {
        Ok(Checked::Fresh(artifact)) => {
            (Freshness::Fresh, Vec::new(), Some(artifact.hash.to_string()))
        }
        Ok(Checked::Stale(reasons)) => {
            if reasons.iter().any(|reason| reason.change == Change::NeverBuilt) {
                return None;
            }
            (Freshness::Stale, reasons.iter().map(ToString::to_string).collect(), None)
        }
        Ok(Checked::Unknown(doubt)) => (Freshness::Unknown, vec![doubt.to_string()], None),
        Err(error) => (Freshness::Unknown, vec![causes(&error)], None),
    };
    Some(BinarySeen { binary: binary.to_owned(), freshness, reasons, exe_hash })
}

#[cfg(test)]
mod tests {
    use auto_update::{Doubt, Freshness as Checked};

    use super::{Freshness, seen};

    #[test]
    fn a_doubt_is_told_with_its_reason() {
        let seen = seen("rbee-hive", Ok(Checked::Unknown(Doubt::NoReceipt))).unwrap();
        assert_eq!((seen.freshness, seen.exe_hash), (Freshness::Unknown, None));
        assert_eq!(seen.reasons, ["no record of its last build"]);
    }
}
