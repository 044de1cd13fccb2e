//! A second edit, and a third, before the first one has proven itself.

use std::time::Duration;

use daemon_lifecycle::{DaemonHandle, Outcome};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    http::{Asking, Client, chunk, who},
    paper::assert_transitions_are_drawn,
    world::{World, eventually, kill},
};

/// A world in which "good" has served and "unproven" is on probation, as `script` says.
async fn on_probation(script: Value) -> (World, DaemonHandle, DaemonHandle) {
    let world = World::new(json!({ "version": "good" }));
    let good = world.manager().spawn().await.unwrap();
    let unproven = next(&world, script).await;
    assert!(matches!(unproven.outcome(), Outcome::Replaced { .. }), "{unproven:?}");
    (world, good, unproven)
}

async fn next(world: &World, script: Value) -> DaemonHandle {
    world.install(script);
    world.manager().ready_timeout(Duration::from_secs(5)).spawn().await.unwrap()
}

/// Waits until nothing but the process `pid` is left, and shows that it serves and is recorded.
async fn only(world: World, pid: u32, version: &str) {
    let left = format!("only {version} is left");
    eventually(&left, async || world.processes() == [pid]).await;
    let mut address = String::new();
    eventually("it is recorded", async || {
        let running = world.manager().running().await.unwrap();
        running.is_some_and(|running| {
            address = running.address;
            running.pid == pid
        })
    })
    .await;
    assert_eq!(who(&address).await, (version.to_owned(), pid));
    assert_transitions_are_drawn(&world);
    world.finish().await;
}

#[tokio::test]
async fn a_next_one_that_cannot_start_does_not_end_the_probation() {
    for bad in [json!({ "exit_before_ready": 3 }), json!({ "die_when_ready": true })] {
        let late = json!({ "version": "unproven", "answer_500_after_serving_ms": 3000 });
        let (world, good, unproven) = on_probation(late).await;
        let kept = next(&world, bad).await;
        assert!(matches!(kept.outcome(), Outcome::RolledBack { .. }), "{kept:?}");
        assert!([good.id(), unproven.id()].contains(&kept.id()));
        only(world, good.id(), "good").await;
    }
}

#[tokio::test]
async fn when_the_next_one_fails_in_its_probation_the_last_good_one_resumes() {
    for bad in [
        json!({ "version": "bad", "die_after_serving_ms": 300 }),
        json!({ "version": "bad", "hang_after_serving_ms": 300 }),
        json!({ "version": "bad", "answer_500_after_serving_ms": 800 }),
    ] {
        let (world, good, _) = on_probation(json!({ "version": "unproven" })).await;
        let bad = next(&world, bad).await;
        assert!(matches!(bad.outcome(), Outcome::Replaced { .. }), "{bad:?}");
        only(world, good.id(), "good").await;
    }
}

#[tokio::test]
async fn the_last_good_one_stands_by_through_three_hand_overs() {
    let (world, good, unproven) = on_probation(json!({ "version": "unproven" })).await;
    let asking = Asking::begin(good.address().to_owned());
    for version in ["second", "third"] {
        let one = next(&world, json!({ "version": version })).await;
        assert_eq!(who(good.address()).await, (version.to_owned(), one.id()));
        let processes = world.processes();
        assert!(processes.contains(&good.id()), "it stands by");
        assert!(!processes.contains(&unproven.id()) || version == "second");
    }
    let seen = asking.end().await;
    assert_eq!((seen.refused, seen.lost), (Vec::new(), Vec::new()));
    let bad = next(&world, json!({ "version": "bad", "die_after_serving_ms": 100 })).await;
    assert_ne!(bad.id(), good.id());
    only(world, good.id(), "good").await;
}

#[tokio::test]
async fn only_what_stood_a_probation_of_its_own_is_remembered_as_good() {
    let world = World::new(json!({ "version": "good" }));
    let manager = || world.manager().probation(Duration::from_secs(2));
    manager().spawn().await.unwrap();
    let settled = |party: &str| (party.to_owned(), "daemon.recorded-as-good".to_owned());
    eventually("it is settled", async || world.edges().contains(&settled("good"))).await;
    world.install(json!({ "version": "unproven" }));
    manager().spawn().await.unwrap();
    world.install(json!({ "version": "newest" }));
    let newest = manager().spawn().await.unwrap();
    eventually("the newest is alone", async || world.processes() == [newest.id()]).await;
    eventually("it is settled", async || world.edges().contains(&settled("newest"))).await;
    assert!(!world.edges().contains(&settled("unproven")));
    world.finish().await;
}

