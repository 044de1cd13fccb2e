use narration_core::{
    Level, Narration,
    lines::{self, DAEMON_LIFECYCLE},
};

use super::{
    handle::{DaemonHandle, Outcome},
    launch::launch,
    lock,
    replace::replace,
    running::{self, Running},
    stop::{end_all, end_dead, make_room},
    update::{self, Binary, Wanted},
};
use crate::{
    DaemonManager, Error, Identity, edge, identity::hash_args, instance::Instance, protocol::Hello,
    quarantine::Quarantined,
};

/// What is to be done about a daemon that answers.
#[derive(Debug, PartialEq, Eq)]
enum Decision {
    Reuse,
    /// It comes from another source tree.
    Refuse,
    /// The binary that should run has failed before.
    KeepBecause(Quarantined),
    HandOver,
    /// It has nothing that could be handed over.
    StopAndStart,
}

/// Whether a daemon that is as it should be is replaced all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Again {
    Yes,
    No,
}

pub(crate) async fn spawn(manager: &DaemonManager, again: Again) -> Result<DaemonHandle, Error> {
    let instance = manager.instance_dir()?;
    instance.create()?;
    heal(manager, &instance).await;
    let mut binary = match update::wanted(manager, &instance).await {
        Ok(Wanted::Binary(binary)) => binary,
        Ok(Wanted::DoesNotBuild(error)) => return make_do(manager, &instance, error).await,
        Err(error @ Error::NoSources { .. }) => return without_sources(&instance, error).await,
        Err(error) => return Err(error),
    };
    let args_hash = hash_args(&manager.args);
    if again == Again::No
        && let Some(hello) = running::answering(&instance).await
        && is_same(&hello.identity, &binary, &args_hash)
    {
        return Ok(DaemonHandle::new(hello.identity, Outcome::Reused));
    }

    // Whoever holds the lock may be building for nobody.
    let hurry = update::hurry(manager);
    let _lock = lock::lock(&instance).await?;
    drop(hurry);
    edge::passed("starter.locked");
    let found = running::find(&instance).await;
    instance.remove_old_drafts();
    let hello = match found {
        Running::Nobody => {
            return start_best(manager, &instance, &binary, Outcome::Started).await;
        }
        Running::Silent(identity) => {
            say(
                "replace",
                Level::Warn,
                manager,
                format!(
                    "'{}' (process {}) is alive but does not answer: stopping it",
                    manager.binary_name(),
                    identity.pid,
                ),
            );
            end_all(&instance).await?;
            let outcome = Outcome::Replaced { from: *identity };
            return start_best(manager, &instance, &binary, outcome).await;
        }
        Running::Answering(hello) => hello,
    };
    if !is_same(&hello.identity, &binary, &args_hash) {
        // Whoever held the lock may have started what a later edit says.
        if let Some(later) = update::recheck(manager, &instance).await? {
            binary = later;
        }
    }
    let failed = instance.quarantined(&binary.exe_hash, &args_hash);
    match decide(&hello, &binary, &args_hash, failed, manager.takeover, again) {
        Decision::Reuse => Ok(DaemonHandle::new(hello.identity, Outcome::Reused)),
        Decision::Refuse => Err(Error::OtherTree {
            name: manager.binary_name(),
            running: hello.identity.source_root.unwrap_or_default(),
            ours: binary.source_root.unwrap_or_default(),
        }),
        Decision::KeepBecause(failed) => {
            let why = goes_on_without(manager, failed);
            Ok(DaemonHandle::new(hello.identity, Outcome::RolledBack { why }))
        }
        Decision::HandOver => {
            announce(manager, &hello.identity, &binary);
            replace(manager, &instance, &binary, hello.identity).await
        }
        Decision::StopAndStart => {
            announce(manager, &hello.identity, &binary);
            stop_and_start(manager, &instance, &binary, hello.identity).await
        }
    }
}

/// Starts the binary, or where it has failed before the last one that served well.
async fn start_best(
    manager: &DaemonManager,
    instance: &Instance,
    binary: &Binary,
    outcome: Outcome,
) -> Result<DaemonHandle, Error> {
    let failed = instance.quarantined(&binary.exe_hash, &hash_args(&manager.args));
    let good = || update::last_good(manager, instance);
    match failed.and_then(|failed| Some((failed, good()?))) {
        Some((failed, good)) if good.exe_hash != binary.exe_hash => {
            let why = goes_on_without(manager, failed);
            start(manager, instance, &good, Outcome::RolledBack { why }).await
        }
        _ => start(manager, instance, binary, outcome).await,
    }
}

/// Says that the binary before is used; returns why.
fn goes_on_without(manager: &DaemonManager, failed: Quarantined) -> String {
    let until = failed
        .left()
        .map_or_else(|| "until it changes".to_owned(), |left| format!("for {} s", left.as_secs()));
    let (name, why) = (manager.binary_name(), failed.why);
    say(
        "replace",
        Level::Warn,
        manager,
        format!(
            "'{name}' goes on from the binary before: the new one failed ({why}) and is not tried again \
             {until}"
        ),
    );
    why
}

