use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use rbee_api::{Health, HiveList};
use tempfile::TempDir;

use crate::{
    Checkout, Process,
    checkout::{original, target_dir},
    guard::Guard,
    processes,
};

/// How long one HTTP request of a test may take.
const DEADLINE: Duration = Duration::from_secs(60);

/// A checkout, a home for it, and everything that runs in it.
#[derive(Debug)]
pub struct Chain {
    checkout: Option<Checkout>,
    root: PathBuf,
    target: PathBuf,
    _guard: Guard,
    home: TempDir,
    /// Where programs are looked for first.
    programs: Option<PathBuf>,
}

/// What a run of `./rbee` came to.
#[derive(Debug, Clone)]
pub struct Run {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Chain {
    /// A copy of the workspace with a stand-in worker, one of two; the test model's file is the default model.
    pub fn new() -> Self {
        let copies = ["chain-tests", "chain-tests/second"].map(|copy| target_dir().join(copy));
        let checkout = Checkout::with_stand_in_worker(&copies);
        Self::of(checkout.with_dependencies(), &Self::model())
    }

    /// The same with the copy, and all that is built from it, in `folder`, which is kept.
    pub fn in_folder(folder: &Path, model: &Path) -> Self {
        Self::of(Checkout::with_stand_in_worker(&[folder.to_owned()]), model)
    }

    /// A copy with the real worker, to be edited; it lives beside the one of [`Chain::new`].
    pub fn whole() -> Self {
        Self::whole_with(&Self::model())
    }

    /// The same with that default model.
    pub fn whole_with(model: &Path) -> Self {
        let checkout = Checkout::whole(target_dir().join("chain-tests/whole"));
        Self::of(checkout.with_dependencies(), model)
    }

    fn of(checkout: Checkout, model: &Path) -> Self {
        let (root, target) = (checkout.root().to_owned(), checkout.target().to_owned());
        let chain = Self::at(Some(checkout), root, target);
        chain.configure(&format!("[models]\ndefault = {model:?}\n"));
        chain
    }

    /// This workspace itself, with the real worker.
    pub fn real() -> Self {
        let (root, target) = (original(), target_dir());
        Self::at(None, root, target)
    }

    fn at(checkout: Option<Checkout>, root: PathBuf, target: PathBuf) -> Self {
        let home = home();
        Self { checkout, root, target, _guard: Guard::of(home.path()), home, programs: None }
    }

    /// The same with programs of its own in that folder.
    #[must_use]
    pub fn with_programs(mut self, folder: &Path) -> Self {
        self.programs = Some(folder.to_owned());
        self
    }

    /// The files that the chain is built from.
    #[track_caller]
    pub fn checkout(&self) -> &Checkout {
        self.checkout.as_ref().expect("the real workspace is not edited")
    }

    /// Where its binaries are built.
    pub fn target(&self) -> &Path {
        &self.target
    }

    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Adds to `config.toml` what belongs into its `[queen]` table.
    pub fn configure_queen(&self, toml: &str) {
        let path = self.home().join("config.toml");
        let present = fs::read_to_string(&path).unwrap_or_default();
        let table = format!("[queen]\n{toml}\n");
        fs::write(path, present.replacen("[queen]\n", &table, 1)).expect("the home can be written");
    }

    /// Adds to `config.toml`.
    pub fn configure(&self, toml: &str) {
        let path = self.home().join("config.toml");
        let present = fs::read_to_string(&path).unwrap_or_default();
        fs::write(path, format!("{toml}\n{present}")).expect("the home can be written");
    }

    /// `./rbee ARGS` with the environment of this home only.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.root.join("rbee"));
        command.args(args);
        self.environment(&mut command);
        command
    }

    /// The environment of this home, and of the toolchain.
    pub fn environment(&self, command: &mut Command) {
        command
            .env_clear()
            .env("RBEE_HOME", self.home())
            .env("CARGO_TARGET_DIR", &self.target)
            .env("NO_COLOR", "1")
            .stdin(Stdio::null());
        let kept = ["PATH", "HOME", "CARGO_HOME", "RUSTUP_HOME", "TMPDIR", "RBEE_TEST_RUN"];
        let network = std::env::vars_os().filter(|(name, _)| {
            let name = name.to_string_lossy();
            name.ends_with("_proxy") || name.ends_with("_PROXY") || name.starts_with("PIP_")
        });
        command.envs(std::env::vars_os().filter(|(name, _)| kept.iter().any(|k| name == k)));
        command.envs(network);
        if let Some(programs) = &self.programs {
            let others = path();
            let all = std::iter::once(programs.clone()).chain(std::env::split_paths(&others));
            command.env("PATH", std::env::join_paths(all).expect("a folder's path has no colon"));
        }
    }

