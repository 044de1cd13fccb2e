use std::{
    fs,
    time::{Duration, Instant},
};

use daemon_lifecycle::{Error, Identity, Outcome, StopMode};
use rustix::process::{Pid, Signal};
use serde_json::json;

use crate::{
    http::{Client, chunk, who},
    world::{World, eventually, kill},
};

#[tokio::test]
async fn a_daemon_that_exits_before_it_is_ready_is_reported_with_its_last_words() {
    let world = World::new(json!({ "version": "x", "exit_before_ready": 3 }));
    let error = world.manager().spawn().await.unwrap_err();
    let Error::ExitedBeforeReady { status, log, .. } = &error else { panic!("{error}") };
    assert_eq!(status, "exit status: 3");
    assert!(log.lines[0].starts_with("fake-daemon x"), "{log}");
    world.finish().await;
}

#[tokio::test]
async fn a_daemon_that_exits_with_success_before_it_is_ready_has_failed_too() {
    let world = World::new(json!({ "exit_before_ready": 0 }));
    let error = world.manager().spawn().await.unwrap_err();
    assert!(matches!(error, Error::ExitedBeforeReady { .. }), "{error}");
    world.finish().await;
}

#[tokio::test]
async fn a_daemon_that_is_never_ready_is_ended_with_its_children() {
    let world = World::new(json!({ "never_ready": true, "grandchild": true }));
    let limit = Duration::from_millis(500);
    let error = world.manager().ready_timeout(limit).spawn().await.unwrap_err();
    assert!(matches!(error, Error::NotReadyInTime { after, .. } if after == limit), "{error}");
    assert_eq!(world.processes(), Vec::<u32>::new());
    world.finish().await;
}

#[tokio::test]
async fn progress_gives_a_slow_start_its_time_again() {
    let world = World::new(json!({ "ready_after_ms": 1500, "progress_every_ms": 100 }));
    let limit = Duration::from_millis(700);
    let daemon = world.manager().ready_timeout(limit).spawn().await.unwrap();
    assert_eq!(daemon.outcome(), &Outcome::Started);
    world.finish().await;
}

#[tokio::test]
async fn a_daemon_may_say_itself_why_it_cannot_start() {
    let world = World::new(json!({ "fail": "the moon is too full" }));
    let error = world.manager().spawn().await.unwrap_err();
    assert!(error.to_string().contains("the moon is too full"), "{error}");
    world.finish().await;
}

#[tokio::test]
async fn a_daemon_that_answers_with_server_errors_is_not_believed() {
    let world = World::new(json!({ "answer_500": true }));
    let error = world.manager().spawn().await.unwrap_err();
    let Error::NotServing { why, .. } = &error else { panic!("{error}") };
    assert!(why.contains("500"), "{why}");
    world.finish().await;
}

#[tokio::test]
async fn a_flood_of_output_ends_in_the_log() {
    let world = World::new(json!({ "flood_stderr_bytes": 2_000_000 }));
    world.manager().spawn().await.unwrap();
    let log = world.dir().join("log/fake.log");
    assert!(fs::metadata(log).unwrap().len() >= 2_000_000);
    world.finish().await;
}

#[tokio::test]
async fn a_stranger_on_the_port_is_named_and_left_alone() {
    let world = World::new(json!({}));
    let stranger = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = stranger.local_addr().unwrap().to_string();
    let error = world.manager_with(&["--listen", &address]).spawn().await.unwrap_err();
    let Error::AddressInUse { address: named, .. } = &error else { panic!("{error}") };
    assert_eq!(named, &address);
    std::net::TcpStream::connect(&address).unwrap();
    world.finish().await;
}

#[tokio::test]
async fn a_record_that_cannot_be_written_is_reported() {
    let world = World::new(json!({}));
    let record = world.run_dir().join("fake/current.json");
    fs::create_dir_all(record.join("in the way")).unwrap();
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    fs::set_permissions(world.run_dir().join("fake"), private).unwrap();
    let error = world.manager().spawn().await.unwrap_err();
    assert!(matches!(error, Error::Hindered { .. }), "{error}");
    fs::remove_dir_all(record).unwrap();
    assert_eq!(world.manager().spawn().await.unwrap().outcome(), &Outcome::Started);
    world.finish().await;
}

