use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use daemon_lifecycle::{DaemonManager, StopMode};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::{
    process::{Child, Command},
    sync::Semaphore,
    task::{JoinSet, LocalSet},
};

/// For whatever happens within a moment; a test that waits this long has failed.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// So many worlds at once, whichever tests they are of: most of each is waiting.
static PERMITS: Semaphore = Semaphore::const_new(16);

/// A place of its own for one test. At its end nothing may be left running in it.
pub(crate) struct World {
    dir: tempfile::TempDir,
}

impl World {
    /// With a daemon's binary in it that does what `script` says.
    pub(crate) fn new(script: Value) -> Self {
        let world = Self { dir: tempfile::tempdir().unwrap() };
        world.install(script);
        world
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn run_dir(&self) -> PathBuf {
        self.dir().join("run")
    }

    pub(crate) fn binary(&self) -> PathBuf {
        self.dir().join("fake-daemon")
    }

    /// Replaces the binary by a really different one.
    pub(crate) fn install(&self, script: Value) {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let new = self.dir().join(format!("new-{}", COUNT.fetch_add(1, Ordering::Relaxed)));
        fs::copy(env!("CARGO_BIN_EXE_fake-daemon"), &new).unwrap();
        let script = script.to_string();
        let mut exe = fs::File::options().append(true).open(&new).unwrap();
        write!(exe, "{script}{:08}#script!", script.len()).unwrap();
        drop(exe);
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(new, self.binary()).unwrap();
    }

    pub(crate) fn manager(&self) -> DaemonManager {
        self.manager_with(&["--listen", "127.0.0.1:0"])
    }

    pub(crate) fn manager_with(&self, args: &[&str]) -> DaemonManager {
        self.manager_of_with(&self.binary(), args)
    }

    /// Of the binary at another path.
    pub(crate) fn manager_of(&self, binary: &Path) -> DaemonManager {
        self.manager_of_with(binary, &["--listen", "127.0.0.1:0"])
    }

    pub(crate) fn manager_of_with(&self, binary: &Path, args: &[&str]) -> DaemonManager {
        DaemonManager::new(binary, args.iter().copied())
            .instance(self.run_dir(), "fake")
            .log_dir(self.dir().join("log"))
            .ready_timeout(SOON)
            .drain_timeout(SOON)
            .env("FAKE_WORLD", self.dir().to_str().unwrap())
            .env("FAKE_EDGES", self.dir().to_str().unwrap())
    }

    /// Another process that starts what `manager` would start. At an edge it kills itself (`die_at`) or
    /// hangs (`stop_at`).
    pub(crate) fn starter(&self, manager: &DaemonManager, fault: Option<(&str, &str)>) -> Child {
        let script = fault.map(|(what, at)| json!({ what: at }).to_string());
        Command::new(env!("CARGO_BIN_EXE_fake-daemon"))
            .args(["--start", &serde_json::to_string(manager).unwrap()])
            .args(script)
            .env("FAKE_EDGES", self.dir())
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    }

    /// Who came past which edge, in this order.
    pub(crate) fn edges(&self) -> Vec<(String, String)> {
        let edges = fs::read_to_string(self.dir().join("edges")).unwrap_or_default();
        let pairs = edges.lines().filter_map(|line| line.split_once(' '));
        pairs.map(|(party, at)| (party.to_owned(), at.to_owned())).collect()
    }

    /// Whether the fault of `party` has happened.
    pub(crate) fn is_hit(&self, party: &str) -> bool {
        self.dir().join(format!("hit-{party}")).exists()
    }

    /// Everything that runs in this world, zombies excepted.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let mark = format!("FAKE_WORLD={}\0", self.dir().display());
        let mut pids: Vec<u32> = fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(|pid| {
                let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
                environment.windows(mark.len()).any(|window| window == mark.as_bytes())
            })
            .collect();
        pids.sort_unstable();
        pids
    }

    /// Stops the daemon, and shows that nothing is left.
    pub(crate) async fn finish(self) {
        self.manager().stop(StopMode::Now).await.unwrap();
        assert_eq!(self.processes(), Vec::<u32>::new(), "processes are left");
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Only after a failure is there anything to kill.
        for pid in self.processes() {
            kill_if_alive(pid);
        }
    }
}

/// Runs all of them, several at once.
pub(crate) async fn together(runs: impl Iterator<Item = impl Future<Output = ()> + 'static>) {
    let (local, mut all) = (LocalSet::new(), JoinSet::new());
    for run in runs {
        let permitted = async move {
            let _permit = PERMITS.acquire().await.unwrap();
            run.await;
        };
        all.spawn_local_on(permitted, &local);
    }
    let ended = async {
        while let Some(run) = all.join_next().await {
            run.unwrap();
        }
    };
    local.run_until(ended).await;
}

/// Waits until `holds`.
pub(crate) async fn eventually(what: &str, holds: impl AsyncFnMut() -> bool) {
    within(SOON, what, holds).await;
}

pub(crate) async fn within(limit: Duration, what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !holds().await {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Sends a signal to a process that is there.
pub(crate) fn kill(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), signal).unwrap();
}

pub(crate) fn kill_if_alive(pid: u32) {
    signal_if_alive(pid, Signal::KILL);
}

pub(crate) fn signal_if_alive(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), signal).ok();
}