    /// Runs `./rbee ARGS` to its end.
    pub fn rbee(&self, args: &[&str]) -> Run {
        Run::of(self.command(args))
    }

    /// Runs `./rbee ARGS`, which must succeed.
    #[track_caller]
    pub fn succeed(&self, args: &[&str]) -> Run {
        let run = self.rbee(args);
        assert_eq!(run.code, Some(0), "./rbee {args:?}\n{}{}", run.stdout, run.stderr);
        run
    }

    /// Where the queen answers.
    #[track_caller]
    pub fn queen(&self) -> String {
        let status = self.succeed(&["status", "--json"]).stdout;
        let status: serde_json::Value = serde_json::from_str(&status).expect("status is JSON");
        let levels = status["levels"].as_array().map(Vec::as_slice).unwrap_or_default();
        let queen = levels.iter().find(|level| level["level"] == "queen");
        let port = queen.and_then(|queen| queen["port"].as_u64());
        format!("http://127.0.0.1:{}", port.unwrap_or_else(|| panic!("no queen runs: {status}")))
    }

    /// What the queen, its hive and its worker say of themselves, in this order.
    #[track_caller]
    pub fn healths(&self) -> [Health; 3] {
        let queen = self.queen();
        let hives: HiveList = get(&format!("{queen}/v1/hives"));
        let hive = &hives.hives[0];
        let worker = hive.workers.workers.first().expect("a worker runs");
        [
            get(&format!("{queen}/health")),
            hive.health.clone().expect("a hive runs"),
            worker.health.clone().expect("the worker answers"),
        ]
    }

    pub fn processes(&self) -> Vec<Process> {
        processes(self.home())
    }

    /// Those that serve; a cargo that one of them has started is none.
    pub fn daemons(&self) -> Vec<Process> {
        const NAMES: [&str; 3] = ["queen-rbee", "rbee-hive", "llamacpp-worker"];
        let mut processes = self.processes();
        processes.retain(|process| NAMES.contains(&process.name.as_str()));
        processes
    }

    /// The pid of the chain's process of this name.
    #[track_caller]
    pub fn pid(&self, name: &str) -> u32 {
        let running = self.processes();
        let mut matching = running.iter().filter(|process| process.name == name);
        match (matching.next(), matching.next()) {
            (Some(process), None) => process.pid,
            _ => panic!("not one `{name}` runs: {running:?}"),
        }
    }

    /// The file of the model that tests use.
    #[expect(clippy::disallowed_methods, reason = "`./rbee test` says where the model is")]
    pub fn model() -> PathBuf {
        let path = std::env::var_os("RBEE_TEST_MODEL");
        path.map(PathBuf::from).expect("`./rbee test` sets RBEE_TEST_MODEL")
    }
}

impl Default for Chain {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Chain {
    /// Stops the chain, and fails the test if that leaves a process.
    fn drop(&mut self) {
        let stop = self.rbee(&["queen", "stop"]);
        // The guard ends them.
        let left = self.processes();
        if !std::thread::panicking() {
            assert!(left.is_empty(), "`queen stop` left {left:?}\n{}", stop.stderr);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the toolchain's, beside the test's own programs")]
fn path() -> std::ffi::OsString {
    std::env::var_os("PATH").unwrap_or_default()
}

/// JSON from a GET, which must succeed.
#[track_caller]
pub fn get<T: serde::de::DeserializeOwned>(url: &str) -> T {
    read(url, agent().get(url).call())
}

/// JSON from a POST of JSON, which must succeed.
#[track_caller]
pub fn post<T: serde::de::DeserializeOwned>(url: &str, body: &serde_json::Value) -> T {
    let request = agent().post(url).header("content-type", "application/json");
    read(url, request.send(body.to_string()))
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().timeout_global(Some(DEADLINE)).build().into()
}

#[track_caller]
fn read<T: serde::de::DeserializeOwned>(
    url: &str,
    answered: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
) -> T {
    let text = answered
        .and_then(|mut response| response.body_mut().read_to_string())
        .unwrap_or_else(|error| panic!("{url}: {error}"));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{url}: {error}: {text}"))
}

impl Run {
    /// Runs `command`, some checkout's `./rbee`, to its end.
    pub fn of(mut command: Command) -> Self {
        let output = command.output().expect("./rbee can be run");
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// A home with a queen and a hive on ports that the system chooses.
fn home() -> TempDir {
    let home = tempfile::Builder::new().prefix("rbee").tempdir().expect("a folder can be made");
    let config = "[queen]\nport = 0\n\n[[hive]]\nalias = \"my-hive\"\nport = 0\n";
    fs::write(home.path().join("config.toml"), config).expect("the home can be written");
    home
}
