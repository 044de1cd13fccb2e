use std::{
    fs,
    os::unix::fs::symlink,
    time::{Duration, Instant},
};

use daemon_lifecycle::{
    DaemonManager, Error, Identity, Outcome, StopMode, has_proven_itself, instances, stop_instance,
};
use rustix::process::Signal;
use serde_json::json;

use crate::{
    http::{Asking, Client, chunk, who},
    world::{SOON, World, eventually, kill},
};

#[tokio::test]
async fn a_daemon_is_started_once_and_then_reused() {
    let world = World::new(json!({ "version": "1" }));
    let first = world.manager().spawn().await.unwrap();
    assert_eq!(first.outcome(), &Outcome::Started);
    assert_eq!(who(first.address()).await, ("1".to_owned(), first.id()));
    let second = world.manager().spawn().await.unwrap();
    assert_eq!(second.outcome(), &Outcome::Reused);
    assert_eq!(second.identity(), first.identity());
    assert_eq!(world.manager().running().await.unwrap().as_ref(), Some(first.identity()));
    assert_eq!(instances(&world.run_dir()), [("fake".to_owned(), first.identity().clone())]);
    world.finish().await;
}

#[tokio::test]
async fn of_many_simultaneous_starters_one_starts() {
    let world = World::new(json!({ "ready_after_ms": 200 }));
    let starters: Vec<_> = (0..20)
        .map(|_| {
            let manager = world.manager();
            tokio::spawn(async move { manager.spawn().await.unwrap() })
        })
        .collect();
    let mut handles = Vec::new();
    for starter in starters {
        handles.push(starter.await.unwrap());
    }
    let started = handles.iter().filter(|h| h.outcome() == &Outcome::Started).count();
    assert_eq!(started, 1);
    assert!(handles.iter().all(|handle| handle.id() == handles[0].id()));
    assert_eq!(world.processes(), [handles[0].id()]);
    world.finish().await;
}

#[tokio::test]
async fn another_binary_takes_the_old_ones_place_on_the_same_listener() {
    let world = World::new(json!({ "version": "old" }));
    let old = world.manager().spawn().await.unwrap();
    world.install(json!({ "version": "new" }));
    let new = world.manager().spawn().await.unwrap();
    assert_eq!(new.outcome(), &Outcome::Replaced { from: old.identity().clone() });
    assert_eq!(new.address(), old.address());
    assert_eq!(who(new.address()).await, ("new".to_owned(), new.id()));
    assert_eq!(world.manager().running().await.unwrap().unwrap().pid, new.id());
    world.finish().await;
}

/// As in an installed release, which a newer one is put in the place of.
#[tokio::test]
async fn one_without_sources_is_current_while_the_file_at_its_path_is_what_runs() {
    let world = World::new(json!({ "version": "old" }));
    let old = world.manager().spawn().await.unwrap();
    assert!(world.manager().is_current(old.identity()).await);
    world.install(json!({ "version": "new" }));
    assert!(!world.manager().is_current(old.identity()).await);
    let new = world.manager().spawn().await.unwrap();
    assert!(world.manager().is_current(new.identity()).await);
    // What was removed is nothing to be replaced by.
    fs::remove_file(world.binary()).unwrap();
    assert!(world.manager().is_current(new.identity()).await);
    world.finish().await;
}

#[tokio::test]
async fn what_has_stood_its_probation_is_known_by_its_binary() {
    let world = World::new(json!({ "version": "old" }));
    let manager = world.manager().probation(Duration::from_millis(200));
    let old = manager.spawn().await.unwrap();
    let proven = |of: &Identity| has_proven_itself(&world.run_dir(), "fake", of);
    eventually("it has stood", async || proven(old.identity())).await;
    world.install(json!({ "version": "new" }));
    let new = manager.probation(SOON).spawn().await.unwrap();
    assert!(!proven(new.identity()), "its probation has just begun");
    world.finish().await;
}