#[tokio::test]
async fn a_stop_ends_a_daemon_that_will_not_exit_and_a_grandchild_that_ignores_sigterm() {
    let world = World::new(json!({ "never_exit": true, "grandchild": true }));
    world.manager().spawn().await.unwrap();
    let stopped = world.manager().stop(StopMode::Now).await.unwrap();
    assert!(stopped.killed);
    assert_eq!(world.processes(), Vec::<u32>::new());
    world.finish().await;
}

#[tokio::test]
async fn a_stopped_process_that_does_not_answer_is_replaced() {
    let world = World::new(json!({ "version": "1" }));
    let hung = world.manager().spawn().await.unwrap();
    kill(hung.id(), Signal::STOP);
    let began = Instant::now();
    let next = world.manager().spawn().await.unwrap();
    assert_eq!(next.outcome(), &Outcome::Replaced { from: hung.identity().clone() });
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    assert_eq!(world.processes(), [next.id()]);
    world.finish().await;
}

#[tokio::test]
async fn a_daemon_that_is_too_busy_to_answer_requests_is_still_known_to_live() {
    let world = World::new(json!({ "starve": true }));
    let daemon = world.manager().without_health_check().spawn().await.unwrap();
    let starved = async || {
        // An answer that the starving overtook may be cut short.
        let mut client = Client::new(daemon.address());
        tokio::time::timeout(Duration::from_millis(300), client.get("/who")).await.is_err()
    };
    eventually("it answers nothing", starved).await;
    let again = world.manager().spawn().await.unwrap();
    assert_eq!((again.outcome(), again.id()), (&Outcome::Reused, daemon.id()));
    world.finish().await;
}

#[tokio::test]
async fn a_daemon_that_is_too_busy_to_answer_requests_answers_those_beside_its_work() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("beside.sock");
    let world = World::new(json!({ "version": "1", "starve": true, "beside": socket }));
    let daemon = world.manager().without_health_check().spawn().await.unwrap();
    let starved = async || {
        let mut client = Client::new(daemon.address());
        tokio::time::timeout(Duration::from_millis(300), client.get("/who")).await.is_err()
    };
    eventually("it answers nothing", starved).await;
    let told = || who(socket.to_str().unwrap());
    assert_eq!(told().await.1, daemon.id());
    fs::remove_file(&socket).unwrap();
    eventually("it makes the socket anew", async || socket.exists()).await;
    assert_eq!(told().await.1, daemon.id());
    world.finish().await;
}

#[tokio::test]
async fn a_daemon_that_is_too_busy_to_answer_requests_says_that_it_lives_and_is_stuck() {
    let world = World::new(json!({ "version": "1", "starve": true }));
    let manager = world.manager().without_health_check();
    assert_eq!(manager.sign_of_life().await.unwrap(), None);
    let daemon = manager.spawn().await.unwrap();
    let sign = manager.sign_of_life().await.unwrap().unwrap();
    assert_eq!((&sign.identity, sign.is_stuck), (daemon.identity(), false));
    let is_stuck = async || manager.sign_of_life().await.unwrap().unwrap().is_stuck;
    eventually("it says that it is stuck", is_stuck).await;
    world.finish().await;

    let world = World::new(json!({ "version": "1" }));
    world.manager().spawn().await.unwrap();
    for _ in 0..9 {
        assert!(!world.manager().sign_of_life().await.unwrap().unwrap().is_stuck);
    }
    world.finish().await;
}

#[tokio::test]
async fn a_socket_beside_the_work_goes_with_its_daemon() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("beside.sock");
    let world = World::new(json!({ "version": "1", "beside": socket }));
    let daemon = world.manager().spawn().await.unwrap();
    assert_eq!(who(socket.to_str().unwrap()).await.1, daemon.id());
    world.manager().stop(StopMode::Drain(Duration::from_secs(5))).await.unwrap();
    assert!(!socket.exists());
    world.finish().await;
}

