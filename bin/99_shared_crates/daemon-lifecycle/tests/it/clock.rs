//! The time of day is set an hour forwards or backwards, for daemons and starters alike.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime},
};

use daemon_lifecycle::{DaemonManager, Outcome, RestartPolicy, StopMode, Supervised};
use serde_json::json;

use crate::{
    again,
    http::{Asking, Client, chunk, who},
    world::{World, eventually},
};

const HOUR: i64 = 60 * 60;

/// Over within the hour by the time of day, and not within a test.
const LONG: Duration = Duration::from_secs(600);

const SHORT: Duration = Duration::from_millis(300);

/// A time of day that a test can set, for this process and the daemons that it starts.
struct Clock {
    library: PathBuf,
    offset: PathBuf,
}

impl Clock {
    /// `None` after the test `name` has been run with such a clock.
    #[track_caller]
    fn of(name: &str) -> Option<Self> {
        if let Some(dir) = again::inside() {
            let dir = Path::new(&dir);
            return Some(Self { library: dir.join("clock.so"), offset: dir.join("offset") });
        }
        let dir = tempfile::tempdir().unwrap();
        let (library, offset) = (dir.path().join("clock.so"), dir.path().join("offset"));
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/clock.c");
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-Wall", "-Werror", "-o"]).arg(&library).arg(source);
        assert!(compiler.status().expect("`cc` is installed").success());
        fs::write(&offset, "0").unwrap();
        let mut preloaded = Command::new("env");
        preloaded.arg(variable("LD_PRELOAD", &library)).arg(variable("CLOCK_OFFSET", &offset));
        again::run(name, dir.path().to_str().unwrap(), preloaded);
        None
    }

    /// Sets it to so many seconds from now, and shows that it is.
    fn set(&self, seconds: i64) {
        let before = SystemTime::now();
        let new = self.offset.with_extension("new");
        fs::write(&new, seconds.to_string()).unwrap();
        fs::rename(new, &self.offset).unwrap();
        let half = Duration::from_secs(HOUR as u64 / 2);
        let now = SystemTime::now();
        assert!(if seconds > 0 { now > before + half } else { now < before - half });
    }

    fn manager(&self, world: &World) -> DaemonManager {
        world
            .manager()
            .env("LD_PRELOAD", self.library.to_str().unwrap())
            .env("CLOCK_OFFSET", self.offset.to_str().unwrap())
    }
}

fn variable(name: &str, path: &Path) -> String {
    format!("{name}={}", path.display())
}

/// The time that `address` sees, in seconds since the epoch.
async fn time_of(address: &str) -> u64 {
    Client::new(address).get("/time").await.unwrap().1.trim().parse().unwrap()
}

/// How often `address` has been asked whether it is well.
async fn probes(address: &str) -> u32 {
    Client::new(address).get("/probes").await.unwrap().1.trim().parse().unwrap()
}

#[tokio::test]
async fn nothing_is_over_early_when_the_clock_goes_forwards() {
    let Some(clock) = Clock::of("clock::nothing_is_over_early_when_the_clock_goes_forwards") else {
        return;
    };
    let world = World::new(json!({ "version": "old" }));
    let manager = clock.manager(&world).drain_timeout(LONG).ready_timeout(LONG);
    let old = manager.spawn().await.unwrap();
    let asking = Asking::begin(old.address().to_owned());
    let mut stream = Client::new(old.address()).begin("/stream/100000/5").await.unwrap();
    let before = time_of(old.address()).await;
    clock.set(HOUR);
    assert!(time_of(old.address()).await > before + HOUR as u64 / 2, "the daemon sees it");
    assert_eq!(manager.spawn().await.unwrap().outcome(), &Outcome::Reused);

    // While the next one starts, and in its probation.
    world.install(json!({ "version": "new", "ready_after_ms": 500 }));
    let starting = tokio::spawn({
        let manager = manager.clone().probation(LONG);
        async move { manager.spawn().await.unwrap() }
    });
    eventually("the new one starts", async || world.processes().len() == 2).await;
    clock.set(2 * HOUR);
    let new = starting.await.unwrap();
    assert_eq!(new.outcome(), &Outcome::Replaced { from: old.identity().clone() });
    clock.set(3 * HOUR);
    let asked = probes(new.address()).await;
    eventually("the old one still watches", async || probes(new.address()).await > asked + 1).await;
    assert_eq!(world.processes().len(), 2, "the probation is not over");

    // While the old one drains: a next one ends the probation.
    world.install(json!({ "version": "newest" }));
    let newest = manager.spawn().await.unwrap();
    clock.set(4 * HOUR);
    for _ in 0..100 {
        let token = chunk(&mut stream).await.unwrap().expect("the stream goes on");
        assert!(token.starts_with("token "), "{token}");
    }
    assert_eq!(who(newest.address()).await.0, "newest");
    let seen = asking.end().await;
    assert_eq!((seen.refused, seen.lost), (Vec::new(), Vec::new()));
    manager.stop(StopMode::Now).await.unwrap();
    world.finish().await;
}

