//! The files of a running daemon are removed, as cleaners do and the end of a session.

use std::{fs, io::ErrorKind, path::Path};

use daemon_lifecycle::{DaemonManager, Outcome, StopMode, instances, stop_all};
use rustix::process::Signal;
use serde_json::json;

use crate::{
    http::{Client, chunk, who},
    world::{World, eventually, kill},
};

/// What a daemon makes in the folder meanwhile goes with it.
fn remove(dir: &Path) {
    while let Err(error) = fs::remove_dir_all(dir) {
        assert_eq!(error.kind(), ErrorKind::DirectoryNotEmpty, "{error}");
    }
}

/// Nobody but the daemon is at work in the folder then.
async fn settled(world: &World) {
    let good = world.run_dir().join("fake/good.json");
    eventually("it is settled", async || good.exists()).await;
}

fn quick(world: &World) -> DaemonManager {
    world.manager().probation(std::time::Duration::from_millis(50))
}

#[tokio::test]
async fn a_daemon_makes_its_files_anew_and_is_found() {
    for what in ["", "fake", "fake/ctl-1.sock", "fake/current.json"] {
        let world = World::new(json!({}));
        let daemon = quick(&world).spawn().await.unwrap();
        settled(&world).await;
        let path = world.run_dir().join(what);
        if path.is_dir() {
            remove(&path);
        } else {
            fs::remove_file(&path).unwrap();
        }
        let again = world.manager().spawn().await.unwrap();
        assert_eq!((again.outcome(), again.id()), (&Outcome::Reused, daemon.id()), "{what}");
        let record = world.run_dir().join("fake/current.json");
        eventually("it is recorded", async || record.exists()).await;
        world.finish().await;
    }
}

#[tokio::test]
async fn whoever_asks_at_once_finds_it_too() {
    let world = World::new(json!({}));
    let daemon = quick(&world).spawn().await.unwrap();
    settled(&world).await;
    remove(&world.run_dir());
    assert_eq!(world.manager().running().await.unwrap().unwrap().pid, daemon.id());
    remove(&world.run_dir());
    let found = instances(&world.run_dir());
    assert_eq!(
        found.iter().map(|(name, one)| (&**name, one.pid)).collect::<Vec<_>>(),
        [("fake", daemon.id())]
    );
    remove(&world.run_dir());
    let stopped = stop_all(&world.run_dir(), |_| true, StopMode::Now).await.unwrap();
    assert_eq!(stopped[0].1.ended[0].pid, daemon.id());
    assert_eq!(world.processes(), Vec::<u32>::new());
    world.finish().await;
}

#[tokio::test]
async fn one_that_hangs_and_is_lost_is_found_by_the_kernels_word() {
    let world = World::new(json!({}));
    let hung = quick(&world).spawn().await.unwrap();
    settled(&world).await;
    kill(hung.id(), Signal::STOP);
    remove(&world.run_dir());
    let next = world.manager().spawn().await.unwrap();
    assert_ne!(next.id(), hung.id());
    assert_eq!(world.processes(), [next.id()]);
    kill(next.id(), Signal::STOP);
    remove(&world.run_dir());
    world.manager().stop(StopMode::Now).await.unwrap();
    assert_eq!(world.processes(), Vec::<u32>::new());
    world.finish().await;
}

#[tokio::test]
async fn an_edit_replaces_it_without_a_lost_request() {
    let world = World::new(json!({ "version": "old" }));
    let old = quick(&world).spawn().await.unwrap();
    settled(&world).await;
    let mut stream = Client::new(old.address()).begin("/stream/60/50").await.unwrap();
    assert!(chunk(&mut stream).await.unwrap().is_some());
    remove(&world.run_dir());
    world.install(json!({ "version": "new" }));
    let new = world.manager().spawn().await.unwrap();
    assert!(matches!(new.outcome(), Outcome::Replaced { .. }), "{new:?}");
    assert_eq!(who(old.address()).await, ("new".to_owned(), new.id()));
    // In the probation, too: both make their files anew.
    remove(&world.run_dir());
    assert_eq!(world.manager().spawn().await.unwrap().id(), new.id());
    let mut last = String::new();
    while let Some(token) = chunk(&mut stream).await.unwrap() {
        last = token;
    }
    assert_eq!(last, "token 59\n");
    world.finish().await;
}

#[tokio::test]
async fn a_binary_that_failed_is_not_tried_again_for_it() {
    let world = World::new(json!({ "version": "good" }));
    let good = quick(&world).spawn().await.unwrap();
    settled(&world).await;
    let probation = std::time::Duration::from_secs(5);
    let manager = world.manager().probation(probation);
    world.install(json!({ "version": "bad", "answer_500_after_serving_ms": 100 }));
    let tried = manager.spawn().await.unwrap();
    assert!(matches!(tried.outcome(), Outcome::Replaced { .. }), "{tried:?}");
    eventually("it is rolled back", async || world.processes() == [good.id()]).await;
    // Four of the looks that the daemon takes at its files, behind the second for which it lets them rest.
    let rests = async || {
        let changed = fs::metadata(world.run_dir().join("fake")).unwrap().modified().unwrap();
        changed.elapsed().is_ok_and(|age| age > std::time::Duration::from_secs(3))
    };
    eventually("the folder rests", rests).await;
    remove(&world.run_dir());
    let again = manager.spawn().await.unwrap();
    assert!(matches!(again.outcome(), Outcome::RolledBack { .. }), "{again:?}");
    assert_eq!((again.id(), world.processes()), (good.id(), vec![good.id()]));
    world.finish().await;
}

#[tokio::test]
async fn a_socket_that_a_daemon_serves_on_is_made_anew() {
    let world = World::new(json!({}));
    let socket = world.dir().join("sockets/w.sock");
    fs::create_dir(socket.parent().unwrap()).unwrap();
    let daemon = world.manager_with(&["--unix", socket.to_str().unwrap()]).spawn().await.unwrap();
    remove(socket.parent().unwrap());
    let answers = async || tokio::net::UnixStream::connect(&socket).await.is_ok();
    eventually("it can be reached", answers).await;
    assert_eq!(world.processes(), [daemon.id()]);
    world.finish().await;
}

#[tokio::test]
async fn a_socket_that_generations_share_is_made_anew_and_handed_on() {
    let world = World::new(json!({ "version": "old" }));
    let socket = world.dir().join("sockets/w.sock");
    fs::create_dir(socket.parent().unwrap()).unwrap();
    let path = socket.to_str().unwrap();
    let manager = world.manager_with(&["--unix-shared", path]);
    let old = manager.spawn().await.unwrap();
    let answers = async || tokio::net::UnixStream::connect(&socket).await.is_ok();
    remove(socket.parent().unwrap());
    eventually("it can be reached", answers).await;
    assert_eq!(who(path).await, ("old".to_owned(), old.id()));
    world.install(json!({ "version": "new" }));
    let new = manager.spawn().await.unwrap();
    assert_eq!(who(path).await, ("new".to_owned(), new.id()));
    // By one that it was handed to.
    remove(socket.parent().unwrap());
    eventually("the next one can be reached", answers).await;
    assert_eq!(who(path).await, ("new".to_owned(), new.id()));
    world.finish().await;
}