/// Starts the last good binary of a daemon that has died, where there is something to build first:
/// those that it served wait for a start then, and for no build.
async fn heal(manager: &DaemonManager, instance: &Instance) {
    let has_died = || instance.current().is_some_and(|current| !current.is_alive());
    if !has_died() || !update::is_stale(manager).await {
        return;
    }
    let Ok(_lock) = lock::lock(instance).await else { return };
    if !has_died() || !matches!(running::find(instance).await, Running::Nobody) {
        return;
    }
    let Some(binary) = update::last_good(manager, instance) else { return };
    say(
        "heal",
        Level::Warn,
        manager,
        format!(
            "'{}' has died: starting the last binary that served well while the new one is built",
            manager.binary_name(),
        ),
    );
    if let Err(error) = start(manager, instance, &binary, Outcome::Started).await {
        let error: &dyn std::error::Error = &error;
        tracing::warn!(error, "cannot start the last good binary");
    }
}

/// The source tree was moved or deleted: what runs stays.
async fn without_sources(instance: &Instance, error: Error) -> Result<DaemonHandle, Error> {
    match running::answering(instance).await {
        Some(hello) => {
            let build_error = error.to_string();
            Ok(DaemonHandle::new(hello.identity, Outcome::Stale { build_error }))
        }
        None => Err(error),
    }
}

/// Replaces a daemon that cannot hand over: it finishes what it has begun, while the next one serves
/// already.
pub(super) async fn stop_and_start(
    manager: &DaemonManager,
    instance: &Instance,
    binary: &Binary,
    from: Identity,
) -> Result<DaemonHandle, Error> {
    make_room(instance, &from, manager.drain_timeout).await?;
    start(manager, instance, binary, Outcome::Replaced { from }).await
}

fn decide(
    running: &Hello,
    wanted: &Binary,
    args_hash: &str,
    failed: Option<Quarantined>,
    takeover: bool,
    again: Again,
) -> Decision {
    let is_same = is_same(&running.identity, wanted, args_hash);
    if is_same && again == Again::No {
        return Decision::Reuse;
    }
    let is_other_tree = match (&running.identity.source_root, &wanted.source_root) {
        (Some(running), Some(wanted)) => running != wanted,
        _ => false,
    };
    match failed {
        _ if is_other_tree && !takeover => Decision::Refuse,
        // What serves has shown what it is worth.
        Some(failed) if !is_same => Decision::KeepBecause(failed),
        // Whatever else the two say to each other: the hand-over has been the same from the first
        // version on, and what was added to it is optional.
        _ if running.hands_over => Decision::HandOver,
        _ => Decision::StopAndStart,
    }
}

fn is_same(running: &Identity, wanted: &Binary, args_hash: &str) -> bool {
    let same_binary = running.exe_hash == wanted.exe_hash || !wanted.replaces_others;
    same_binary && running.args_hash == args_hash
}

fn announce(manager: &DaemonManager, running: &Identity, wanted: &Binary) {
    let name = manager.binary_name();
    let pid = running.pid;
    let why = if running.exe_hash != wanted.exe_hash {
        "its binary changed"
    } else if running.args_hash != hash_args(&manager.args) {
        "its arguments changed"
    } else {
        "as was asked for"
    };
    say(
        "replace",
        Level::Info,
        manager,
        format!("Replacing the running '{name}' (process {pid}): {why}"),
    );
}

/// Starts a daemon where none serves, with the lock held.
async fn start(
    manager: &DaemonManager,
    instance: &Instance,
    binary: &Binary,
    outcome: Outcome,
) -> Result<DaemonHandle, Error> {
    // A generation that died may have left children, which hold devices and memory.
    if let Some(dead) = instance.current().filter(|current| !current.is_alive()) {
        end_dead(instance, &dead).await?;
    }
    lines::spawning(&binary.shown, &manager.args).emit();
    let generation = instance.next_generation();
    let mut launched = launch(manager, binary, generation, None)?;
    let identity = launched.serves(manager, instance).await?;
    instance.release(&binary.exe_hash, &identity.args_hash);
    edge::passed("starter.released");
    Ok(DaemonHandle::new(identity, outcome))
}

/// The sources do not build and the policy is to go on with what there is.
async fn make_do(
    manager: &DaemonManager,
    instance: &Instance,
    build_error: String,
) -> Result<DaemonHandle, Error> {
    let name = manager.binary_name();
    let _lock = lock::lock(instance).await?;
    let outcome = Outcome::Stale { build_error: build_error.clone() };
    if let Running::Answering(hello) = running::find(instance).await {
        say(
            "auto_update",
            Level::Warn,
            manager,
            format!(
                "'{name}' does not build: the running one (process {}) goes on, STALE",
                hello.identity.pid,
            ),
        );
        return Ok(DaemonHandle::new(hello.identity, outcome));
    }
    let Some(binary) = update::last_good(manager, instance) else {
        return Err(Error::NoLastGood { binary: name, build_error });
    };
    say(
        "auto_update",
        Level::Warn,
        manager,
        format!("'{name}' does not build: starting the last binary that served well, STALE"),
    );
    start(manager, instance, &binary, outcome).await
}

pub(super) fn say(action: &str, level: Level, manager: &DaemonManager, human: String) {
    let about = manager.binary_name();
    Narration::new(DAEMON_LIFECYCLE, action, human).level(level).about(about).emit();
}
