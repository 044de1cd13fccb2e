use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::Ipv4Addr,
    path::Path,
    process::{self, Child, ChildStdin, Command, Stdio},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

const TUN: &str = "/dev/net/tun";
const WIRE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/wire.py");

/// What the names of namespaces begin with; the pid of the test follows.
const PREFIX: &str = "rbee-test-";

/// Where `ip` keeps them.
const NAMESPACES: &str = "/run/netns";

/// A network of its own, which nothing leads into but a [`Wire`].
#[derive(Debug)]
pub(super) struct Namespace(String);

/// Two namespaces' only way to each other. See `wire.py`.
#[derive(Debug)]
pub(super) struct Wire {
    nth: u8,
    there: Namespace,
    process: Child,
    tell: Mutex<ChildStdin>,
}

impl Namespace {
    /// Makes one, and says why where that cannot be.
    pub(super) fn new(what: &str) -> Result<Self, String> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        remove_left();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{number}-{what}", process::id());
        let added = Command::new("ip").args(["netns", "add", &name]).output();
        let added =
            added.map_err(|error| format!("no `ip` ({error}; `apt-get install iproute2`)"))?;
        match added.status.success() {
            true => Ok(Self(name)),
            false => Err(format!(
                "no network namespace: {}",
                String::from_utf8_lossy(&added.stderr).trim()
            )),
        }
    }

    /// The words before a command that is to run there.
    pub(super) fn within(&self) -> String {
        format!("nsenter --net={NAMESPACES}/{}", self.0)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        drop(Command::new("ip").args(["netns", "del", &self.0]).status());
    }
}

/// Removes what tests left that were killed.
fn remove_left() {
    for entry in fs::read_dir(NAMESPACES).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let pid = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            drop(Namespace(name));
        }
    }
}

impl Wire {
    /// Why none can be laid, where none can.
    pub(super) fn can_be_laid() -> Result<(), String> {
        if !Path::new(TUN).exists() {
            return Err(format!("no `{TUN}`"));
        }
        match Command::new("python3").arg("--version").output() {
            Ok(_) => Ok(()),
            Err(error) => Err(format!("no `python3` ({error})")),
        }
    }

    /// The `nth` from `here`.
    pub(super) fn lay(here: &Namespace, nth: u8) -> Self {
        let there = Namespace::new("there").expect("there was one before");
        let mut python = Command::new("python3");
        python.args([WIRE, &here.0, &format!("198.18.{nth}.1/30")]);
        python.args([&there.0, &format!("198.18.{nth}.2/30")]);
        python.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = python.spawn().expect("there is a Python");
        let tell = Mutex::new(process.stdin.take().expect("it is piped"));
        let mut said = String::new();
        let mut stdout = BufReader::new(process.stdout.take().expect("it is piped"));
        stdout.read_line(&mut said).expect("it is text");
        if said.trim() != "laid" {
            let mut stderr = process.stderr.take().expect("it is piped");
            drop(stderr.read_to_string(&mut said));
            panic!("no wire can be laid: {said}");
        }
        Self { nth, there, process, tell }
    }

    /// Where its far end is.
    pub(super) fn address(&self) -> Ipv4Addr {
        Ipv4Addr::new(198, 18, self.nth, 2)
    }

    /// A program that runs there.
    pub(super) fn there(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args([&format!("--net={NAMESPACES}/{}", self.there.0), program]);
        command
    }

    /// From now on each packet takes so long, and so many of a hundred are lost.
    pub(super) fn be(&self, delay: Duration, lost_percent: f64) {
        let mut tell = self.tell.lock().unwrap_or_else(PoisonError::into_inner);
        let told = writeln!(tell, "{} {lost_percent}", delay.as_millis());
        told.expect("it lives as long as this");
    }

    pub(super) fn cut(&self) {
        self.be(Duration::ZERO, 100.0);
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
