use std::{
    fs,
    time::{Duration, Instant},
};

use daemon_lifecycle::{DaemonHandle, DaemonManager, Error, Identity, Outcome, StopMode};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::{
    http::{Client, who},
    world::{World, eventually},
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
async fn a_daemon_that_does_not_hand_its_port_over_is_stopped_first() {
    let world = World::new(json!({ "version": "old", "binds_itself": true }));
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let manager = world.manager_with(&["--listen", &port.to_string()]);
    let old = manager.spawn().await.unwrap();
    world.install(json!({ "version": "new" }));
    let new = manager.spawn().await.unwrap();
    assert_eq!(new.outcome(), &Outcome::Replaced { from: old.identity().clone() });
    assert_eq!(who(old.address()).await, ("new".to_owned(), new.id()));
    assert_eq!(world.processes(), [new.id()]);
    world.finish().await;
}

#[tokio::test]
async fn settings_that_another_version_of_the_starter_does_not_know_have_their_defaults() {
    let world = World::new(json!({ "version": "old" }));
    let mut manager = serde_json::to_value(world.manager()).unwrap();
    // An older version knows nothing of some of the settings, and says nothing of them.
    manager.as_object_mut().unwrap().remove("max_draining").unwrap();
    let manager: DaemonManager = serde_json::from_value(manager).unwrap();
    assert_eq!(manager.spawn().await.unwrap().outcome(), &Outcome::Started);
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
async fn a_port_taken_by_a_stranger_is_not_held_against_the_new_binary() {
    let world = World::new(json!({ "version": "old" }));
    let old = world.manager().spawn().await.unwrap();
    let stranger = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = stranger.local_addr().unwrap().to_string();
    let elsewhere = world.manager_with(&["--listen", &address]);
    let error = elsewhere.spawn().await.unwrap_err();
    assert!(matches!(error, Error::AddressInUse { .. }), "{error}");
    assert_eq!(who(old.address()).await.1, old.id());
    drop(stranger);
    let moved = elsewhere.spawn().await.unwrap();
    assert_eq!(moved.address(), address);
    world.finish().await;
}

#[tokio::test]
async fn every_new_binary_that_fails_to_start_leaves_the_old_one_serving() {
    let world = World::new(json!({ "version": "old" }));
    let old = world.manager().spawn().await.unwrap();
    for bad in [
        json!({ "exit_before_ready": 3 }),
        json!({ "exit_before_ready": 0 }),
        json!({ "fail": "no" }),
        json!({ "never_ready": true }),
        json!({ "answer_500": true }),
        json!({ "die_when_ready": true }),
    ] {
        let rolled_back = rolled_back(&world, &old, bad.clone()).await;
        assert_eq!(rolled_back.id(), old.id(), "{bad}");
        eventually("the new one is gone", async || world.processes() == [old.id()]).await;
    }
    world.install(json!({ "version": "good" }));
    let good = world.manager().spawn().await.unwrap();
    assert_eq!(good.outcome(), &Outcome::Replaced { from: old.identity().clone() });
    assert_eq!(who(old.address()).await.0, "good");
    world.finish().await;
}

/// Lets a bad binary try to replace `old`, under requests none of which may fail.
async fn rolled_back(world: &World, old: &DaemonHandle, bad: Value) -> DaemonHandle {
    world.install(bad);
    let asking = tokio::spawn({
        let address = old.address().to_owned();
        async move {
            loop {
                assert_eq!(who(&address).await.0, "old");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    });
    let manager = world.manager().ready_timeout(Duration::from_secs(1));
    let rolled_back = manager.spawn().await.unwrap();
    assert!(!asking.is_finished(), "{:?}", asking.await);
    asking.abort();
    assert!(matches!(rolled_back.outcome(), Outcome::RolledBack { .. }));
    rolled_back
}

#[tokio::test]
async fn a_binary_that_failed_is_not_tried_again_until_it_changes() {
    let world = World::new(json!({ "version": "old" }));
    let old = world.manager().spawn().await.unwrap();
    let bad = json!({ "exit_before_ready": 3 });
    let first = rolled_back(&world, &old, bad).await;
    let log = world.dir().join("log/fake.log");
    let starts = || fs::read_to_string(&log).unwrap().matches("fake-daemon").count();
    let before = starts();
    let again = world.manager().spawn().await.unwrap();
    assert_eq!(again.outcome(), first.outcome());
    assert_eq!(starts(), before);
    world.finish().await;
}

#[tokio::test]
async fn a_binary_that_failed_is_tried_when_nothing_else_runs() {
    let world = World::new(json!({ "version": "old" }));
    let old = world.manager().spawn().await.unwrap();
    rolled_back(&world, &old, json!({ "exit_before_ready": 3 })).await;
    world.manager().stop(StopMode::Now).await.unwrap();
    let error = world.manager().spawn().await.unwrap_err();
    assert!(matches!(error, Error::ExitedBeforeReady { .. }), "{error}");
    world.finish().await;
}

#[tokio::test]
async fn the_old_one_resumes_when_the_new_one_dies_in_its_probation() {
    resumes(json!({ "version": "new", "die_after_serving_ms": 300 })).await;
}

#[tokio::test]
async fn the_old_one_resumes_when_the_new_one_hangs_in_its_probation() {
    resumes(json!({ "version": "new", "hang_after_serving_ms": 300 })).await;
}

#[tokio::test]
async fn the_old_one_resumes_when_the_new_one_begins_to_answer_with_errors() {
    resumes(json!({ "version": "new", "answer_500_after_serving_ms": 1500 })).await;
}

async fn resumes(bad: Value) {
    let world = World::new(json!({ "version": "old" }));
    let old = world.manager().spawn().await.unwrap();
    world.install(bad);
    let new = world.manager().spawn().await.unwrap();
    assert!(matches!(new.outcome(), Outcome::Replaced { .. }), "{:?}", new.outcome());
    eventually("the new one is gone", async || world.processes() == [old.id()]).await;
    eventually("the old one is recorded", async || {
        world.manager().running().await.unwrap().is_some_and(|running| running.pid == old.id())
    })
    .await;
    assert_eq!(who(old.address()).await, ("old".to_owned(), old.id()));
    let again = world.manager().spawn().await.unwrap();
    assert!(matches!(again.outcome(), Outcome::RolledBack { .. }), "{:?}", again.outcome());
    assert_eq!(again.id(), old.id());
    world.finish().await;
}

#[tokio::test]
async fn a_new_one_stays_when_the_old_one_is_killed_in_the_probation() {
    let world = World::new(json!({ "version": "old" }));
    let old = world.manager().spawn().await.unwrap();
    world.install(json!({ "version": "new" }));
    let new = world.manager().spawn().await.unwrap();
    kill(old.id(), Signal::KILL);
    eventually("the old one is gone", async || world.processes() == [new.id()]).await;
    assert_eq!(who(new.address()).await, ("new".to_owned(), new.id()));
    assert_eq!(world.manager().spawn().await.unwrap().outcome(), &Outcome::Reused);
    world.finish().await;
}

#[tokio::test]
async fn the_listener_outlives_an_old_one_that_is_killed_while_the_new_one_starts() {
    let world = World::new(json!({ "version": "old" }));
    let old = world.manager().spawn().await.unwrap();
    world.install(json!({ "version": "new", "ready_after_ms": 1000 }));
    let manager = world.manager();
    let starting = tokio::spawn(async move { manager.spawn().await });
    // The new one has its copy of the listener once the old one says that it is prepared.
    eventually("the old one is prepared", async || {
        let log = fs::read_to_string(world.dir().join("log/fake.log")).unwrap();
        log.contains("listening again")
    })
    .await;
    kill(old.id(), Signal::KILL);
    // Waits in the listener until the new one accepts.
    let answer = Client::new(old.address()).get("/who").await.unwrap();
    assert!(answer.1.starts_with("new "), "{answer:?}");
    let new = starting.await.unwrap().unwrap();
    assert_eq!(new.outcome(), &Outcome::Replaced { from: old.identity().clone() });
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

/// Whatever is killed and whenever: afterwards one generation serves, and nothing else is left.
#[tokio::test]
async fn a_replacement_survives_kill_9_of_any_party_at_any_moment() {
    let world = World::new(json!({ "version": "0" }));
    let mut random = Random::seeded();
    println!("seed {}", random.0);
    let manager = world.manager().probation(Duration::from_millis(300));
    manager.spawn().await.unwrap();
    for round in 1..=12 {
        world.install(json!({ "version": round.to_string(), "ready_after_ms": random.below(100) }));
        let old = manager.running().await.unwrap().unwrap();
        let mut starter = starter(&manager);
        tokio::time::sleep(Duration::from_millis(random.below(500))).await;
        let victim = random.below(3);
        match victim {
            0 => kill_if_alive(old.pid),
            1 => drop(starter.start_kill()),
            _ => world
                .processes()
                .iter()
                .filter(|&&pid| pid != old.pid)
                .for_each(|&pid| kill_if_alive(pid)),
        }
        starter.wait().await.unwrap();
        let healed = tokio::time::timeout(Duration::from_secs(15), manager.spawn()).await;
        let healed = healed.unwrap_or_else(|_| panic!("round {round}, victim {victim}: no answer"));
        let serving =
            healed.unwrap_or_else(|error| panic!("round {round}, victim {victim}: {error}"));
        // A listener that died with its last holder leaves its port; the others keep it.
        assert_eq!(who(serving.address()).await.1, serving.id(), "round {round}, victim {victim}");
        eventually("one generation is left", async || world.processes() == [serving.id()]).await;
        assert_eq!(manager.running().await.unwrap().unwrap().pid, serving.id());
    }
    world.finish().await;
}

/// A small generator whose seed can be named (xorshift).
struct Random(u64);

impl Random {
    fn seeded() -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        Self(now.as_nanos() as u64 | 1)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

fn kill_if_alive(pid: u32) {
    kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), Signal::KILL).ok();
}

#[tokio::test]
async fn a_stop_in_the_probation_ends_both() {
    let world = World::new(json!({ "version": "old" }));
    world.manager().spawn().await.unwrap();
    world.install(json!({ "version": "new" }));
    world.manager().spawn().await.unwrap();
    let stopped = world.manager().stop(StopMode::Now).await.unwrap();
    assert_eq!(stopped.ended.len(), 2);
    assert_eq!(world.processes(), Vec::<u32>::new());
    world.finish().await;
}

#[tokio::test]
async fn sigterm_to_the_new_one_in_its_probation_ends_both() {
    let world = World::new(json!({ "version": "old" }));
    world.manager().spawn().await.unwrap();
    world.install(json!({ "version": "new" }));
    let new = world.manager().spawn().await.unwrap();
    kill(new.id(), Signal::TERM);
    eventually("both are gone", async || world.processes().is_empty()).await;
    world.finish().await;
}

#[tokio::test]
async fn a_killed_daemon_is_started_again_without_what_it_left_behind() {
    let world = World::new(json!({ "grandchild": true }));
    let first = world.manager().spawn().await.unwrap();
    assert_eq!(world.processes().len(), 2);
    kill(first.id(), Signal::KILL);
    let second = world.manager().spawn().await.unwrap();
    assert_eq!(second.outcome(), &Outcome::Started);
    assert_eq!(world.processes().len(), 2, "the first one's grandchild is gone");
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
        let answer = tokio::time::timeout(Duration::from_millis(300), who(daemon.address())).await;
        answer.is_err()
    };
    eventually("it answers nothing", starved).await;
    let again = world.manager().spawn().await.unwrap();
    assert_eq!((again.outcome(), again.id()), (&Outcome::Reused, daemon.id()));
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
async fn when_the_starter_is_killed_before_the_hand_over_the_old_one_goes_on() {
    let world = World::new(json!({ "version": "old" }));
    let old = world.manager().spawn().await.unwrap();
    world.install(json!({ "version": "new", "ready_after_ms": 1000 }));
    let mut starter = starter(&world.manager());
    eventually("the new one starts", async || world.processes().len() == 2).await;
    starter.start_kill().unwrap();
    starter.wait().await.unwrap();
    eventually("the new one leaves", async || world.processes() == [old.id()]).await;
    assert_eq!(who(old.address()).await, ("old".to_owned(), old.id()));
    let new = world.manager().spawn().await.unwrap();
    assert!(matches!(new.outcome(), Outcome::Replaced { .. }), "the lock died with its owner");
    world.finish().await;
}

#[tokio::test]
async fn when_the_starter_is_killed_the_first_daemon_starts_all_the_same() {
    let world = World::new(json!({ "ready_after_ms": 500 }));
    let mut starter = starter(&world.manager());
    eventually("the daemon starts", async || world.processes().len() == 1).await;
    starter.start_kill().unwrap();
    starter.wait().await.unwrap();
    let pid = world.processes()[0];
    eventually("it serves", async || {
        world.manager().running().await.unwrap().is_some_and(|running| running.pid == pid)
    })
    .await;
    assert_eq!(world.manager().spawn().await.unwrap().outcome(), &Outcome::Reused);
    world.finish().await;
}

#[tokio::test]
async fn simultaneous_starters_in_different_processes_start_one_daemon() {
    let world = World::new(json!({ "ready_after_ms": 300 }));
    let mut starters: Vec<_> = (0..8).map(|_| starter(&world.manager())).collect();
    for starter in &mut starters {
        assert!(starter.wait().await.unwrap().success());
    }
    assert_eq!(world.processes().len(), 1);
    world.finish().await;
}

/// Another process that starts what `manager` would start.
fn starter(manager: &DaemonManager) -> tokio::process::Child {
    tokio::process::Command::new(env!("CARGO_BIN_EXE_fake-daemon"))
        .args(["--start", &serde_json::to_string(manager).unwrap()])
        .kill_on_drop(true)
        .spawn()
        .unwrap()
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

fn kill(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), signal).unwrap();
}
