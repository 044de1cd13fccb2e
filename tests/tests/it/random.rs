//! Whatever may happen to a chain, in any order, while clients ask and stream: after each step one
//! queen, one hive and one worker serve, each from the newest sources that are good, and nobody was told
//! half an answer.

mod clients; // what clients saw
mod steps; // what may happen

use std::{
    collections::HashMap,
    fmt::Write as _,
    fs::{self, File},
    net::TcpListener,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use chain_tests::{Chain, pause};
use rbee_api::{Health, HiveList};

use self::{
    clients::{Clients, ask},
    steps::{Edit, Level, Signal, Step},
};

/// Steps of a run, unless `CHAIN_TESTS_STEPS` says otherwise, and what decides them, unless
/// `CHAIN_TESTS_SEED` does. New ones are for `./rbee fuzz-chain`.
const STEPS: u64 = 6;
const SEED: u64 = 7;
/// A build on a busy machine is in it.
const LIMIT: Duration = Duration::from_secs(240);
/// Between two looks at who serves.
const LOOK: Duration = Duration::from_millis(100);

/// A small generator whose sequence a seed repeats.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % limit
    }

    fn up_to(&mut self, limit: Duration) -> Duration {
        limit.mul_f64(self.below(1000) as f64 / 1000.0)
    }
}

/// The chain, and what is to serve in it.
struct Scene {
    chain: Chain,
    queen: String,
    /// Of each level, which of its sources are the newest good ones.
    good: [usize; 3],
    /// The executable that each of a level's good sources has made.
    hashes: HashMap<(Level, usize), String>,
}

impl Scene {
    fn new() -> Self {
        let chain = Chain::new();
        // Held together, so that they are two.
        let [queen, hive] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [queen, hive] = [queen, hive].map(|port| port.local_addr().unwrap());
        let config = format!(
            "[auto_update]\non_build_failure = \"last-good\"\n\n[models]\ndefault = {:?}\n\n\
             [queen]\nport = {}\n\n[[hive]]\nalias = \"my-hive\"\nport = {}\n",
            Chain::model(),
            queen.port(),
            hive.port()
        );
        fs::write(chain.home().join("config.toml"), config).unwrap();
        Self { chain, queen: format!("http://{queen}"), good: [0; 3], hashes: HashMap::new() }
    }

    /// Until the newest good sources serve, alone, and nobody holds a lock.
    fn settle(&mut self, log: &str) -> Duration {
        let (began, mut seen) = (Instant::now(), String::new());
        while began.elapsed() < LIMIT {
            let run = self.chain.rbee(&["infer", "all is well"]);
            let answered = "all is well\n".strip_prefix(&*run.stdout);
            let is_right = answered.is_some_and(|rest| rest.is_empty() || run.code != Some(0));
            assert!(is_right, "{run:?}\n{log}");
            seen = match self.unlike_what_is_wanted() {
                None if run.code == Some(0) => return began.elapsed(),
                None => format!("./rbee infer ended with {:?}: {}", run.code, run.stderr),
                Some(why) => why,
            };
            pause(LOOK);
        }
        panic!("not settled: {seen}\n{:?}\n{log}", self.chain.processes())
    }

    /// What keeps this from being a chain in which the newest good sources serve alone.
    fn unlike_what_is_wanted(&mut self) -> Option<String> {
        let mut names: Vec<_> =
            self.chain.processes().into_iter().map(|process| process.name).collect();
        names.sort_unstable();
        if names != ["llamacpp-worker", "queen-rbee", "rbee-hive"] {
            return Some(format!("these are there: {names:?}"));
        }
        let queen = ask::<Health>(&format!("{}/health", self.queen));
        let hives = ask::<HiveList>(&format!("{}/v1/hives", self.queen));
        let (queen, mut hives) = match (queen, hives) {
            (Ok(queen), Ok(hives)) => (queen, hives.hives),
            (queen, hives) => return Some(format!("{queen:?}, {hives:?}")),
        };
        let hive = hives.first_mut().and_then(|hive| Some((hive.health.take()?, &hive.workers)));
        let worker = hive.as_ref().and_then(|(_, workers)| workers.workers.first()?.health.clone());
        let (Some((hive, _)), Some(worker)) = (hive, worker) else {
            return Some(format!("no hive or no worker answers: {hives:?}"));
        };
        for (level, health) in Level::ALL.into_iter().zip([queen, hive, worker]) {
            let source = self.good[level as usize];
            if let Some(other) = self.other(level, source, &health.exe_hash) {
                return Some(format!("{level:?} runs sources {other}, and not {source}"));
            }
        }
        locked(&self.chain.home().join("run")).map(|path| format!("{} is locked", path.display()))
    }

