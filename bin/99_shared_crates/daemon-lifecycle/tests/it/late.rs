//! A daemon that comes to nothing for a while, and whose starter is killed as soon as it has started it.

use std::{fs, io::Write as _, os::fd::OwnedFd, time::Duration};

use daemon_lifecycle::{DaemonHandle, DaemonManager, Outcome, StopMode};
use rustix::process::Signal;
use serde_json::json;
use tokio::process::{Child, Command};

use crate::{
    http::who,
    world::{SOON, World, eventually, kill, kill_if_alive, signal_if_alive, together},
};

/// From its first instruction until it serves.
const STEPS: [&str; 5] =
    ["begun", "daemon.attached", "daemon.control-bound", "daemon.listening", "daemon.recorded"];

fn manager(world: &World) -> DaemonManager {
    world.manager().probation(Duration::from_millis(100))
}

/// A starter of it that dies behind the start, and the process that then hangs at `step`.
async fn left_alone(world: &World, manager: &DaemonManager) -> u32 {
    let before = world.processes();
    let mut starter = world.starter(manager, Some(("die_at", "starter.launched")));
    starter.wait().await.unwrap();
    eventually("it has got so far", async || world.is_hit("late")).await;
    let mut late = world.processes();
    late.retain(|pid| !before.contains(pid));
    assert_eq!(late.len(), 1);
    late[0]
}

/// The next one is started, and is the only one from then on; the world ends.
async fn is_left_to_the_next(world: World, late: u32, what: &str) {
    world.install(json!({ "version": "next" }));
    let next = manager(&world).spawn().await.unwrap();
    assert_stays_alone(&world, &next, late, what).await;
    world.finish().await;
}

/// Lets the late one go on, if it is there: the daemon of `next` is the only one afterwards.
async fn assert_stays_alone(world: &World, next: &DaemonHandle, late: u32, what: &str) {
    assert_eq!(who(next.address()).await, ("next".to_owned(), next.id()), "{what}");
    signal_if_alive(late, Signal::CONT);
    let left = format!("{what}: only {} is left", next.id());
    eventually(&left, async || world.processes() == [next.id()]).await;
    assert_eq!(who(next.address()).await, ("next".to_owned(), next.id()), "{what}");
    let running = manager(world).running().await.unwrap().unwrap();
    assert_eq!(running.pid, next.id(), "{what}");
    assert_eq!(manager(world).spawn().await.unwrap().id(), next.id(), "{what}");
}

#[tokio::test]
async fn a_first_one_does_not_serve_beside_the_next() {
    together(STEPS.into_iter().map(|step| async move {
        let world = World::new(json!({ "version": "late", "stop_at": step }));
        let late = left_alone(&world, &manager(&world)).await;
        is_left_to_the_next(world, late, step).await;
    }))
    .await;
}

#[tokio::test]
async fn a_first_one_that_goes_on_before_the_next_starter_looks_is_the_one() {
    let world = World::new(json!({ "version": "late", "stop_at": "begun" }));
    let manager = manager(&world);
    let late = left_alone(&world, &manager).await;
    let mut next = holds_the_lock(&world, &manager).await;
    kill(late, Signal::CONT);
    let serves = async || manager.running().await.unwrap().is_some_and(|one| one.pid == late);
    eventually("it serves", serves).await;
    kill(next.id().unwrap(), Signal::CONT);
    assert!(next.wait().await.unwrap().success());
    assert_eq!(world.processes(), [late]);
    assert_eq!(manager.spawn().await.unwrap().outcome(), &Outcome::Reused);
    world.finish().await;
}

/// Another starter, which hangs before it has looked who runs.
async fn holds_the_lock(world: &World, manager: &DaemonManager) -> Child {
    fs::remove_file(world.dir().join("hit-starter")).unwrap();
    let starter = world.starter(manager, Some(("stop_at", "starter.locked")));
    eventually("it has the lock", async || world.is_hit("starter")).await;
    starter
}

#[tokio::test]
async fn a_first_one_is_ended_by_a_stop() {
    together(STEPS.into_iter().map(|step| async move {
        let world = World::new(json!({ "version": "late", "stop_at": step }));
        let late = left_alone(&world, &manager(&world)).await;
        let stopped = manager(&world).stop(StopMode::Now).await.unwrap();
        assert_eq!(stopped.ended.iter().map(|one| one.pid).collect::<Vec<_>>(), [late], "{step}");
        assert_eq!(world.processes(), Vec::<u32>::new(), "{step}");
        world.finish().await;
    }))
    .await;
}

