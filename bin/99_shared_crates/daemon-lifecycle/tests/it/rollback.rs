use std::{fs, io::Write as _, os::unix::fs::symlink, path::PathBuf, time::Duration};

use daemon_lifecycle::{DaemonHandle, DaemonManager, Error, Outcome, StopMode, Waits};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    http::{Client, chunk, who},
    world::{World, eventually, kill},
};

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
    manager.as_object_mut().unwrap().remove("draining_bytes").unwrap();
    let manager: DaemonManager = serde_json::from_value(manager).unwrap();
    assert_eq!(manager.spawn().await.unwrap().outcome(), &Outcome::Started);
    world.finish().await;
}

#[tokio::test]
async fn a_binary_that_failed_elsewhere_is_not_started_where_that_is_known() {
    let world = World::new(json!({ "version": "bad" }));
    let bad = world.manager().spawn().await.unwrap();
    let good = world.dir().join("good");
    fs::copy(bad.identity().executable().unwrap(), &good).unwrap();
    world.manager().stop(StopMode::Now).await.unwrap();
    bad.identity().ended().await;
    assert_eq!(bad.identity().executable(), None);
    // Another one by its bytes.
    fs::OpenOptions::new().append(true).open(&good).unwrap().write_all(b"good").unwrap();
    let manager = world.manager();
    manager.distrust(bad.identity(), &good, "it died within 10 s of its start").unwrap();
    let started = manager.spawn().await.unwrap();
    let why = "it died within 10 s of its start".to_owned();
    assert_eq!(started.outcome(), &Outcome::RolledBack { why });
    assert_ne!(started.identity().exe_hash, bad.identity().exe_hash);
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

#[tokio::test]
async fn a_probation_ends_with_an_answer_that_is_well() {
    let world = World::new(json!({ "version": "old" }));
    let manager = || world.manager().probation(Duration::from_millis(1500));
    let old = manager().spawn().await.unwrap();
    // Too late for two looks a second apart.
    world.install(json!({ "version": "bad", "answer_500_after_serving_ms": 1000 }));
    let bad = manager().spawn().await.unwrap();
    eventually("the new one is gone", async || !world.processes().contains(&bad.id())).await;
    assert_eq!(who(old.address()).await, ("old".to_owned(), old.id()));
    world.finish().await;
}

#[tokio::test]
async fn what_failed_is_not_started_when_the_good_one_dies_or_is_stopped() {
    let world = World::new(json!({ "version": "good" }));
    let manager = || world.manager().probation(Duration::from_millis(200));
    let good = manager().spawn().await.unwrap();
    let recorded = world.run_dir().join("fake/good.json");
    eventually("it has proven itself", async || recorded.exists()).await;
    // Later it is somewhere else: what stands at the binary's path is what is to run.
    let exe = world.dir().join("kept");
    fs::rename(world.binary(), &exe).unwrap();
    fs::write(&recorded, json!({ "exe": exe, "exe_hash": good.identity().exe_hash }).to_string())
        .unwrap();
    world.install(json!({ "version": "bad", "die_after_serving_ms": 100 }));
    let bad = manager().spawn().await.unwrap();
    eventually("it has failed", async || world.processes() == [good.id()]).await;
    // Whoever stood by for it writes that down a moment after it has died.
    let is_known = || {
        let files = fs::read_dir(world.run_dir().join("fake")).unwrap().flatten();
        files.map(|file| file.file_name()).any(|name| name.as_encoded_bytes().starts_with(b"bad-"))
    };
    eventually("that is recorded", async || is_known()).await;
    assert_ne!(bad.id(), good.id());
    for ends in ["killed", "stopped"] {
        if ends == "killed" {
            kill(good.id(), Signal::KILL);
        } else {
            manager().stop(StopMode::Now).await.unwrap();
        }
        let again = manager().spawn().await.unwrap();
        assert!(matches!(again.outcome(), Outcome::RolledBack { .. }), "{ends}: {again:?}");
        assert_eq!(who(again.address()).await.0, "good", "{ends}");
    }
    world.install(json!({ "version": "mended" }));
    assert_eq!(who(manager().spawn().await.unwrap().address()).await.0, "mended");
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
async fn a_binary_that_was_too_slow_is_tried_again_later() {
    let world = World::new(json!({ "version": "old" }));
    let old = world.manager().spawn().await.unwrap();
    world.install(json!({ "version": "slow", "ready_after_ms": 2000 }));
    let hasty = world.manager().ready_timeout(Duration::from_millis(200));
    assert!(matches!(hasty.spawn().await.unwrap().outcome(), Outcome::RolledBack { .. }));
    // Not at once: an hour of load would cost as many attempts as there are callers.
    let kept = world.manager().spawn().await.unwrap();
    assert!(matches!(kept.outcome(), Outcome::RolledBack { .. }));
    assert_eq!(kept.id(), old.id());

    let folder = world.run_dir().join("fake");
    let record = fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path());
    let record = record.filter(|path| path.to_string_lossy().contains("/bad-")).collect::<Vec<_>>();
    let mut failed: Value = serde_json::from_slice(&fs::read(&record[0]).unwrap()).unwrap();
    failed["slow"]["again_at_s"] = json!(0);
    fs::write(&record[0], failed.to_string()).unwrap();
    let new = world.manager().spawn().await.unwrap();
    assert_eq!(new.outcome(), &Outcome::Replaced { from: old.identity().clone() });
    assert_eq!(who(old.address()).await.0, "slow");
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

#[tokio::test]
async fn what_a_new_one_has_begun_to_answer_is_finished_although_it_is_rolled_back() {
    for bad in [
        json!({ "version": "new", "answer_500_after_serving_ms": 1500 }),
        json!({ "version": "new", "mute": true }),
    ] {
        let world = World::new(json!({ "version": "old" }));
        let old = world.manager().spawn().await.unwrap();
        world.install(bad.clone());
        let new = world.manager().spawn().await.unwrap();
        let mut stream = Client::new(new.address()).begin("/stream/200/100").await.unwrap();
        eventually("the old one serves again", async || {
            world.manager().running().await.unwrap().is_some_and(|running| running.pid == old.id())
        })
        .await;
        assert_eq!(who(old.address()).await.1, old.id());
        let kept = world.manager().spawn().await.unwrap();
        assert!(
            matches!(kept.outcome(), Outcome::RolledBack { .. }),
            "{bad}: {:?}",
            kept.outcome()
        );
        let mut last = String::new();
        while let Some(token) = chunk(&mut stream).await.unwrap() {
            last = token;
        }
        assert_eq!(last, "token 199\n", "{bad}");
        eventually("the new one is gone", async || world.processes() == [old.id()]).await;
        world.finish().await;
    }
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

/// A daemon that has nothing to hand over, at a link that leads to one binary after the other.
struct Alone {
    world: World,
    manager: DaemonManager,
    link: PathBuf,
    binaries: usize,
}

impl Alone {
    fn new(script: Value) -> Self {
        let world = World::new(script.clone());
        let (link, socket) = (world.dir().join("link"), world.dir().join("http.sock"));
        let manager = world.manager_of_with(&link, &["--unix", socket.to_str().unwrap()]);
        let mut alone = Self { world, manager, link, binaries: 0 };
        alone.install(script);
        alone
    }

    /// Leaves the binary before where it is.
    fn install(&mut self, script: Value) {
        self.world.install(script);
        self.binaries += 1;
        let binary = self.world.dir().join(format!("binary-{}", self.binaries));
        fs::rename(self.world.binary(), &binary).unwrap();
        drop(fs::remove_file(&self.link));
        symlink(binary, &self.link).unwrap();
    }

    async fn spawn(&self) -> Result<DaemonHandle, Error> {
        self.manager.clone().spawn().await
    }

    async fn spawn_for_a_program(&self) -> Result<DaemonHandle, Error> {
        self.manager.clone().waits(Waits::Program).spawn().await
    }

    /// How often a process of that version has been started.
    fn starts(&self, version: &str) -> usize {
        let log = fs::read_to_string(self.world.dir().join("log/fake.log")).unwrap_or_default();
        log.matches(&format!("fake-daemon {version} with")).count()
    }

    /// Lets the time pass for which what has failed is held back.
    fn wait_is_over(&self) -> u64 {
        let files = fs::read_dir(self.world.run_dir().join("fake")).unwrap().flatten();
        let mut records = files.map(|file| file.path());
        let record = records.find(|path| path.to_string_lossy().contains("/bad-")).unwrap();
        let mut failed: Value = serde_json::from_slice(&fs::read(&record).unwrap()).unwrap();
        failed["slow"]["again_at_s"] = json!(0);
        fs::write(&record, failed.to_string()).unwrap();
        failed["slow"]["times"].as_u64().unwrap()
    }
}

#[tokio::test]
async fn a_successor_that_exits_at_start_leaves_one_that_cannot_hand_over_started_again() {
    let mut alone = Alone::new(json!({ "version": "good" }));
    let good = alone.spawn().await.unwrap();
    alone.install(json!({ "version": "bad", "exit_before_ready": 3 }));
    let mut serves = good.id();
    for times in 1..3 {
        for attempt in ["first", "second", "third"] {
            let kept = alone.spawn().await.unwrap();
            let Outcome::RolledBack { why } = kept.outcome() else { panic!("{attempt}: {kept:?}") };
            assert!(why.contains("exit status: 3"), "{why}");
            assert_eq!(who(kept.address()).await, ("good".to_owned(), kept.id()), "{attempt}");
            assert_eq!(kept.id() == serves, attempt != "first", "{attempt}");
            serves = kept.id();
        }
        assert_eq!((alone.starts("bad"), alone.wait_is_over()), (times, times as u64));
    }
    alone.install(json!({ "version": "mended" }));
    let mended = alone.spawn().await.unwrap();
    assert!(matches!(mended.outcome(), Outcome::Replaced { .. }), "{mended:?}");
    assert_eq!(who(mended.address()).await.0, "mended");
    alone.world.finish().await;
}

#[tokio::test]
async fn what_exits_at_start_where_another_binary_has_died_is_not_started_for_each_who_asks() {
    let mut alone = Alone::new(json!({ "version": "good" }));
    alone.manager = alone.manager.probation(Duration::from_millis(200));
    let good = alone.spawn().await.unwrap();
    let recorded = alone.world.run_dir().join("fake/good.json");
    eventually("it has proven itself", async || recorded.exists()).await;
    alone.install(json!({ "version": "bad", "exit_before_ready": 3 }));
    kill(good.id(), Signal::KILL);
    good.identity().ended().await;
    for attempt in 0..3 {
        let again = alone.spawn_for_a_program().await.unwrap();
        assert!(matches!(again.outcome(), Outcome::RolledBack { .. }), "{attempt}: {again:?}");
        assert_eq!(who(again.address()).await, ("good".to_owned(), again.id()));
        assert_eq!(alone.starts("bad"), 1);
    }
    alone.world.finish().await;
}

#[tokio::test]
async fn what_somebody_has_killed_as_it_started_is_started_again() {
    let alone = Alone::new(json!({ "version": "slow", "never_ready": true }));
    for starts in 1..3 {
        let starting = tokio::spawn({
            let manager = alone.manager.clone().waits(Waits::Program);
            async move { manager.spawn().await.unwrap_err() }
        });
        eventually("it is started", async || alone.starts("slow") == starts).await;
        kill(alone.world.processes()[0], Signal::KILL);
        let error = starting.await.unwrap();
        assert!(matches!(error, Error::ExitedBeforeReady { .. }), "{error}");
    }
    alone.world.finish().await;
}

#[tokio::test]
async fn where_no_binary_is_good_a_program_is_told_at_once_why_and_a_person_may_try() {
    let mut alone = Alone::new(json!({ "version": "bad", "exit_before_ready": 3 }));
    let first = alone.spawn_for_a_program().await.unwrap_err();
    assert!(matches!(first, Error::ExitedBeforeReady { .. }), "{first}");
    for _ in 0..2 {
        let held = alone.spawn_for_a_program().await.unwrap_err();
        assert!(held.is_held_back() && held.to_string().contains("exit status: 3"), "{held}");
    }
    assert_eq!(alone.starts("bad"), 1);
    alone.spawn().await.unwrap_err();
    assert_eq!((alone.starts("bad"), alone.wait_is_over()), (2, 2));
    alone.spawn_for_a_program().await.unwrap_err();
    assert_eq!(alone.starts("bad"), 3);
    alone.install(json!({ "version": "mended" }));
    assert_eq!(who(alone.spawn_for_a_program().await.unwrap().address()).await.0, "mended");
    alone.world.finish().await;
}