#[tokio::test]
async fn the_last_good_binary_is_the_file_that_a_link_led_to() {
    let world = World::new(json!({ "version": "old" }));
    let (first, link) = (world.dir().join("first"), world.dir().join("link"));
    fs::rename(world.binary(), &first).unwrap();
    symlink(&first, &link).unwrap();
    let manager = world.manager_of(&link).probation(Duration::from_millis(200));
    let old = manager.spawn().await.unwrap();
    let proven = || has_proven_itself(&world.run_dir(), "fake", old.identity());
    eventually("it has stood", async || proven()).await;
    world.install(json!({ "version": "new", "exit_before_ready": 3 }));
    fs::remove_file(&link).unwrap();
    symlink(world.binary(), &link).unwrap();
    let kept = manager.spawn().await.unwrap();
    assert!(matches!(kept.outcome(), Outcome::RolledBack { .. }), "{:?}", kept.outcome());
    manager.stop(StopMode::Now).await.unwrap();
    let again = manager.spawn().await.unwrap();
    assert!(matches!(again.outcome(), Outcome::RolledBack { .. }), "{:?}", again.outcome());
    assert_eq!(who(again.address()).await.0, "old");
    world.finish().await;
}

#[tokio::test]
async fn after_its_probation_the_new_one_is_alone() {
    let world = World::new(json!({ "version": "old" }));
    let manager = world.manager().probation(Duration::from_millis(200));
    manager.spawn().await.unwrap();
    world.install(json!({ "version": "new" }));
    let new = manager.spawn().await.unwrap();
    eventually("the old one exits", async || world.processes() == [new.id()]).await;
    assert_eq!(who(new.address()).await, ("new".to_owned(), new.id()));
    world.finish().await;
}

#[tokio::test]
async fn replacements_may_follow_each_other_within_a_probation() {
    let world = World::new(json!({ "version": "0" }));
    let first = world.manager().spawn().await.unwrap();
    for version in 1..=4 {
        world.install(json!({ "version": version.to_string() }));
        let next = world.manager().spawn().await.unwrap();
        assert!(matches!(next.outcome(), Outcome::Replaced { .. }), "{:?}", next.outcome());
        assert_eq!(who(first.address()).await, (version.to_string(), next.id()));
    }
    world.finish().await;
}

#[tokio::test]
async fn other_arguments_are_another_daemon() {
    let world = World::new(json!({}));
    let old = world.manager().spawn().await.unwrap();
    let new = world.manager_with(&["--listen", "127.0.0.1:0", "--more"]).spawn().await.unwrap();
    assert_eq!(new.outcome(), &Outcome::Replaced { from: old.identity().clone() });
    assert_ne!(new.identity().args_hash, old.identity().args_hash);
    world.finish().await;
}

#[tokio::test]
async fn a_daemon_on_a_unix_socket_is_stopped_and_started() {
    let world = World::new(json!({ "version": "old" }));
    let socket = world.dir().join("w.sock");
    let manager = world.manager_with(&["--unix", socket.to_str().unwrap()]);
    let old = manager.spawn().await.unwrap();
    world.install(json!({ "version": "new" }));
    let new = manager.spawn().await.unwrap();
    assert_eq!(new.outcome(), &Outcome::Replaced { from: old.identity().clone() });
    assert_eq!(world.processes(), [new.id()]);
    assert_eq!(new.address(), socket.to_str().unwrap());
    world.finish().await;
}

