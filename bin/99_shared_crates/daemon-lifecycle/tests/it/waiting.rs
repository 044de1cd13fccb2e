//! Nobody waits behind a lock for what another process takes its time over.

use std::time::Duration;

use daemon_lifecycle::{Error, Outcome, RestartPolicy, StopMode, Supervised};
use rustix::process::Signal;
use serde_json::json;

use crate::{
    http::{Asking, Client, chunk, who},
    world::{SOON, World, eventually, kill},
};

const LONG: StopMode = StopMode::Drain(Duration::from_secs(600));

/// A world whose daemon is told to stop and still streams, with what waits for its end.
macro_rules! draining {
    ($world:ident, $daemon:ident, $stream:ident, $stopping:ident) => {
        let $world = World::new(json!({ "version": "1" }));
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let args = ["--listen", &port.to_string()];
        let $daemon = $world.manager_with(&args).spawn().await.unwrap();
        let mut $stream = Client::new($daemon.address()).begin("/stream/100000/50").await.unwrap();
        assert!(chunk(&mut $stream).await.unwrap().is_some());
        let manager = $world.manager_with(&args);
        let $stopping = tokio::spawn(async move { manager.stop(LONG).await });
        eventually("it accepts nothing", async || {
            tokio::net::TcpStream::connect($daemon.address()).await.is_err()
        })
        .await;
    };
}

#[tokio::test]
async fn a_stop_now_brings_a_stop_that_waits_to_its_end() {
    draining!(world, daemon, stream, stopping);
    let stopped = world.manager().stop(StopMode::Now).await.unwrap();
    assert_eq!(stopped.ended, [daemon.identity().clone()]);
    let waited = tokio::time::timeout(SOON, stopping).await.unwrap().unwrap().unwrap();
    assert_eq!(waited.ended, stopped.ended);
    let mut last = String::new();
    while let Some(token) = chunk(&mut stream).await.unwrap() {
        last = token;
    }
    assert_eq!(last, "hand-off\n");
    world.finish().await;
}

#[tokio::test]
async fn while_a_stop_waits_for_a_stream_the_daemon_is_started_anew_and_left_alone() {
    draining!(world, daemon, stream, stopping);
    let address = daemon.address().to_owned();
    let manager = world.manager_with(&["--listen", &address]);
    let next = tokio::time::timeout(SOON, manager.spawn()).await.unwrap().unwrap();
    assert_eq!(next.outcome(), &Outcome::Started);
    assert_eq!(who(&address).await.1, next.id());
    assert!(chunk(&mut stream).await.unwrap().is_some(), "and the stream goes on");
    drop(stream);
    let stopped = tokio::time::timeout(SOON, stopping).await.unwrap().unwrap().unwrap();
    assert_eq!(stopped.ended, [daemon.identity().clone()]);
    assert_eq!(world.processes(), [next.id()]);
    assert_eq!(world.manager().running().await.unwrap().unwrap().pid, next.id());
    world.finish().await;
}

#[tokio::test]
async fn a_daemon_that_cannot_hand_over_finishes_its_streams_beside_the_next_one() {
    let world = World::new(json!({ "version": "old", "binds_itself": true }));
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let manager = world.manager_with(&["--listen", &port.to_string()]);
    let old = manager.spawn().await.unwrap();
    let mut stream = Client::new(old.address()).begin("/stream/80/50").await.unwrap();
    assert!(chunk(&mut stream).await.unwrap().is_some());
    world.install(json!({ "version": "new" }));
    let new = manager.spawn().await.unwrap();
    assert_eq!(new.outcome(), &Outcome::Replaced { from: old.identity().clone() });
    assert_eq!(who(old.address()).await, ("new".to_owned(), new.id()));
    assert!(world.processes().contains(&old.id()), "it still streams");
    let mut last = String::new();
    while let Some(token) = chunk(&mut stream).await.unwrap() {
        last = token;
    }
    assert_eq!(last, "token 79\n");
    world.finish().await;
}

/// What nobody waits for in these tests.
const NEVER_READY: u64 = 600_000;

/// Whether a daemon without a version answers who it is.
fn is_attached(world: &World) -> bool {
    world.edges().contains(&(String::new(), "daemon.control-bound".to_owned()))
}

#[tokio::test]
async fn a_stop_ends_a_start_that_takes_its_time() {
    for starts_in in ["this process", "another process"] {
        let world = World::new(json!({ "ready_after_ms": NEVER_READY }));
        let manager = world.manager().ready_timeout(Duration::from_secs(600));
        let (here, elsewhere) = match starts_in {
            "this process" => {
                let manager = manager.clone();
                (Some(tokio::spawn(async move { manager.spawn().await })), None)
            }
            _ => (None, Some(world.starter(&manager, None))),
        };
        eventually("it starts", async || is_attached(&world)).await;
        let pid = world.processes()[0];
        let stopped = tokio::time::timeout(SOON, manager.stop(StopMode::Now)).await.unwrap();
        let ended: Vec<u32> = stopped.unwrap().ended.iter().map(|one| one.pid).collect();
        assert_eq!(ended, [pid], "{starts_in}");
        if let Some(here) = here {
            let error = here.await.unwrap().unwrap_err();
            assert!(matches!(error, Error::Stopped { .. }), "{error}");
        }
        if let Some(mut elsewhere) = elsewhere {
            assert!(!elsewhere.wait().await.unwrap().success());
        }
        assert_eq!(world.processes(), Vec::<u32>::new());
        world.finish().await;
    }
}