#[tokio::test]
async fn a_socket_beside_the_work_is_the_next_daemons_while_streams_end() {
    let world = World::new(json!({}));
    let [socket, beside] = ["http.sock", "beside.sock"].map(|name| world.dir().join(name));
    let manager = world.manager_with(&["--unix", socket.to_str().unwrap()]);
    world.install(json!({ "version": "old", "beside": beside }));
    let old = manager.spawn().await.unwrap();
    let mut stream = Client::new(old.address()).begin("/stream/60/50").await.unwrap();
    assert!(chunk(&mut stream).await.unwrap().is_some());
    world.install(json!({ "version": "new", "beside": beside }));
    let new = manager.spawn().await.unwrap();
    let answers = async || who(beside.to_str().unwrap()).await == ("new".to_owned(), new.id());
    eventually("the next one answers", async || beside.exists() && answers().await).await;
    assert!(old.identity().is_alive());
    while chunk(&mut stream).await.unwrap().is_some() {}
    old.identity().ended().await;
    assert!(answers().await);
    world.finish().await;
}

#[tokio::test]
async fn a_lost_or_spoilt_record_does_not_hide_a_running_daemon() {
    let world = World::new(json!({}));
    let daemon = world.manager().spawn().await.unwrap();
    let record = world.run_dir().join("fake/current.json");
    for spoilt in ["", "{\"pid\":", "[]"] {
        fs::write(&record, spoilt).unwrap();
        let found = world.manager().spawn().await.unwrap();
        assert_eq!((found.outcome(), found.id()), (&Outcome::Reused, daemon.id()));
    }
    fs::remove_file(&record).unwrap();
    assert_eq!(world.manager().spawn().await.unwrap().id(), daemon.id());
    let stopped = world.manager().stop(StopMode::Now).await.unwrap();
    assert_eq!(stopped.ended.len(), 1);
    world.finish().await;
}

#[tokio::test]
async fn a_process_that_got_a_dead_daemons_pid_is_not_signalled() {
    let world = World::new(json!({}));
    let daemon = world.manager().spawn().await.unwrap();
    world.manager().stop(StopMode::Now).await.unwrap();
    // A session leader, as a daemon is, with the pid that the record names.
    let mut stranger =
        tokio::process::Command::new("setsid").args(["sleep", "1000"]).spawn().unwrap();
    let pid = stranger.id().unwrap();
    let record = Identity { pid, ..daemon.identity().clone() };
    fs::write(world.run_dir().join("fake/current.json"), serde_json::to_vec(&record).unwrap())
        .unwrap();
    world.manager().stop(StopMode::Now).await.unwrap();
    let next = world.manager().spawn().await.unwrap();
    assert_eq!(next.outcome(), &Outcome::Started);
    assert!(stranger.try_wait().unwrap().is_none(), "the stranger was ended");
    stranger.kill().await.unwrap();
    world.finish().await;
}

#[tokio::test]
async fn deleting_the_running_binary_changes_nothing_for_it() {
    let world = World::new(json!({ "version": "1" }));
    let daemon = world.manager().spawn().await.unwrap();
    fs::remove_file(world.binary()).unwrap();
    assert_eq!(who(daemon.address()).await.1, daemon.id());
    let error = world.manager().spawn().await.unwrap_err();
    assert!(matches!(error, Error::BinaryNotFound { .. }), "{error}");
    assert_eq!(who(daemon.address()).await.1, daemon.id());
    world.finish().await;
}

#[tokio::test]
async fn without_descriptors_a_daemon_waits_and_then_goes_on() {
    let world = World::new(json!({}));
    let daemon = world.manager().spawn().await.unwrap();
    let open = || -> Vec<u64> {
        let entries = fs::read_dir(format!("/proc/{}/fd", daemon.id())).unwrap().flatten();
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
    };
    // A few more than it has.
    let limit = open().into_iter().max().unwrap() + 4;
    let to = rustix::process::Rlimit { current: Some(limit), maximum: Some(1024) };
    let pid = Pid::from_raw(daemon.id().cast_signed());
    rustix::process::prlimit(pid, rustix::process::Resource::Nofile, to).unwrap();
    let idle: Vec<_> =
        (0..20).map(|_| std::net::TcpStream::connect(daemon.address()).unwrap()).collect();
    eventually("every descriptor is in use", async || open().len() as u64 == limit).await;
    drop(idle);
    let answer = Client::new(daemon.address()).get("/who").await.unwrap();
    assert_eq!(answer.0, 200);
    world.finish().await;
}