#[tokio::test]
async fn a_daemon_answers_apart_until_its_end_whoever_has_its_place() {
    let world = World::new(json!({}));
    let [socket, apart] = ["w.sock", "apart.sock"].map(|name| world.dir().join(name));
    world.install(json!({ "version": "old", "apart": apart }));
    let manager = world.manager_with(&["--unix", socket.to_str().unwrap()]);
    let old = manager.spawn().await.unwrap();
    let mut client = Client::new(old.address());
    let mut stream = client.begin("/stream/100000/5").await.unwrap();
    chunk(&mut stream).await.unwrap();
    world.install(json!({ "version": "new" }));
    let new = manager.spawn().await.unwrap();
    assert_eq!(who(new.address()).await, ("new".to_owned(), new.id()));
    let apart = apart.to_str().unwrap();
    assert_eq!(who(apart).await, ("old".to_owned(), old.id()));
    // A stream too: nothing there has to be short.
    let mut other = Client::new(apart);
    let mut begun = other.begin("/stream/3/5").await.unwrap();
    let mut said = String::new();
    while let Some(part) = chunk(&mut begun).await.unwrap() {
        said.push_str(&part);
    }
    assert_eq!(said, "token 0\ntoken 1\ntoken 2\n");
    drop((stream, client));
    eventually("it has ended", async || world.processes() == [new.id()]).await;
    assert!(!std::path::Path::new(apart).exists());
    world.finish().await;
}

#[tokio::test]
async fn a_unix_socket_that_generations_share_is_handed_over_and_no_stream_is_cut() {
    let world = World::new(json!({ "version": "old" }));
    let socket = world.dir().join("s.sock").display().to_string();
    let manager = world.manager_with(&["--unix-shared", &socket]);
    let old = manager.spawn().await.unwrap();
    let mut stream = Client::new(&socket).begin("/stream/40/50").await.unwrap();
    assert_eq!(chunk(&mut stream).await.unwrap().unwrap(), "token 0\n");
    let asking = Asking::begin(socket.clone());
    world.install(json!({ "version": "new" }));
    let new = manager.spawn().await.unwrap();
    assert_eq!(new.outcome(), &Outcome::Replaced { from: old.identity().clone() });
    assert_eq!(who(&socket).await, ("new".to_owned(), new.id()));
    let mut last = String::new();
    while let Some(token) = chunk(&mut stream).await.unwrap() {
        last = token;
    }
    assert_eq!(last, "token 39\n");
    let seen = asking.end().await;
    assert!(seen.refused.is_empty() && seen.lost.is_empty(), "{:?} {:?}", seen.refused, seen.lost);
    world.finish().await;
}

#[tokio::test]
async fn a_shared_unix_socket_is_resumed_on_when_the_new_one_fails_and_bound_again_after_a_kill() {
    let world = World::new(json!({ "version": "old" }));
    let socket = world.dir().join("s.sock").display().to_string();
    let manager = world.manager_with(&["--unix-shared", &socket]);
    let old = manager.spawn().await.unwrap();
    world.install(json!({ "version": "bad", "die_after_serving_ms": 300 }));
    let bad = manager.spawn().await.unwrap();
    eventually("the old one resumes", async || {
        world.processes() == [old.id()] && Client::new(&socket).get("/who").await.is_ok()
    })
    .await;
    assert_eq!(who(&socket).await, ("old".to_owned(), old.id()));
    assert_ne!(bad.id(), old.id());
    kill(old.id(), Signal::KILL);
    eventually("it has died", async || world.processes().is_empty()).await;
    world.install(json!({ "version": "third" }));
    let third = manager.spawn().await.unwrap();
    assert_eq!(who(&socket).await, ("third".to_owned(), third.id()));
    world.finish().await;
}

#[tokio::test]
async fn without_sources_the_binary_at_the_path_is_what_would_be_started() {
    let world = World::new(json!({ "version": "old" }));
    let manager = world.manager();
    let old = manager.spawn().await.unwrap();
    assert_eq!(manager.binary().await.unwrap().hash, old.identity().exe_hash);
    world.install(json!({ "version": "new" }));
    let fresh = manager.fresh_binary().await.unwrap();
    assert_ne!(fresh.hash, old.identity().exe_hash);
    assert_eq!(manager.spawn().await.unwrap().identity().exe_hash, fresh.hash);
    world.finish().await;
}