#[tokio::test]
async fn one_that_was_to_replace_another_does_not_stay_beside_the_next() {
    together(STEPS.into_iter().take(4).map(|step| async move {
        let world = World::new(json!({ "version": "old" }));
        manager(&world).spawn().await.unwrap();
        world.install(json!({ "version": "late", "stop_at": step }));
        let late = left_alone(&world, &manager(&world)).await;
        is_left_to_the_next(world, late, step).await;
    }))
    .await;
}

/// Nothing leads to it then but the kernel's word.
#[tokio::test]
async fn a_first_one_whose_files_are_removed_meanwhile_does_not_serve_beside_the_next() {
    together(STEPS.into_iter().map(|step| async move {
        let world = World::new(json!({ "version": "late", "stop_at": step }));
        let late = left_alone(&world, &manager(&world)).await;
        fs::remove_dir_all(world.run_dir()).unwrap();
        is_left_to_the_next(world, late, step).await;
    }))
    .await;
}

/// The starter is another task of a process that lives on.
#[tokio::test]
async fn a_first_one_whose_start_was_given_up_does_not_serve_beside_the_next() {
    together(STEPS.into_iter().map(|step| async move {
        let world = World::new(json!({ "version": "late", "stop_at": step }));
        let given_up = tokio::spawn({
            let manager = manager(&world);
            async move { manager.spawn().await }
        });
        eventually("it has got so far", async || world.is_hit("late")).await;
        let late = world.processes()[0];
        given_up.abort();
        assert!(given_up.await.unwrap_err().is_cancelled());
        world.install(json!({ "version": "next" }));
        let next = tokio::time::timeout(SOON, manager(&world).spawn()).await.unwrap().unwrap();
        assert_stays_alone(&world, &next, late, step).await;
        world.finish().await;
    }))
    .await;
}

/// As starters of earlier versions leave none, such as a daemon that has its own replacement started.
#[tokio::test]
async fn one_whose_starter_left_no_control_socket_binds_its_own() {
    let world = World::new(json!({}));
    let (mut ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let words = json!({ "attach": {
        "manager": manager(&world),
        "generation": 1,
        "args_hash": "",
        "source_root": null,
        "predecessor": null,
    } });
    writeln!(ours, "{words}").unwrap();
    let inode = rustix::fs::fstat(&theirs).unwrap().st_ino;
    let mut daemon = Command::new(world.binary())
        .args(["--listen", "127.0.0.1:0"])
        .env("DAEMON_LIFECYCLE_CHANNEL", inode.to_string())
        .env("FAKE_WORLD", world.dir())
        .stdin(OwnedFd::from(theirs))
        .spawn()
        .unwrap();
    let pid = daemon.id().unwrap();
    let serves =
        async || manager(&world).running().await.unwrap().is_some_and(|one| one.pid == pid);
    eventually("it is found", serves).await;
    manager(&world).stop(StopMode::Now).await.unwrap();
    assert!(daemon.wait().await.unwrap().success());
    world.finish().await;
}

#[tokio::test]
async fn one_that_dies_before_it_has_said_anything_leaves_nothing_in_the_way() {
    let world = World::new(json!({ "version": "late", "stop_at": "begun" }));
    let late = left_alone(&world, &manager(&world)).await;
    kill_if_alive(late);
    eventually("it is gone", async || world.processes().is_empty()).await;
    assert_eq!(manager(&world).running().await.unwrap(), None);
    let next = manager(&world).spawn().await.unwrap();
    assert_eq!(next.outcome(), &Outcome::Started);
    world.finish().await;
}

/// The next starter looks while the generation before has not said yet that it gives way.
#[tokio::test]
async fn one_that_was_told_to_take_over_by_a_starter_that_died_is_let_do_so() {
    let world = World::new(json!({ "version": "old", "stop_at": "old.lame-duck" }));
    let manager = manager(&world);
    let old = manager.spawn().await.unwrap();
    world.install(json!({ "version": "new" }));
    let mut starter = world.starter(&manager, Some(("die_at", "starter.take-said")));
    starter.wait().await.unwrap();
    eventually("the old one hangs", async || world.is_hit("old")).await;
    let mut next = world.starter(&manager, None);
    let looked = ("starter".to_owned(), "starter.one-decides".to_owned());
    eventually("it has looked", async || world.edges().contains(&looked)).await;
    kill(old.id(), Signal::CONT);
    assert!(next.wait().await.unwrap().success());
    let running = manager.spawn().await.unwrap();
    assert_eq!(running.outcome(), &Outcome::Reused);
    assert_eq!(who(running.address()).await, ("new".to_owned(), running.id()));
    eventually("the old one has ended", async || world.processes() == [running.id()]).await;
    world.finish().await;
}
