use std::{
    ffi::OsString,
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::Once,
    time::Duration,
};

use auto_update::{AutoUpdater, BuildEvent, Freshness, Hurry};
use narration_core::{
    Narration,
    lines::{self, DAEMON_LIFECYCLE},
};
use serde::{Deserialize, Serialize};

use super::{
    find, narrate,
    remembered::{known_hash, trust, trusted},
    running,
};
use crate::{
    DaemonManager, Error, Identity, OnBuildFailure, Waits,
    identity::{hash_args, hash_file},
    instance::{Good, Instance},
    logs,
    manager::AutoUpdate,
};

/// The binary that a daemon should run from.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Binary {
    pub(super) exe: PathBuf,
    pub(super) exe_hash: String,
    /// How a person would name it: within the workspace, where cargo puts it.
    pub(super) shown: String,
    pub(super) source_root: Option<PathBuf>,
    /// Whether it takes the place of a running daemon that has another. Not where updates are
    /// switched off: what runs may be newer than what there is.
    pub(super) replaces_others: bool,
}

pub(crate) enum Wanted {
    Binary(Binary),
    /// With the compiler's message. Only where the policy is to go on without.
    DoesNotBuild(String),
}

/// The binary that the sources say should run, built if need be; or the one there is, where it is
/// not kept up to date.
pub(crate) async fn wanted(manager: &DaemonManager, instance: &Instance) -> Result<Wanted, Error> {
    match up_to_date(manager) {
        None => as_it_is(manager, instance).map(Wanted::Binary),
        Some(update) => {
            if let Some(binary) = trusted(manager, instance) {
                return Ok(Wanted::Binary(binary));
            }
            built(manager, instance, update, Say::Everything).await
        }
    }
}

/// Makes haste with what is being built for nobody, if somebody waits.
pub(crate) fn hurry(manager: &DaemonManager) -> Option<Hurry> {
    let update = up_to_date(manager).filter(|_| manager.waits != Waits::Nobody)?;
    updater(manager, update).and_then(|updater| updater.hurry()).ok()
}

/// The same again for one that has waited since; silent unless something has changed. `None` when
/// there is nothing to say that was not known.
pub(super) async fn recheck(
    manager: &DaemonManager,
    instance: &Instance,
) -> Result<Option<Binary>, Error> {
    let Some(update) = up_to_date(manager) else { return Ok(None) };
    match built(manager, instance, update, Say::Builds).await? {
        Wanted::Binary(binary) => Ok(Some(binary)),
        Wanted::DoesNotBuild(_) => Ok(None),
    }
}

/// See [`DaemonManager::is_current`].
pub(crate) async fn is_current(manager: &DaemonManager, running: &Identity) -> bool {
    if running.args_hash != hash_args(&manager.args) || !running.is_alive() {
        return false;
    }
    let Some(update) = up_to_date(manager) else { return true };
    let Ok(instance) = manager.instance_dir() else { return false };
    if let Some(binary) = trusted(manager, &instance) {
        return binary.exe_hash == running.exe_hash;
    }
    let Ok(updater) = updater(manager, update) else { return false };
    let checked = tokio::task::spawn_blocking(move || updater.check()).await;
    match checked {
        Ok(Ok(Freshness::Fresh(artifact))) => artifact.hash.to_string() == running.exe_hash,
        _ => false,
    }
}

/// The last binary that stood its probation; where none has, the last that was built.
pub(super) fn last_good(manager: &DaemonManager, instance: &Instance) -> Option<Binary> {
    let update = manager.auto_update.as_ref();
    let updater = update.and_then(|update| updater(manager, update).ok());
    let served = instance
        .load("good.json")
        .filter(|good: &Good| hash_file(&good.exe).is_ok_and(|exe_hash| exe_hash == good.exe_hash));
    let good = match served {
        Some(good) => good,
        None => {
            let built = updater.as_ref()?.last_good().ok()??;
            Good { exe: built.path, exe_hash: built.hash.to_string() }
        }
    };
    Some(Binary {
        shown: good.exe.display().to_string(),
        exe: good.exe,
        exe_hash: good.exe_hash,
        source_root: updater.map(|updater| updater.workspace_root().to_owned()),
        replaces_others: true,
    })
}