#[tokio::test]
async fn a_stop_lets_a_stream_run_to_its_end() {
    let world = World::new(json!({}));
    let daemon = world.manager().spawn().await.unwrap();
    let mut client = Client::new(daemon.address());
    let mut stream = client.begin("/stream/10/50").await.unwrap();
    assert_eq!(chunk(&mut stream).await.unwrap().unwrap(), "token 0\n");
    let manager = world.manager();
    let stopping =
        tokio::spawn(async move { manager.stop(StopMode::Drain(Duration::from_secs(10))).await });
    let mut last = String::new();
    while let Some(token) = chunk(&mut stream).await.unwrap() {
        last = token;
    }
    assert_eq!(last, "token 9\n");
    let stopped = stopping.await.unwrap().unwrap();
    assert_eq!(stopped.ended, [daemon.identity().clone()]);
    assert!(!stopped.killed);
    world.finish().await;
}

#[tokio::test]
async fn a_stream_that_goes_on_past_the_drain_deadline_can_say_goodbye() {
    let world = World::new(json!({}));
    let daemon = world.manager().spawn().await.unwrap();
    let mut stream = Client::new(daemon.address()).begin("/stream/100000/50").await.unwrap();
    assert!(chunk(&mut stream).await.unwrap().is_some());
    let drain = StopMode::Drain(Duration::from_millis(300));
    let began = Instant::now();
    let stopped = stop_instance(&world.run_dir(), "fake", drain).await.unwrap();
    assert!(!stopped.killed, "it ended by itself");
    assert!(began.elapsed() >= Duration::from_millis(300));
    let mut last = String::new();
    while let Some(token) = chunk(&mut stream).await.unwrap() {
        last = token;
    }
    assert_eq!(last, "hand-off\n");
    world.finish().await;
}

#[tokio::test]
async fn a_replacement_waits_for_no_generation_that_drains() {
    let world = World::new(json!({ "version": "0" }));
    let manager = world.manager().probation(Duration::ZERO);
    let first = manager.spawn().await.unwrap();
    let mut streams = Vec::new();
    for version in 1..=4 {
        let mut stream = Client::new(first.address()).begin("/stream/100/50").await.unwrap();
        assert!(chunk(&mut stream).await.unwrap().is_some());
        streams.push(stream);
        world.install(json!({ "version": version.to_string() }));
        let next = manager.spawn().await.unwrap();
        assert_eq!(who(first.address()).await, (version.to_string(), next.id()));
        assert!(world.processes().contains(&first.id()), "the first one drains");
    }
    for mut stream in streams {
        let mut last = String::new();
        while let Some(token) = chunk(&mut stream).await.unwrap() {
            last = token;
        }
        assert_eq!(last, "token 99\n", "no stream was cut");
    }
    world.finish().await;
}

#[tokio::test]
async fn where_memory_is_short_the_oldest_generation_hands_on_what_it_has() {
    let world = World::new(json!({ "version": "0" }));
    let manager = world.manager().draining_memory(1).probation(Duration::ZERO);
    let first = manager.spawn().await.unwrap();
    let mut stream = Client::new(first.address()).begin("/stream/100000/50").await.unwrap();
    assert!(chunk(&mut stream).await.unwrap().is_some());
    world.install(json!({ "version": "1" }));
    manager.spawn().await.unwrap();
    assert!(world.processes().contains(&first.id()), "the first one drains");
    world.install(json!({ "version": "2" }));
    let third = manager.spawn().await.unwrap();
    assert_eq!(who(first.address()).await.1, third.id());
    let mut last = String::new();
    while let Some(token) = chunk(&mut stream).await.unwrap() {
        last = token;
    }
    assert_eq!(last, "hand-off\n");
    world.finish().await;
}

#[tokio::test]
async fn a_daemon_run_by_hand_serves_without_a_starter_and_obeys_sigterm() {
    let world = World::new(json!({ "version": "by hand" }));
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut daemon = tokio::process::Command::new(world.binary())
        .args(["--listen", &port.to_string()])
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let pid = daemon.id().unwrap();
    eventually("it answers", async || {
        let answer = Client::new(&port.to_string()).get("/who").await;
        answer.is_ok_and(|(_, text)| text == format!("by hand {pid}\n"))
    })
    .await;
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(daemon.wait().await.unwrap().success());
    world.finish().await;
}