    /// Which sources made the executable, if not these. What nobody has seen yet was made by those that
    /// nobody has seen yet: the last edit's.
    fn other(&mut self, level: Level, source: usize, hash: &str) -> Option<usize> {
        let known = |of: &(Level, usize)| of.0 == level && self.hashes[of] == hash;
        match self.hashes.keys().find(|of| known(of)) {
            Some((_, other)) => Some(*other).filter(|other| *other != source),
            None => {
                let before = self.hashes.insert((level, source), hash.to_owned());
                before.and(Some(usize::MAX))
            }
        }
    }
}

/// A lock below `folder` that somebody holds.
fn locked(folder: &Path) -> Option<PathBuf> {
    fs::read_dir(folder).ok()?.flatten().find_map(|entry| {
        let path = entry.path().join("lifecycle.lock");
        let is_held = File::open(&path).is_ok_and(|lock| lock.try_lock().is_err());
        is_held.then_some(path)
    })
}

#[test]
fn whatever_happens_the_newest_good_chain_serves_and_nobody_gets_half_an_answer() {
    let seed = number("CHAIN_TESTS_SEED").unwrap_or(SEED).max(1);
    let steps = number("CHAIN_TESTS_STEPS").unwrap_or(STEPS);
    let mut random = Random(seed);
    let mut log = format!("seed {seed}\n");

    let mut scene = Scene::new();
    scene.settle(&log);
    let clients = Clients::start(&scene.queen);
    let (mut longest, mut broken) = (Duration::ZERO, 0);
    for number in 0..steps {
        let step = Step::any(&mut random);
        writeln!(log, "step {number}: {step:?}").unwrap();
        eprintln!("step {number} of {steps}: {step:?}");
        step.make(&mut scene, &mut random);
        let took = scene.settle(&log);
        longest = longest.max(took);
        let seen = clients.since(LIMIT).unwrap_or_else(|why| panic!("{why}\n{log}"));
        assert!(seen.wrong.is_empty(), "{:?}\n{log}", seen.wrong);
        assert!(seen.broken.is_empty() || step.may_break(), "{:?}\n{log}", seen.broken);
        broken += seen.broken.len();
        writeln!(log, "    settled after {took:.1?}; broken off: {:?}", seen.broken).unwrap();
    }
    let (answers, streams) = clients.end();
    println!(
        "seed {seed}: {steps} steps, {answers} answers and {streams} streams whole, none wrong or short, \
         {broken} broken off where a process was killed, stopped or bad; settled after {longest:.1?} at most"
    );
}

/// One that is put beside the worker before it has nobody but the hive to watch over it, and the next hive
/// has to know what that one has seen.
#[test]
fn a_bad_worker_gives_way_to_the_one_before_it_until_it_is_mended() {
    let worker = |edit| Step::Edit(Level::Worker, edit);
    let steps = [
        worker(Edit::ExitsAtStart),
        worker(Edit::Good),
        worker(Edit::DiesLater),
        Step::Signal(Level::Hive, Signal::Kill),
        Step::Signal(Level::Hive, Signal::Hang),
        worker(Edit::Good),
    ];
    let (mut random, mut scene, mut log) = (Random(SEED), Scene::new(), String::new());
    scene.settle(&log);
    let clients = Clients::start(&scene.queen);
    for step in steps {
        writeln!(log, "{step:?}").unwrap();
        step.make(&mut scene, &mut random);
        scene.settle(&log);
        let seen = clients.since(LIMIT).unwrap_or_else(|why| panic!("{why}\n{log}"));
        assert!(seen.wrong.is_empty(), "{:?}\n{log}", seen.wrong);
        assert!(seen.broken.is_empty() || step.may_break(), "{:?}\n{log}", seen.broken);
    }
    clients.end();
}

#[expect(clippy::disallowed_methods, reason = "`./rbee fuzz-chain` says how long it is to go on")]
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}
