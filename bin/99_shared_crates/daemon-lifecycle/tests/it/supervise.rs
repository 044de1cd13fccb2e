use std::time::Duration;

use daemon_lifecycle::{RestartPolicy, StopMode, Supervised, Supervisor};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::world::{SOON, World};

fn quick() -> RestartPolicy {
    let (min_delay, max_delay) = (Duration::from_millis(10), Duration::from_millis(50));
    RestartPolicy { min_delay, max_delay, ..RestartPolicy::default() }
}

/// Waits for a status that is wanted.
async fn until(supervisor: &Supervisor, wanted: impl Fn(&Supervised) -> bool) -> Supervised {
    let mut status = supervisor.status();
    let found = tokio::time::timeout(SOON, status.wait_for(wanted)).await;
    found.expect("not in time").unwrap().clone()
}

async fn running(supervisor: &Supervisor, not: u32) -> u32 {
    let wanted = |s: &Supervised| matches!(s, Supervised::Running(one) if one.pid != not);
    match until(supervisor, wanted).await {
        Supervised::Running(identity) => identity.pid,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_supervised_daemon_that_is_killed_is_started_again() {
    let world = World::new(json!({}));
    let supervisor = world.manager().supervise(quick());
    let first = running(&supervisor, 0).await;
    kill_process(Pid::from_raw(first.cast_signed()).unwrap(), Signal::KILL).unwrap();
    let second = running(&supervisor, first).await;
    assert_eq!(world.processes(), [second]);
    drop(supervisor);
    world.finish().await;
}

#[tokio::test]
async fn a_supervised_daemon_that_is_stopped_stays_stopped() {
    let world = World::new(json!({}));
    let supervisor = world.manager().supervise(quick());
    running(&supervisor, 0).await;
    world.manager().stop(StopMode::Now).await.unwrap();
    until(&supervisor, |status| *status == Supervised::Stopped).await;
    world.finish().await;
}

#[tokio::test]
async fn a_replacement_is_followed_and_counts_as_no_failure() {
    let world = World::new(json!({ "version": "1" }));
    let supervisor = world.manager().supervise(quick());
    let mut pid = running(&supervisor, 0).await;
    for version in 2..10 {
        world.install(json!({ "version": version.to_string() }));
        let manager = world.manager().probation(Duration::ZERO);
        let next = manager.spawn().await.unwrap();
        assert_ne!(next.id(), pid);
        pid = running(&supervisor, pid).await;
        assert_eq!(pid, next.id());
    }
    drop(supervisor);
    world.finish().await;
}

#[tokio::test]
async fn a_daemon_that_fails_again_and_again_is_given_up_with_its_reason() {
    let world = World::new(json!({ "exit_before_ready": 3 }));
    let supervisor = world.manager().supervise(quick());
    let failed = until(&supervisor, |status| matches!(status, Supervised::Failed { .. })).await;
    let Supervised::Failed { why } = failed else { unreachable!() };
    assert!(why.contains("exit status: 3"), "{why}");
    let log = std::fs::read_to_string(world.dir().join("log/fake.log")).unwrap();
    assert_eq!(log.matches("fake-daemon").count(), quick().max_failures);
    world.finish().await;
}