#[tokio::test]
async fn a_stop_ends_a_replacement_that_takes_its_time_and_says_nothing_against_its_binary() {
    let world = World::new(json!({ "version": "old" }));
    let manager = world.manager().ready_timeout(Duration::from_secs(600));
    let old = manager.spawn().await.unwrap();
    world.install(json!({ "version": "new", "ready_after_ms": NEVER_READY }));
    let starting = tokio::spawn({
        let manager = manager.clone();
        async move { manager.spawn().await }
    });
    eventually("the next one starts", async || world.processes().len() == 2).await;
    let stopped = tokio::time::timeout(SOON, manager.stop(StopMode::Now)).await.unwrap().unwrap();
    assert!(stopped.ended.contains(old.identity()), "{stopped:?}");
    let error = starting.await.unwrap().unwrap_err();
    assert!(matches!(error, Error::Stopped { .. }), "{error}");
    assert_eq!(world.processes(), Vec::<u32>::new());
    let files = std::fs::read_dir(world.run_dir().join("fake")).unwrap().flatten();
    let bad = files.filter(|file| file.file_name().to_string_lossy().starts_with("bad-"));
    assert_eq!(bad.count(), 0);
    world.finish().await;
}

#[tokio::test]
async fn a_supervisor_lets_a_start_be_that_was_stopped() {
    let world = World::new(json!({ "ready_after_ms": NEVER_READY }));
    let manager = world.manager().ready_timeout(Duration::from_secs(600));
    let supervisor = manager.clone().supervise(RestartPolicy::default());
    eventually("it starts", async || is_attached(&world)).await;
    manager.stop(StopMode::Now).await.unwrap();
    let mut status = supervisor.status();
    let stopped = status.wait_for(|status| *status == Supervised::Stopped);
    tokio::time::timeout(SOON, stopped).await.unwrap().unwrap();
    world.finish().await;
}

/// Its thread that answers starters comes to nothing for a while, as on a busy machine.
#[tokio::test]
async fn a_daemon_that_is_late_to_answer_hands_over_and_is_not_ended() {
    let world = World::new(json!({}));
    let beside = world.dir().join("b.sock");
    world.install(json!({ "version": "1", "beside": beside }));
    let before = world.manager().spawn().await.unwrap();
    let mut stream = Client::new(before.address()).begin("/stream/200/50").await.unwrap();
    assert!(chunk(&mut stream).await.unwrap().is_some());
    let blocks = tokio::spawn({
        let beside = beside.display().to_string();
        async move { Client::new(&beside).get("/block").await }
    });
    let log = || std::fs::read_to_string(world.dir().join("log/fake.log")).unwrap();
    eventually("it is at it", async || log().contains("blocks")).await;
    world.install(json!({ "version": "2" }));
    let after = world.manager().spawn().await.unwrap();
    assert_eq!(after.address(), before.address());
    blocks.await.unwrap().ok();
    let mut last = String::new();
    while let Some(token) = chunk(&mut stream).await.unwrap() {
        last = token;
    }
    assert_eq!(last, "token 199\n");
    world.finish().await;
}

#[tokio::test]
async fn a_starter_that_somebody_suspends_is_continued_by_whoever_waits_for_it() {
    let world = World::new(json!({ "version": "1", "ready_after_ms": 500 }));
    let mut starter = world.starter(&world.manager(), None);
    let launched = ("starter".to_owned(), "starter.launched".to_owned());
    eventually("it has the lock", async || world.edges().contains(&launched)).await;
    kill(starter.id().unwrap(), Signal::STOP);
    let daemon = tokio::time::timeout(SOON, world.manager().spawn()).await.unwrap().unwrap();
    assert_eq!(who(daemon.address()).await.1, daemon.id());
    tokio::time::timeout(SOON, starter.wait()).await.unwrap().unwrap();
    assert_eq!(world.processes(), [daemon.id()]);
    world.finish().await;
}

#[tokio::test]
async fn a_restart_is_a_hand_over_to_the_same_binary() {
    let world = World::new(json!({ "version": "1" }));
    let manager = world.manager().probation(Duration::from_millis(200));
    let before = manager.spawn().await.unwrap();
    let asking = Asking::begin(before.address().to_owned());
    let mut stream = Client::new(before.address()).begin("/stream/40/50").await.unwrap();
    assert!(chunk(&mut stream).await.unwrap().is_some());
    let after = manager.restart().await.unwrap();
    assert_eq!(after.outcome(), &Outcome::Replaced { from: before.identity().clone() });
    assert_eq!(after.identity().exe_hash, before.identity().exe_hash);
    assert_eq!(who(before.address()).await.1, after.id());
    let mut last = String::new();
    while let Some(token) = chunk(&mut stream).await.unwrap() {
        last = token;
    }
    assert_eq!(last, "token 39\n");
    let seen = asking.end().await;
    assert_eq!((seen.refused, seen.lost), (Vec::new(), Vec::new()));
    world.finish().await;
}

#[tokio::test]
async fn no_signal_but_an_end_cuts_a_stream() {
    let world = World::new(json!({ "version": "1" }));
    let before = world.manager().spawn().await.unwrap();
    let mut stream = Client::new(before.address()).begin("/stream/60/50").await.unwrap();
    assert!(chunk(&mut stream).await.unwrap().is_some());
    for signal in [Signal::USR1, Signal::USR2] {
        kill(before.id(), signal);
    }
    assert_eq!(who(before.address()).await.1, before.id());
    kill(before.id(), Signal::HUP);
    eventually("another serves", async || who(before.address()).await.1 != before.id()).await;
    kill(before.id(), Signal::QUIT);
    let mut last = String::new();
    while let Some(token) = chunk(&mut stream).await.unwrap() {
        last = token;
    }
    assert_eq!(last, "token 59\n");
    world.finish().await;
}
