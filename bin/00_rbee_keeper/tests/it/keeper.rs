use std::{
    fs,
    path::Path,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, ChildStderr, ChildStdout, Command},
    time::timeout,
};

use crate::queen::Queen;

/// Far more than the keeper needs, and less than the test runner's patience.
const DEADLINE: Duration = Duration::from_secs(30);

/// A world in which the keeper runs: its own home, an empty environment, a scripted queen.
pub(crate) struct Keeper {
    home: TempDir,
    variables: Vec<(String, String)>,
}

/// What a run of the keeper left.
pub(crate) struct Output {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) code: Option<i32>,
}

/// A keeper that runs.
pub(crate) struct Running {
    child: Child,
    stdout: Option<ChildStdout>,
    stderr: ChildStderr,
}

impl Keeper {
    /// A keeper that no queen has been started for.
    pub(crate) fn alone() -> Self {
        let home = tempfile::tempdir().unwrap();
        let variables = vec![
            ("RBEE_HOME".to_owned(), home.path().display().to_string()),
            ("RBEE_AUTO_UPDATE_ENABLED".to_owned(), "false".to_owned()),
            ("RBEE_QUEEN_PORT".to_owned(), "0".to_owned()),
        ];
        Self { home, variables }
    }

    pub(crate) fn of(queen: &Queen) -> Self {
        Self::alone().with("RBEE_QUEEN_URL", &queen.url())
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// All that it has of an environment.
    pub(crate) fn variables(&self) -> impl Iterator<Item = (&str, &str)> {
        self.variables.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    pub(crate) fn write(&self, path: &str, content: &str) -> &Self {
        let path = self.home.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    pub(crate) async fn run(&self, arguments: &[&str]) -> Output {
        self.spawn(arguments).finish().await
    }

    pub(crate) async fn run_with_input(&self, arguments: &[&str], input: &str) -> Output {
        let mut command = self.command(arguments);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
        Running::of(child).finish().await
    }

    pub(crate) fn spawn(&self, arguments: &[&str]) -> Running {
        Running::of(self.command(arguments).spawn().unwrap())
    }

    /// Runs with each of its streams as `stdio` gives it.
    pub(crate) fn spawn_on(&self, arguments: &[&str], stdio: impl Fn() -> Stdio) -> Child {
        let mut command = self.command(arguments);
        command.stdin(stdio()).stdout(stdio()).stderr(stdio()).spawn().unwrap()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rbee-keeper"));
        command
            .args(arguments)
            .current_dir(self.home.path())
            .env_clear()
            .envs(self.variables())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }
}

impl Running {
    fn of(mut child: Child) -> Self {
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take().unwrap());
        Self { child, stdout, stderr }
    }

    /// Waits until standard output has brought exactly `expected`.
    pub(crate) async fn says(&mut self, expected: &str) {
        let mut said = vec![0; expected.len()];
        let read = self.stdout.as_mut().unwrap().read_exact(&mut said);
        timeout(DEADLINE, read).await.expect("the tokens come in time").unwrap();
        assert_eq!(String::from_utf8(said).unwrap(), expected);
    }

    /// Waits until standard error has brought `text`, and gives all that came up to it.
    pub(crate) async fn hears(&mut self, text: &str) -> String {
        let mut heard = Vec::new();
        while !String::from_utf8_lossy(&heard).contains(text) {
            heard.push(self.stderr.read_u8().await.expect("the keeper has not left"));
        }
        String::from_utf8(heard).unwrap()
    }

    /// Closes the reading end of standard output.
    pub(crate) fn stop_reading(&mut self) {
        self.stdout = None;
    }

    pub(crate) fn interrupt(&self) {
        interrupt(&self.child);
    }

    pub(crate) async fn finish(self) -> Output {
        timeout(DEADLINE, self.collect()).await.expect("the keeper ends in time")
    }

    pub(crate) async fn finish_within(self, deadline: Duration) -> Output {
        timeout(deadline, self.collect()).await.expect("the keeper ends in time")
    }

    async fn collect(mut self) -> Output {
        let (mut stdout, mut stderr) = (String::new(), String::new());
        let out = async {
            if let Some(pipe) = &mut self.stdout {
                pipe.read_to_string(&mut stdout).await.unwrap();
            }
        };
        let (_, read, status) =
            tokio::join!(out, self.stderr.read_to_string(&mut stderr), self.child.wait());
        read.unwrap();
        let code = status.as_ref().ok().and_then(ExitStatus::code);
        Output { stdout, stderr, code }
    }
}

/// What Ctrl-C does.
pub(crate) fn interrupt(child: &Child) {
    signal(child, Signal::INT);
}

pub(crate) fn signal(child: &Child, signal: Signal) {
    let pid = i32::try_from(child.id().unwrap()).unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

impl Output {
    /// Standard error with what differs from run to run replaced.
    pub(crate) fn stderr_of(&self, keeper: &Keeper, queen: &Queen) -> String {
        let home = keeper.home().display().to_string();
        self.stderr.replace(&home, "HOME").replace(&queen.port().to_string(), "PORT")
    }

    /// Asserts the exit code, and shows what was said where it differs.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        let Self { stdout, stderr, .. } = &self;
        assert_eq!(self.code, Some(code), "stdout: {stdout}\nstderr: {stderr}");
        self
    }
}
