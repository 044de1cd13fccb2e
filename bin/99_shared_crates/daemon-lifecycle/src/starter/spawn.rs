use narration_core::Level;

use super::{
    binary::Binary,
    handle::{DaemonHandle, Outcome},
    lock,
    narrate::say,
    replace::replace,
    running::{self, Running},
    start::{start, start_or, stop_and_start},
    stop::end_all,
    update::{self, Wanted},
};
use crate::{
    Error, Identity, edge,
    instance::Instance,
    protocol::Hello,
    quarantine::Quarantined,
    spec::{Spec, Waits},
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

/// Makes sure that the daemon runs.
pub(crate) async fn spawn(spec: &Spec, again: Again) -> Result<DaemonHandle, Error> {
    // Boxed, so that a caller's future need not hold all of a hand-over.
    Box::pin(make_sure(spec, again)).await
}

async fn make_sure(spec: &Spec, again: Again) -> Result<DaemonHandle, Error> {
    let instance = spec.instance()?;
    instance.create()?;
    heal(spec, &instance).await;
    let mut binary = match update::wanted(spec, &instance).await {
        Ok(Wanted::Binary(binary)) => binary,
        Ok(Wanted::DoesNotBuild(error)) => return make_do(spec, &instance, error).await,
        Err(error @ Error::NoSources { .. }) => return without_sources(&instance, error).await,
        Err(error) => return Err(error),
    };
    let args_hash = spec.run.args_hash();
    if again == Again::No
        && let Some(hello) = running::answering(&instance).await
        && binary.is_run_by(&hello.identity, &args_hash)
    {
        return Ok(DaemonHandle::new(hello.identity, Outcome::Reused));
    }

    // Whoever holds the lock may be building for nobody.
    let hurry = update::hurry(&spec.update);
    let _lock = lock::lock(&instance).await?;
    drop(hurry);
    edge::passed("starter.locked");
    let found = running::find(&instance).await?;
    instance.remove_old_drafts();
    let hello = match found {
        Running::Nobody => {
            return start_best(spec, &instance, &binary, Outcome::Started).await;
        }
        Running::Silent(identity) => {
            say(
                "replace",
                Level::Warn,
                &spec.name(),
                format!(
                    "'{}' (process {}) is alive but does not answer: stopping it",
                    spec.name(),
                    identity.pid,
                ),
            );
            end_all(&instance).await?;
            let outcome = Outcome::Replaced { from: *identity };
            return start_best(spec, &instance, &binary, outcome).await;
        }
        Running::Answering(hello) => hello,
    };
    if !binary.is_run_by(&hello.identity, &args_hash) {
        // Whoever held the lock may have started what a later edit says.
        if let Some(later) = update::recheck(spec, &instance).await? {
            binary = later;
        }
    }
    let failed = instance.quarantined(&binary.exe_hash, &args_hash);
    match decide(&hello, &binary, &args_hash, failed, spec.update.takeover, again) {
        Decision::Reuse => Ok(DaemonHandle::new(hello.identity, Outcome::Reused)),
        Decision::Refuse => Err(Error::OtherTree {
            name: spec.name(),
            running: hello.identity.source_root.unwrap_or_default(),
            ours: binary.source_root.unwrap_or_default(),
        }),
        Decision::KeepBecause(failed) => {
            let why = goes_on_without(spec, failed);
            Ok(DaemonHandle::new(hello.identity, Outcome::RolledBack { why }))
        }
        Decision::HandOver => {
            announce(spec, &hello.identity, &binary);
            replace(spec, &instance, &binary, hello.identity).await
        }
        Decision::StopAndStart => {
            announce(spec, &hello.identity, &binary);
            stop_and_start(spec, &instance, &binary, hello.identity).await
        }
    }
}

/// Starts the binary, or where it has failed before the last one that served well. What could not even
/// be started is left alone for a while, unless a person waits for it.
async fn start_best(
    spec: &Spec,
    instance: &Instance,
    binary: &Binary,
    outcome: Outcome,
) -> Result<DaemonHandle, Error> {
    let good = || update::last_good(&spec.update, instance);
    let Some(failed) = instance.quarantined(&binary.exe_hash, &spec.run.args_hash()) else {
        return start_or(spec, instance, binary, outcome, good).await;
    };
    let is_another = |good: &Binary| !spec.update.no_other && good.exe_hash != binary.exe_hash;
    if let Some(good) = good().filter(is_another) {
        let why = goes_on_without(spec, failed);
        return start(spec, instance, &good, Outcome::RolledBack { why }).await;
    }
    let is_tried = spec.update.waits == Waits::Person || spec.update.insists;
    match failed.held_back().filter(|_| !is_tried) {
        Some(left) => Err(Error::HeldBack { name: spec.name(), why: failed.why, left }),
        None => start_or(spec, instance, binary, outcome, || None).await,
    }
}

/// Says that the binary before is used; returns why.
fn goes_on_without(spec: &Spec, failed: Quarantined) -> String {
    let until = failed
        .left()
        .map_or_else(|| "until it changes".to_owned(), |left| format!("for {} s", left.as_secs()));
    let (name, why) = (spec.name(), failed.why);
    say(
        "replace",
        Level::Warn,
        &spec.name(),
        format!(
            "'{name}' goes on from the binary before: the new one failed ({why}) and is not tried again \
             {until}"
        ),
    );
    why
}

/// Starts the last good binary of a daemon that has died, where there is something to build first:
/// those that it served wait for a start then, and for no build.
async fn heal(spec: &Spec, instance: &Instance) {
    let has_died = || instance.current().is_some_and(|current| !current.is_alive());
    if !has_died() || !update::is_stale(&spec.update).await {
        return;
    }
    let Ok(_lock) = lock::lock(instance).await else { return };
    if !has_died() || !matches!(running::find(instance).await, Ok(Running::Nobody)) {
        return;
    }
    let Some(binary) = update::last_good(&spec.update, instance) else { return };
    say(
        "heal",
        Level::Warn,
        &spec.name(),
        format!(
            "'{}' has died: starting the last binary that served well while the new one is built",
            spec.name(),
        ),
    );
    if let Err(error) = start(spec, instance, &binary, Outcome::Started).await {
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

fn decide(
    running: &Hello,
    wanted: &Binary,
    args_hash: &str,
    failed: Option<Quarantined>,
    takeover: bool,
    again: Again,
) -> Decision {
    let is_same = wanted.is_run_by(&running.identity, args_hash);
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

fn announce(spec: &Spec, running: &Identity, wanted: &Binary) {
    let name = spec.name();
    let pid = running.pid;
    let why = if running.exe_hash != wanted.exe_hash {
        "its binary changed"
    } else if running.args_hash != spec.run.args_hash() {
        "its arguments changed"
    } else {
        "as was asked for"
    };
    say(
        "replace",
        Level::Info,
        &spec.name(),
        format!("Replacing the running '{name}' (process {pid}): {why}"),
    );
}

/// The sources do not build and the policy is to go on with what there is.
async fn make_do(
    spec: &Spec,
    instance: &Instance,
    build_error: String,
) -> Result<DaemonHandle, Error> {
    let name = spec.name();
    let _lock = lock::lock(instance).await?;
    let outcome = Outcome::Stale { build_error: build_error.clone() };
    if let Running::Answering(hello) = running::find(instance).await? {
        say(
            "auto_update",
            Level::Warn,
            &spec.name(),
            format!(
                "'{name}' does not build: the running one (process {}) goes on, STALE",
                hello.identity.pid,
            ),
        );
        return Ok(DaemonHandle::new(hello.identity, outcome));
    }
    let Some(binary) = update::last_good(&spec.update, instance) else {
        return Err(Error::NoLastGood { binary: name, build_error });
    };
    say(
        "auto_update",
        Level::Warn,
        &spec.name(),
        format!("'{name}' does not build: starting the last binary that served well, STALE"),
    );
    start(spec, instance, &binary, outcome).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binary(exe_hash: &str) -> Binary {
        Binary {
            exe: "/x/d".into(),
            shown: "d".into(),
            exe_hash: exe_hash.into(),
            source_root: Some("/x".into()),
            replaces_others: true,
        }
    }

    #[test]
    fn a_daemon_of_another_protocol_hands_over_as_any_other() {
        for protocol in [0, 1, 2, 1_000_000] {
            let said = serde_json::json!({
                "protocol": protocol,
                "identity": Identity {
                    exe_hash: "old".into(),
                    source_root: Some("/x".into()),
                    ..Identity::default()
                },
                "state": "serving",
                "hands_over": true,
                "of_a_later_version": { "and": ["more"] },
            });
            let hello: Hello = serde_json::from_value(said).unwrap();
            let decided = decide(&hello, &binary("new"), "", None, false, Again::No);
            assert_eq!(decided, Decision::HandOver, "{protocol}");
        }
    }

    #[test]
    fn a_daemon_that_does_not_say_that_it_can_hand_over_is_stopped_and_started() {
        let said = serde_json::json!({
            "protocol": 1,
            "identity": Identity { exe_hash: "old".into(), ..Identity::default() },
            "state": "serving",
        });
        let hello: Hello = serde_json::from_value(said).unwrap();
        let decided = decide(&hello, &binary("new"), "", None, false, Again::No);
        assert_eq!(decided, Decision::StopAndStart);
    }
}