#[tokio::test]
async fn nothing_waits_for_the_clock_when_it_goes_backwards() {
    let Some(clock) = Clock::of("clock::nothing_waits_for_the_clock_when_it_goes_backwards") else {
        return;
    };
    let world = World::new(json!({ "version": "old" }));
    let manager = clock.manager(&world).drain_timeout(SHORT).probation(SHORT);
    let old = manager.spawn().await.unwrap();
    let mut stream = Client::new(old.address()).begin("/stream/100000/5").await.unwrap();
    chunk(&mut stream).await.unwrap().unwrap();
    clock.set(-HOUR);
    assert_eq!(manager.spawn().await.unwrap().outcome(), &Outcome::Reused);

    world.install(json!({ "version": "never", "never_ready": true }));
    let starting = tokio::spawn({
        let manager = manager.clone().ready_timeout(Duration::from_secs(1));
        async move { manager.spawn().await.unwrap() }
    });
    eventually("the next one starts", async || world.processes().len() == 2).await;
    clock.set(-2 * HOUR);
    let kept = starting.await.unwrap();
    assert!(matches!(kept.outcome(), Outcome::RolledBack { .. }), "{:?}", kept.outcome());

    world.install(json!({ "version": "new" }));
    let new = manager.spawn().await.unwrap();
    assert_eq!(new.outcome(), &Outcome::Replaced { from: old.identity().clone() });
    clock.set(-3 * HOUR);
    let mut last = String::new();
    while let Some(token) = chunk(&mut stream).await.unwrap() {
        last = token;
    }
    assert_eq!(last, "hand-off\n", "the drain deadline came");
    eventually("the old one is gone", async || world.processes() == [new.id()]).await;
    assert_eq!(who(new.address()).await, ("new".to_owned(), new.id()));
    world.finish().await;
}

#[tokio::test]
async fn a_quarantine_lasts_its_time_whatever_the_clock_says() {
    let Some(clock) = Clock::of("clock::a_quarantine_lasts_its_time_whatever_the_clock_says")
    else {
        return;
    };
    let world = World::new(json!({ "version": "old" }));
    let manager = clock.manager(&world);
    let old = manager.spawn().await.unwrap();
    world.install(json!({ "version": "slow", "ready_after_ms": 2000 }));
    let hasty = manager.clone().ready_timeout(Duration::from_millis(200));
    assert!(matches!(hasty.spawn().await.unwrap().outcome(), Outcome::RolledBack { .. }));
    for seconds in [HOUR, -HOUR] {
        clock.set(seconds);
        let kept = manager.spawn().await.unwrap();
        assert!(matches!(kept.outcome(), Outcome::RolledBack { .. }), "{:?}", kept.outcome());
        assert_eq!(kept.id(), old.id());
    }
    world.finish().await;
}

#[tokio::test]
async fn a_supervisor_counts_failures_and_delays_whatever_the_clock_says() {
    let name = "clock::a_supervisor_counts_failures_and_delays_whatever_the_clock_says";
    let Some(clock) = Clock::of(name) else { return };
    let world = World::new(json!({ "exit_before_ready": 3 }));
    let quick = RestartPolicy {
        min_delay: SHORT,
        max_delay: SHORT,
        max_failures: 3,
        ..RestartPolicy::default()
    };
    let log = world.dir().join("log/fake.log");
    let starts = || fs::read_to_string(&log).unwrap().matches("fake-daemon").count();
    let supervisor = clock.manager(&world).supervise(quick.clone());
    let mut status = supervisor.status();
    let mut seconds = HOUR;
    loop {
        match &*status.borrow_and_update() {
            // Neither is a failure forgotten, nor a delay for ever.
            Supervised::BackingOff { .. } => {
                clock.set(seconds);
                seconds = -seconds;
            }
            Supervised::Failed { .. } => break,
            _ => {}
        }
        tokio::time::timeout(crate::world::SOON, status.changed()).await.unwrap().unwrap();
    }
    assert_eq!(starts(), quick.max_failures);

    let patient = RestartPolicy { min_delay: LONG, max_delay: LONG, ..quick };
    let supervisor = clock.manager(&world).supervise(patient);
    let mut status = supervisor.status();
    let backs_off = |status: &Supervised| matches!(status, Supervised::BackingOff { .. });
    status.wait_for(backs_off).await.unwrap();
    clock.set(2 * HOUR);
    // Whatever takes a while.
    let other = clock.manager(&world).instance(world.run_dir(), "other");
    other.spawn().await.unwrap_err();
    assert!(backs_off(&status.borrow()), "the delay is not over");
    world.finish().await;
}
