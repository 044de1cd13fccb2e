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

use super::{
    binary::{Binary, BinaryFile},
    find,
    narrate::{self, Say},
    remembered::{known_hash, trust, trusted},
    running,
};
use crate::{
    Error, Identity,
    identity::hash_file,
    instance::{GOOD_FILE, Good, Instance},
    logs,
    spec::{OnBuildFailure, Sources, Spec, Update, Waits},
};

pub(crate) enum Wanted {
    Binary(Binary),
    /// With the compiler's message. Only where the policy is to go on without.
    DoesNotBuild(String),
}

/// The binary that the sources say should run, built if need be; or the one there is, where it is
/// not kept up to date.
pub(crate) async fn wanted(spec: &Spec, instance: &Instance) -> Result<Wanted, Error> {
    match spec.update.followed() {
        None => as_it_is(spec, instance).map(Wanted::Binary),
        Some(sources) => {
            if let Some(binary) = trusted(&spec.update.policy, instance) {
                return Ok(Wanted::Binary(binary));
            }
            built(spec, instance, sources, Say::Everything).await
        }
    }
}

/// The binary that would be started now, built if need be.
pub(crate) async fn binary(spec: &Spec) -> Result<BinaryFile, Error> {
    let instance = spec.instance()?;
    instance.create()?;
    let binary = match wanted(spec, &instance).await? {
        Wanted::Binary(binary) => binary,
        Wanted::DoesNotBuild(build_error) => last_good(&spec.update, &instance)
            .ok_or_else(|| Error::NoLastGood { binary: spec.name(), build_error })?,
    };
    Ok(BinaryFile { path: binary.exe, hash: binary.exe_hash })
}

/// The same where nothing has to be built for it.
pub(crate) async fn fresh_binary(spec: &Spec) -> Option<BinaryFile> {
    let instance = spec.instance().ok()?;
    let Some(sources) = spec.update.followed() else {
        let binary = as_it_is(spec, &instance).ok()?;
        return Some(BinaryFile { path: binary.exe, hash: binary.exe_hash });
    };
    let updater = updater(&spec.update, sources).ok()?;
    let checked = tokio::task::spawn_blocking(move || updater.check()).await;
    match checked {
        Ok(Ok(Freshness::Fresh(artifact))) => {
            Some(BinaryFile { path: artifact.path, hash: artifact.hash.to_string() })
        }
        _ => None,
    }
}

/// Makes haste with what is being built for nobody, if somebody waits.
pub(crate) fn hurry(update: &Update) -> Option<Hurry> {
    let sources = update.followed().filter(|_| update.waits != Waits::Nobody)?;
    updater(update, sources).and_then(|updater| updater.hurry()).ok()
}

/// The same again for one that has waited since; silent unless something has changed. `None` when
/// there is nothing to say that was not known.
pub(super) async fn recheck(spec: &Spec, instance: &Instance) -> Result<Option<Binary>, Error> {
    let Some(sources) = spec.update.followed() else { return Ok(None) };
    match built(spec, instance, sources, Say::Builds).await? {
        Wanted::Binary(binary) => Ok(Some(binary)),
        Wanted::DoesNotBuild(_) => Ok(None),
    }
}

/// See [`crate::DaemonManager::is_current`].
pub(crate) async fn is_current(spec: &Spec, running: &Identity) -> bool {
    if running.args_hash != spec.run.args_hash() || !running.is_alive() {
        return false;
    }
    let Ok(instance) = spec.instance() else { return false };
    let Some(sources) = spec.update.followed() else {
        return spec.update.sources.is_some() || is_as_installed(spec, instance, running).await;
    };
    if let Some(binary) = trusted(&spec.update.policy, &instance) {
        return binary.exe_hash == running.exe_hash;
    }
    let Ok(updater) = updater(&spec.update, sources) else { return false };
    let checked = tokio::task::spawn_blocking(move || updater.check()).await;
    match checked {
        Ok(Ok(Freshness::Fresh(artifact))) => artifact.hash.to_string() == running.exe_hash,
        _ => false,
    }
}

/// Whether the file at the given path is the one that runs. One that was removed is no better.
async fn is_as_installed(spec: &Spec, instance: Instance, running: &Identity) -> bool {
    let spec = spec.clone();
    // Another file is read whole.
    let found = tokio::task::spawn_blocking(move || as_it_is(&spec, &instance)).await;
    found.is_ok_and(|found| found.map_or(true, |binary| binary.exe_hash == running.exe_hash))
}

