//! Whatever may happen to a daemon, in any order, while clients use it: after each step one
//! generation serves, from the newest sources that are good, and nobody was told half an answer.

mod steps; // what may happen
mod clients; // what clients saw

use std::{
    fmt::Write as _,
    fs::File,
    time::{Duration, Instant},
};

use auto_update::BuildEnvironment;
use daemon_lifecycle::{DaemonManager, OnBuildFailure, StopMode, UpdatePolicy};
use rustix::fs::{FlockOperation, flock};

use self::{
    clients::Clients,
    steps::{Step, good},
};
use crate::{http::Client, paper::assert_transitions_are_drawn, tree::Tree, world::World};

/// Steps of a run, unless `DAEMON_LIFECYCLE_STEPS` says otherwise, and what decides them, unless
/// `DAEMON_LIFECYCLE_SEED` does. New ones are for `./rbee fuzz-chain --daemon`.
const STEPS: u64 = 12;
const SEED: u64 = 7;
/// A build on a busy machine is in it.
const LIMIT: Duration = Duration::from_secs(120);

/// A small generator whose sequence a seed repeats.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % limit
    }
}

/// The daemon and where it comes from.
struct Scene {
    world: World,
    tree: Tree,
    address: String,
    /// How many versions there have been.
    versions: u32,
    /// The newest version that is to serve.
    good: String,
}

impl Scene {
    fn manager(&self) -> DaemonManager {
        let policy = UpdatePolicy {
            enabled: true,
            check_interval: Duration::ZERO,
            on_build_failure: OnBuildFailure::LastGood,
            profile: "dev".to_owned(),
        };
        self.tree
            .manager_at(&self.world, &self.address)
            .auto_update_policy(policy)
            .log_dir(self.world.dir().join("log"))
            .env("FAKE_EDGES", self.world.dir().to_str().unwrap())
            .probation(Duration::from_secs(1))
            .ready_timeout(Duration::from_secs(10))
            .drain_timeout(Duration::from_secs(5))
    }

    fn next_version(&mut self) -> String {
        self.versions += 1;
        self.versions.to_string()
    }

    /// Until the newest good version serves, alone, and nobody holds the lock.
    async fn settle(&self, log: &str) -> Duration {
        let began = Instant::now();
        let mut seen = String::new();
        while began.elapsed() < LIMIT {
            seen = match self.manager().spawn().await {
                Err(error) => format!("no daemon: {error}"),
                Ok(daemon) => match Client::new(&self.address).get("/who").await {
                    Ok((200, who)) if self.is_good(&who) => {
                        let processes = self.world.processes();
                        if processes == [daemon.id()] && !self.is_locked() {
                            return began.elapsed();
                        }
                        format!("{who:?} serves, and these are there: {processes:?}")
                    }
                    other => format!("{} serves: {other:?}", daemon.id()),
                },
            };
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("not settled, {} is to serve: {seen}\n{log}", self.good)
    }

    fn is_good(&self, who: &str) -> bool {
        who.split_once(' ').is_some_and(|(version, _)| version == self.good)
    }

    fn is_locked(&self) -> bool {
        let lock = File::open(self.world.run_dir().join("fake/lifecycle.lock"));
        lock.is_ok_and(|lock| flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_one_good_generation_serves_and_nobody_gets_half_an_answer() {
    let environment = BuildEnvironment::capture();
    let number = |name: &str| environment.get(name)?.to_str()?.parse::<u64>().ok();
    let seed = number("DAEMON_LIFECYCLE_SEED").unwrap_or(SEED).max(1);
    let steps = number("DAEMON_LIFECYCLE_STEPS").unwrap_or(STEPS);
    let mut random = Random(seed);
    let mut log = format!("seed {seed}\n");

    let world = World::new(serde_json::json!({}));
    let tree = Tree::new(&world, "tree", good("0"));
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    let mut scene = Scene { world, tree, address, versions: 0, good: "0".into() };
    scene.settle(&log).await;
    let clients = Clients::start(&scene.address);
    let (mut longest, mut broken) = (Duration::ZERO, 0);
    for number in 0..steps {
        let step = Step::any(&mut random);
        writeln!(log, "step {number}: {step:?}").unwrap();
        step.make(&mut scene, &mut random).await;
        longest = longest.max(scene.settle(&log).await);
        let seen = clients.since(LIMIT).await.unwrap_or_else(|why| panic!("{why}\n{log}"));
        assert!(seen.wrong.is_empty(), "{:?}\n{log}", seen.wrong);
        let first = seen.broken.first();
        assert!(first.is_none() || step.may_break(), "{first:?}\n{log}");
        broken += seen.broken.len();
    }
    let (answers, streams) = clients.end().await;
    println!(
        "seed {seed}: {steps} steps, {answers} requests and {streams} streams, none wrong or short, {broken} \
         broken off where a process was killed, stopped or bad; settled after {longest:?} at most"
    );
    assert_transitions_are_drawn(&scene.world);
    scene.manager().stop(StopMode::Now).await.unwrap();
    scene.world.finish().await;
}