/// The workspace that the binary is built from, kept up to date or not.
fn source_root(manager: &DaemonManager) -> Option<PathBuf> {
    let updater = updater(manager, manager.auto_update.as_ref()?).ok()?;
    Some(updater.workspace_root().to_owned())
}

fn up_to_date(manager: &DaemonManager) -> Option<&AutoUpdate> {
    manager.auto_update.as_ref().filter(|_| manager.policy.enabled)
}

/// The binary at the given path, whatever its sources say.
fn as_it_is(manager: &DaemonManager, instance: &Instance) -> Result<Binary, Error> {
    let exe = std::path::absolute(&manager.binary_path)
        .map_err(|source| Error::io("resolve", &manager.binary_path, source))?;
    if !exe.is_file() {
        return Err(Error::BinaryNotFound { name: manager.binary_name(), looked: vec![exe] });
    }
    let exe_hash = known_hash(&exe, instance).map_err(|source| Error::io("read", &exe, source))?;
    let source_root = source_root(manager);
    let shown = relative(&exe, source_root.as_deref());
    let replaces_others = manager.auto_update.is_none();
    Ok(Binary { exe, exe_hash, shown, source_root, replaces_others })
}

/// What the daemon needs of this process's environment to judge and build as this one does.
pub(super) fn build_environment(manager: &DaemonManager) -> Vec<(OsString, OsString)> {
    let Some(update) = &manager.auto_update else { return Vec::new() };
    let found = updater(manager, update).and_then(|updater| updater.child_environment());
    found.unwrap_or_else(|error| {
        tracing::debug!(%error, "no build environment to pass on");
        Vec::new()
    })
}

/// For a daemon that looks after itself: it has just seen that it is stale, whatever was trusted.
pub(crate) fn unhurried(mut manager: DaemonManager) -> DaemonManager {
    manager.policy.check_interval = Duration::ZERO;
    manager.waits = Waits::Nobody;
    manager
}

/// `None` where the binary is not kept up to date.
pub(crate) fn updater_of(manager: &DaemonManager) -> Option<AutoUpdater> {
    match updater(manager, up_to_date(manager)?) {
        Ok(updater) => Some(updater),
        Err(error) => {
            tracing::warn!(%error, "not kept up to date");
            None
        }
    }
}

fn updater(
    manager: &DaemonManager,
    update: &AutoUpdate,
) -> Result<AutoUpdater, auto_update::Error> {
    open(&update.binary, &update.source_dir, manager)
}

fn open(
    binary: &str,
    source_dir: &Path,
    manager: &DaemonManager,
) -> Result<AutoUpdater, auto_update::Error> {
    let updater = AutoUpdater::new(binary, source_dir)?;
    let is_automatic = manager.waits != Waits::Person;
    Ok(updater.profile(&manager.policy.profile).automatic(is_automatic))
}

/// What is compiled along when something is; one that is not to be found is nobody's to build.
fn company(manager: &DaemonManager, update: &AutoUpdate) -> Vec<AutoUpdater> {
    let others = update.together_with.iter();
    others.filter_map(|(name, source_dir)| open(name, source_dir, manager).ok()).collect()
}

pub(super) enum Say {
    Everything,
    Builds,
}