#[tokio::test]
async fn one_that_makes_room_on_probation_finishes_its_streams() {
    let (world, good, unproven) = on_probation(json!({ "version": "unproven" })).await;
    let mut stream = Client::new(unproven.address()).begin("/stream/40/50").await.unwrap();
    assert!(chunk(&mut stream).await.unwrap().is_some());
    next(&world, json!({ "version": "newest" })).await;
    assert_eq!(who(good.address()).await.0, "newest");
    let mut last = String::new();
    while let Some(token) = chunk(&mut stream).await.unwrap() {
        last = token;
    }
    assert_eq!(last, "token 39\n");
    world.finish().await;
}

/// Whoever dies or hangs of three generations, one that did not serves.
#[tokio::test]
async fn each_of_three_generations_may_die_or_hang() {
    for signal in [Signal::KILL, Signal::STOP] {
        for victim in ["good", "unproven"] {
            let (world, good, unproven) = on_probation(json!({ "version": "unproven" })).await;
            let slow = json!({ "version": "newest", "ready_after_ms": 1000 });
            world.install(slow);
            let manager = world.manager();
            let starting = tokio::spawn(async move { manager.spawn().await });
            eventually("the newest starts", async || world.processes().len() == 3).await;
            kill(if victim == "good" { good.id() } else { unproven.id() }, signal);
            let what = format!("{signal:?} of {victim}");
            let newest = starting.await.unwrap().unwrap_or_else(|error| panic!("{what}: {error}"));
            let serving = world.manager().spawn().await.unwrap();
            assert_eq!(who(good.address()).await.1, serving.id(), "{what}");
            assert_eq!(newest.id(), serving.id(), "{what}: {newest:?}");
            let old = if victim == "good" { good } else { unproven };
            eventually(&what, async || !world.processes().contains(&old.id())).await;
            world.finish().await;
        }
    }
}

#[tokio::test]
async fn the_newest_may_die_at_each_step_of_a_second_hand_over() {
    for at in [
        "daemon.listening",
        "new.prepared-heard",
        "new.take-heard",
        "new.yours-heard",
        "new.accepting",
        "new.accepting-said",
    ] {
        let (world, good, unproven) = on_probation(json!({ "version": "unproven" })).await;
        next(&world, json!({ "version": "newest", "die_at": at })).await;
        eventually(at, async || world.is_hit("newest")).await;
        // Only one of the others serves, whichever had not made room yet.
        eventually("one answers", async || {
            let running = world.manager().running().await.unwrap();
            running.is_some_and(|one| [good.id(), unproven.id()].contains(&one.pid))
        })
        .await;
        let served = who(good.address()).await;
        assert!(["good", "unproven"].contains(&&*served.0), "{at}: {served:?}");
        for _ in 0..5 {
            assert_eq!(who(good.address()).await, served, "{at}: one generation accepts");
        }
        assert_transitions_are_drawn(&world);
        world.finish().await;
    }
}

#[tokio::test]
async fn the_others_may_die_or_hang_at_each_step_of_a_second_hand_over() {
    for fault in ["die_at", "stop_at"] {
        for (party, at) in [
            ("good", "old.hand-on-prepared"),
            ("good", "old.handing-on"),
            ("good", "old.retired-heard"),
            ("unproven", "new.retired"),
            ("unproven", "new.retired-said"),
        ] {
            let what = format!("{party}: {fault} {at}");
            let script = |version: &str| {
                let mut script = json!({ "version": version });
                if version == party {
                    script[fault] = json!(at);
                }
                script
            };
            let world = World::new(script("good"));
            let good = world.manager().spawn().await.unwrap();
            world.install(script("unproven"));
            world.manager().spawn().await.unwrap();
            world.install(script("newest"));
            let manager = world.manager();
            let starting = tokio::spawn(async move { manager.spawn().await });
            eventually(&what, async || world.is_hit(party)).await;
            drop(starting.await.unwrap());
            let serving = world.manager().spawn().await.unwrap();
            for _ in 0..5 {
                assert_eq!(who(serving.address()).await.1, serving.id(), "{what}");
            }
            assert_eq!(serving.address(), good.address(), "{what}");
            assert_transitions_are_drawn(&world);
            world.finish().await;
        }
    }
}