#[tokio::test]
async fn stopping_what_does_not_run_is_no_error() {
    let world = World::new(json!({}));
    let stopped = world.manager().stop(StopMode::Now).await.unwrap();
    assert_eq!(stopped.ended, []);
    assert_eq!(world.manager().running().await.unwrap(), None);
    world.finish().await;
}

#[tokio::test]
async fn a_daemon_inherits_only_what_it_is_allowed_to() {
    let world = World::new(json!({}));
    let daemon = world.manager().env("OWN", "value").spawn().await.unwrap();
    let environment = fs::read(format!("/proc/{}/environ", daemon.id())).unwrap();
    let environment = String::from_utf8_lossy(&environment);
    let names: Vec<&str> =
        environment.split('\0').filter_map(|v| v.split_once('=').map(|(name, _)| name)).collect();
    assert!(names.contains(&"PATH") && names.contains(&"OWN"), "{names:?}");
    // The test runner sets this one.
    assert!(!names.contains(&"LD_LIBRARY_PATH"), "{names:?}");
    world.finish().await;
}

#[tokio::test]
async fn a_daemon_is_no_part_of_its_starters_session() {
    let world = World::new(json!({}));
    let daemon = world.manager().spawn().await.unwrap();
    let stat = fs::read_to_string(format!("/proc/{}/stat", daemon.id())).unwrap();
    let fields: Vec<&str> = stat[stat.rfind(')').unwrap() + 2..].split(' ').collect();
    assert_eq!(fields[3], daemon.id().to_string());
    let stdin = fs::read_link(format!("/proc/{}/fd/0", daemon.id())).unwrap();
    assert_eq!(stdin.to_str(), Some("/dev/null"));
    let cwd = fs::read_link(format!("/proc/{}/cwd", daemon.id())).unwrap();
    assert_eq!(cwd.to_str(), Some("/"));
    world.finish().await;
}

#[tokio::test]
async fn a_daemon_holds_no_pipe_open_that_its_starter_happens_to_have() {
    let world = World::new(json!({}));
    let (_, ours) = std::io::pipe().unwrap();
    rustix::io::fcntl_setfd(&ours, rustix::io::FdFlags::empty()).unwrap();
    let of = |pid: &str| -> Vec<_> {
        let entries = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
        entries.filter_map(|entry| fs::read_link(entry.path()).ok()).collect()
    };
    let inode = rustix::fs::fstat(&ours).unwrap().st_ino;
    let pipe = std::path::PathBuf::from(format!("pipe:[{inode}]"));
    assert!(of("self").contains(&pipe));
    let daemon = world.manager().spawn().await.unwrap();
    assert!(!of(&daemon.id().to_string()).contains(&pipe));
    world.finish().await;
}

#[tokio::test]
async fn a_run_directory_that_others_can_open_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::new(json!({}));
    let instance = world.run_dir().join("fake");
    fs::create_dir_all(&instance).unwrap();
    fs::set_permissions(&instance, fs::Permissions::from_mode(0o755)).unwrap();
    let error = world.manager().spawn().await.unwrap_err();
    assert!(matches!(error, Error::InsecureDirectory { .. }), "{error}");
    world.finish().await;
}

#[tokio::test]
async fn a_socket_path_that_is_too_long_is_named() {
    let world = World::new(json!({}));
    let long = world.dir().join("x".repeat(100));
    let error = world.manager().instance(&long, "fake").spawn().await.unwrap_err();
    assert!(matches!(error, Error::SocketPathTooLong { .. }), "{error}");
    assert!(!long.exists());
    world.finish().await;
}

#[tokio::test]
async fn a_binary_that_is_not_there_is_named() {
    let world = World::new(json!({}));
    let missing = world.dir().join("missing");
    let manager = DaemonManager::new(&missing, ["--x"]).instance(world.run_dir(), "missing");
    let error = manager.spawn().await.unwrap_err();
    assert!(error.to_string().contains(missing.to_str().unwrap()), "{error}");
    world.finish().await;
}