/// The last binary that stood its probation; where none has, the last that was built.
pub(super) fn last_good(update: &Update, instance: &Instance) -> Option<Binary> {
    let sources = update.sources.as_ref();
    let updater = sources.and_then(|sources| updater(update, sources).ok());
    let served = instance
        .load(GOOD_FILE)
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
fn source_root(update: &Update) -> Option<PathBuf> {
    let updater = updater(update, update.sources.as_ref()?).ok()?;
    Some(updater.workspace_root().to_owned())
}

/// The binary at the given path, whatever its sources say.
fn as_it_is(spec: &Spec, instance: &Instance) -> Result<Binary, Error> {
    let exe = std::path::absolute(&spec.run.binary_path)
        .map_err(|source| Error::io("resolve", &spec.run.binary_path, source))?;
    if !exe.is_file() {
        return Err(Error::BinaryNotFound { name: spec.name(), looked: vec![exe] });
    }
    let source_root = source_root(&spec.update);
    let shown = relative(&exe, source_root.as_deref());
    // A link may lead elsewhere by the time that this binary is wanted again.
    let exe = exe.canonicalize().map_err(|source| Error::io("resolve", &exe, source))?;
    let exe_hash = known_hash(&exe, instance).map_err(|source| Error::io("read", &exe, source))?;
    let replaces_others = spec.update.sources.is_none();
    Ok(Binary { exe, exe_hash, shown, source_root, replaces_others })
}

/// What the daemon needs of this process's environment to judge and build as this one does.
pub(super) fn build_environment(update: &Update) -> Vec<(OsString, OsString)> {
    let Some(sources) = &update.sources else { return Vec::new() };
    let found = updater(update, sources).and_then(|updater| updater.child_environment());
    found.unwrap_or_else(|error| {
        tracing::debug!(%error, "no build environment to pass on");
        Vec::new()
    })
}

/// For a daemon that looks after itself: it has just seen that it is stale, whatever was trusted.
pub(crate) fn unhurried(mut spec: Spec) -> Spec {
    spec.update.policy.check_interval = Duration::ZERO;
    spec.update.waits = Waits::Nobody;
    spec
}

/// `None` where the binary is not kept up to date.
pub(crate) fn updater_of(update: &Update) -> Option<AutoUpdater> {
    match updater(update, update.followed()?) {
        Ok(updater) => Some(updater),
        Err(error) => {
            tracing::warn!(%error, "not kept up to date");
            None
        }
    }
}

fn updater(update: &Update, sources: &Sources) -> Result<AutoUpdater, auto_update::Error> {
    open(&sources.binary, &sources.source_dir, update)
}

fn open(
    binary: &str,
    source_dir: &Path,
    update: &Update,
) -> Result<AutoUpdater, auto_update::Error> {
    let updater = AutoUpdater::new(binary, source_dir)?;
    let is_automatic = update.waits != Waits::Person;
    Ok(updater.profile(&update.policy.profile).automatic(is_automatic))
}

/// What is compiled along when something is; one that is not to be found is nobody's to build.
fn also_built(update: &Update, sources: &Sources) -> Vec<AutoUpdater> {
    let others = sources.together_with.iter();
    others.filter_map(|(name, source_dir)| open(name, source_dir, update).ok()).collect()
}

async fn built(
    spec: &Spec,
    instance: &Instance,
    sources: &Sources,
    how_much: Say,
) -> Result<Wanted, Error> {
    let unknown = |source| Error::AutoUpdate { binary: sources.binary.clone(), source };
    let updater = match updater(&spec.update, sources) {
        Err(auto_update::Error::NoWorkspace { path }) if !find::is_installed() => {
            return Err(Error::NoSources { binary: sources.binary.clone(), path });
        }
        // An installed release: there is nothing to be kept up with.
        Err(auto_update::Error::NoWorkspace { path }) => {
            say_off_once(&sources.binary, &path);
            return as_it_is(spec, instance).map(Wanted::Binary);
        }
        found => found.map_err(unknown)?,
    };
    if matches!(how_much, Say::Everything) {
        lines::checking(&sources.binary).emit();
    }
    // Nobody is served while nothing runs, so then the build may have the whole machine.
    let is_idle = spec.update.waits == Waits::Nobody && running::is_serving(instance);
    let updater = updater.idle_priority(is_idle);
    let (update_too, sources_too) = (spec.update.clone(), sources.clone());
    // The thread that builds narrates for whoever asked.
    let span = tracing::Span::current();
    let dispatch = tracing::dispatcher::get_default(Clone::clone);
    let work = tokio::task::spawn_blocking(move || {
        tracing::dispatcher::with_default(&dispatch, || {
            span.in_scope(|| {
                let root = updater.workspace_root().to_owned();
                let slow = update_too.slow_package.as_ref();
                let narrate =
                    |event| narrate::build_event(&sources_too.binary, &event, &how_much, slow);
                let artifact = match updater.check() {
                    Ok(Freshness::Fresh(artifact)) => {
                        narrate(BuildEvent::Fresh);
                        Ok(artifact)
                    }
                    _ => {
                        let also_built = also_built(&update_too, &sources_too);
                        updater.together_with(also_built).ensure_built_with(narrate)
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
            trust(&spec.update.policy, instance, &binary);
            Ok(Wanted::Binary(binary))
        }
        Err(error @ auto_update::Error::BuildFailed { .. })
            if spec.update.policy.on_build_failure == OnBuildFailure::LastGood =>
        {
            note_in_log(spec, &error);
            Ok(Wanted::DoesNotBuild(error.to_string()))
        }
        Err(source @ auto_update::Error::BuildFailed { .. }) => {
            note_in_log(spec, &source);
            Err(Error::Build { binary: sources.binary.clone(), source })
        }
        Err(source) => Err(unknown(source)),
    }
}

/// In the daemon's log: whoever asks why it is stale looks there, and nobody may have listened when
/// it was told.
fn note_in_log(spec: &Spec, error: &auto_update::Error) {
    // One that is remembered has been noted when it was made.
    let auto_update::Error::BuildFailed { diagnostics, remembered: false, .. } = error else {
        return;
    };
    let noted = spec.log_path().map_err(io::Error::other).and_then(|log| {
        let binary = spec.name();
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
pub(super) async fn is_stale(update: &Update) -> bool {
    let Some(sources) = update.followed() else { return false };
    let Ok(updater) = updater(update, sources) else { return true };
    let checked = tokio::task::spawn_blocking(move || updater.check()).await;
    !matches!(checked, Ok(Ok(Freshness::Fresh(_))))
}

fn say_off_once(name: &str, path: &Path) {
    static SAID: Once = Once::new();
    SAID.call_once(|| {
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