async fn built(
    manager: &DaemonManager,
    instance: &Instance,
    update: &AutoUpdate,
    how_much: Say,
) -> Result<Wanted, Error> {
    let unknown = |source| Error::AutoUpdate { binary: update.binary.clone(), source };
    let updater = match updater(manager, update) {
        Err(auto_update::Error::NoWorkspace { path }) if !find::is_installed() => {
            return Err(Error::NoSources { binary: update.binary.clone(), path });
        }
        // An installed release: there is nothing to be kept up with.
        Err(auto_update::Error::NoWorkspace { path }) => {
            say_off_once(update, &path);
            return as_it_is(manager, instance).map(Wanted::Binary);
        }
        found => found.map_err(unknown)?,
    };
    if matches!(how_much, Say::Everything) {
        lines::checking(&update.binary).emit();
    }
    // Nobody is served while nothing runs, so then the build may have the whole machine.
    let is_idle = manager.waits == Waits::Nobody && running::is_serving(instance);
    let updater = updater.idle_priority(is_idle);
    let (name, manager_too, update_too) = (update.binary.clone(), manager.clone(), update.clone());
    // The thread that builds narrates for whoever asked.
    let span = tracing::Span::current();
    let dispatch = tracing::dispatcher::get_default(Clone::clone);
    let work = tokio::task::spawn_blocking(move || {
        tracing::dispatcher::with_default(&dispatch, || {
            span.in_scope(|| {
                let root = updater.workspace_root().to_owned();
                let note = manager_too.first_build.as_deref();
                let narrate = |event| narrate::build_event(&name, &event, &how_much, note);
                let artifact = match updater.check() {
                    Ok(Freshness::Fresh(artifact)) => {
                        narrate(BuildEvent::Fresh);
                        Ok(artifact)
                    }
                    _ => {
                        let company = company(&manager_too, &update_too);
                        updater.together_with(company).ensure_built_with(narrate)
                    }
                };
                artifact.map(|artifact| Binary {
                    shown: relative(&artifact.target_path, Some(&root)),
                    exe: artifact.path,
                    exe_hash: artifact.hash.to_string(),
                    source_root: Some(root),
                    replaces_others: true,
                })
            })
        })
    });
    let outcome = match work.await {
        Ok(outcome) => outcome,
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    };
    match outcome {
        Ok(binary) => {
            trust(manager, instance, &binary);
            Ok(Wanted::Binary(binary))
        }
        Err(error @ auto_update::Error::BuildFailed { .. })
            if manager.policy.on_build_failure == OnBuildFailure::LastGood =>
        {
            note_in_log(manager, &error);
            Ok(Wanted::DoesNotBuild(error.to_string()))
        }
        Err(source @ auto_update::Error::BuildFailed { .. }) => {
            note_in_log(manager, &source);
            Err(Error::Build { binary: update.binary.clone(), source })
        }
        Err(source) => Err(unknown(source)),
    }
}

/// In the daemon's log: whoever asks why it is stale looks there, and nobody may have listened when
/// it was told.
fn note_in_log(manager: &DaemonManager, error: &auto_update::Error) {
    // One that is remembered has been noted when it was made.
    let auto_update::Error::BuildFailed { diagnostics, remembered: false, .. } = error else {
        return;
    };
    let noted = manager.log_path().map_err(io::Error::other).and_then(|log| {
        let binary = manager.binary_name();
        writeln!(
            logs::open(&log)?,
            "`{binary}` does not build, so what runs is stale\n{diagnostics}"
        )
    });
    if let Err(error) = noted {
        tracing::warn!(%error, "cannot note a build that failed");
    }
}

/// Whether there is something to build before the daemon could be started.
pub(super) async fn is_stale(manager: &DaemonManager) -> bool {
    let Some(update) = up_to_date(manager) else { return false };
    let Ok(updater) = updater(manager, update) else { return true };
    let checked = tokio::task::spawn_blocking(move || updater.check()).await;
    !matches!(checked, Ok(Ok(Freshness::Fresh(_))))
}

fn say_off_once(update: &AutoUpdate, path: &Path) {
    static SAID: Once = Once::new();
    SAID.call_once(|| {
        let name = &update.binary;
        let human = format!(
            "Not checking whether '{name}' needs a rebuild: there is no source tree at {}",
            path.display()
        );
        Narration::new(DAEMON_LIFECYCLE, "auto_update", human).about(name).emit();
    });
}

fn relative(path: &Path, root: Option<&Path>) -> String {
    let within = root.and_then(|root| path.strip_prefix(root).ok());
    within.unwrap_or(path).display().to_string()
}
