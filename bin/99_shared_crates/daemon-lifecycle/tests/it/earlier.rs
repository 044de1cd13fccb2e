use std::time::Duration;

use daemon_lifecycle::{DaemonHandle, DaemonManager, StopMode};
use serde_json::json;

use crate::{
    http::{Client, chunk},
    world::{SOON, World, eventually},
};

fn old_world() -> (World, DaemonManager) {
    let world = World::new(json!({ "version": "old" }));
    let manager = world.manager().probation(Duration::from_millis(500));
    (world, manager)
}

/// What the newer one hears when it asks those before it.
async fn earlier(newer: &DaemonHandle, path: &str) -> String {
    Client::new(newer.address()).get(&format!("/earlier{path}")).await.unwrap().1
}

#[tokio::test]
async fn the_one_before_answers_for_as_long_as_it_drains() {
    let (world, manager) = old_world();
    let old = manager.spawn().await.unwrap();
    let mut kept = Client::new(old.address());
    kept.get("/who").await.unwrap();
    let mut stream = Client::new(old.address()).begin("/stream/100000/50").await.unwrap();
    chunk(&mut stream).await.unwrap().unwrap();
    world.install(json!({ "version": "new" }));
    let new = manager.spawn().await.unwrap();
    // In the probation too, though only when that is over.
    assert_eq!(earlier(&new, "/who").await, format!("old {}\n", old.id()));
    // From then on it closes whatever connection is quiet.
    kept.closed().await;
    for _ in 0..16 {
        assert_eq!(earlier(&new, "/who").await, format!("old {}\n", old.id()));
    }
    drop(stream);
    eventually("the old one ends", async || world.processes() == [new.id()]).await;
    assert_eq!(earlier(&new, "/who").await, "nobody\n");
    world.finish().await;
}

#[tokio::test]
async fn each_that_drains_is_seen_with_what_it_says_of_itself() {
    let (world, manager) = old_world();
    let first = manager.spawn().await.unwrap();
    let mut streams = Vec::new();
    let mut living = vec![first];
    for version in ["middle", "new"] {
        let serving = living.last().unwrap().address();
        let mut stream = Client::new(serving).begin("/stream/100000/50").await.unwrap();
        chunk(&mut stream).await.unwrap().unwrap();
        streams.push(stream);
        world.install(json!({ "version": version }));
        living.push(manager.spawn().await.unwrap());
    }
    let [first, middle, new] = &living[..] else { unreachable!("three were spawned") };
    let seen = async || Client::new(new.address()).get("/each-earlier/who").await.unwrap().1;
    let both = format!("{1}: middle {1}\n{0}: old {0}\n", first.id(), middle.id());
    eventually("both drain", async || seen().await == both).await;
    drop(streams);
    eventually("both end", async || seen().await.is_empty()).await;
    world.finish().await;
}

#[tokio::test]
async fn the_one_before_stays_for_work_that_no_connection_shows() {
    let (world, manager) = old_world();
    let old = manager.spawn().await.unwrap();
    Client::new(old.address()).get("/work").await.unwrap();
    world.install(json!({ "version": "new" }));
    let new = manager.spawn().await.unwrap();
    for _ in 0..16 {
        assert_eq!(earlier(&new, "/who").await, format!("old {}\n", old.id()));
    }
    assert_eq!(earlier(&new, "/work-done").await, format!("old {}\n", old.id()));
    eventually("the old one ends", async || world.processes() == [new.id()]).await;
    world.finish().await;
}

#[tokio::test]
async fn a_stop_does_not_wait_for_work_that_no_connection_shows() {
    let (world, manager) = old_world();
    let daemon = manager.spawn().await.unwrap();
    Client::new(daemon.address()).get("/work").await.unwrap();
    let stop = manager.stop(StopMode::Drain(100 * SOON));
    tokio::time::timeout(SOON, stop).await.expect("it ends at once").unwrap();
    world.finish().await;
}
