use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::world::World;

/// Compilations on a busy machine are in it.
const DEADLINE: Duration = Duration::from_secs(60);

/// A program with std alone that answers with a word on the socket that it was given.
pub(crate) const SERVER: &str = r#"
use std::{env, io::{Read, Write}, net::TcpListener, os::fd::FromRawFd, process, thread, time::Duration};
mod word;
fn main() {
    word::first();
    assert_eq!(env::var("LISTEN_PID").unwrap(), process::id().to_string());
    assert_eq!(env::var("LISTEN_FDS").unwrap(), "1");
    let listener = unsafe { TcpListener::from_raw_fd(3) };
    for connection in listener.incoming() {
        let mut connection = connection.unwrap();
        thread::spawn(move || {
            let mut request = [0; 1024];
            if connection.read(&mut request).unwrap_or(0) == 0 { return }
            thread::park_timeout(Duration::from_millis(5));
            let body = word::WORD;
            let _ = write!(connection, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
        });
    }
}
"#;

/// The part of [`SERVER`] that is edited: its answer, and what it does first.
pub(crate) fn word(word: &str, first: &str) -> String {
    format!("pub const WORD: &str = {word:?};\npub fn first() {{ {first} }}\n")
}

/// `cargo live watch`, and what it says happens.
pub(crate) struct Watched {
    child: Child,
    events: Receiver<Value>,
    /// Where the program is reached; empty without sockets.
    pub(crate) address: String,
}

/// A workspace with [`SERVER`] that answers `one`.
pub(crate) fn server() -> World {
    let world = World::single(SERVER);
    world.write("app/src/word.rs", &word("one", ""));
    world
}

impl Watched {
    /// Starts it, and waits for nothing.
    pub(crate) fn start(world: &World, arguments: &[&str]) -> Self {
        Self::spawn(
            world.command(env!("CARGO_BIN_EXE_cargo-live"), "app"),
            Stdio::null(),
            arguments,
        )
    }

    pub(crate) fn spawn(mut command: Command, stdin: impl Into<Stdio>, arguments: &[&str]) -> Self {
        command.args(["live", "watch", "--json"]).args(arguments);
        let mut child =
            command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let (sender, events) = channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let event = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}"));
                if sender.send(event).is_err() {
                    return;
                }
            }
        });
        Self { child, events, address: String::new() }
    }

    /// The server, when it is ready for the first time.
    #[track_caller]
    pub(crate) fn serving(world: &World, arguments: &[&str]) -> Self {
        let all = [&["--listen", "127.0.0.1:0"], arguments].concat();
        let mut watched = Self::start(world, &all);
        let listening = watched.until(&["listening"]);
        watched.address = listening["address"].as_str().unwrap().to_owned();
        watched.until(&["ready"]);
        watched
    }

    /// The next event of one of these names.
    #[track_caller]
    pub(crate) fn until(&self, names: &[&str]) -> Value {
        let deadline = Instant::now() + DEADLINE;
        let mut seen = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(event) = self.events.recv_timeout(left) else {
                panic!("none of {names:?} has come, but {seen:#?}");
            };
            assert_eq!(event["version"], 1);
            if names.iter().any(|name| event["event"] == *name) {
                return event;
            }
            seen.push(event);
        }
    }

    /// What the next things are that become of the program itself.
    #[track_caller]
    pub(crate) fn fate(&self) -> Value {
        self.until(&[
            "unchanged",
            "started",
            "replaced",
            "kept",
            "rolled_back",
            "ended",
            "failed",
            "ready",
            "stopped",
            "note",
        ])
    }

    #[track_caller]
    pub(crate) fn expect(&self, name: &str) -> Value {
        let fate = self.fate();
        assert_eq!(fate["event"], name, "{fate}");
        fate
    }

    /// What the program answers.
    #[track_caller]
    pub(crate) fn answer(&self) -> String {
        ask(&self.address).unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.child.id().cast_signed()).unwrap(), signal).unwrap();
    }

    /// How it ends, with whatever it has said until then.
    pub(crate) fn ended(mut self) -> (ExitStatus, Vec<Value>) {
        let mut said = Vec::new();
        while let Ok(event) = self.events.recv_timeout(DEADLINE) {
            said.push(event);
        }
        (self.child.wait().unwrap(), said)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if self.child.try_wait().unwrap().is_none() {
            self.signal(Signal::TERM);
            self.child.wait().unwrap();
        }
    }
}

/// One request on a connection of its own.
pub(crate) fn ask(address: &str) -> Result<String, String> {
    let words = |error: std::io::Error| error.to_string();
    let mut connection = TcpStream::connect(address).map_err(words)?;
    connection.set_read_timeout(Some(DEADLINE)).map_err(words)?;
    connection.write_all(b"GET / HTTP/1.1\r\nHost: app\r\n\r\n").map_err(words)?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).map_err(words)?;
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    body.filter(|body| !body.is_empty()).ok_or(format!("not an answer: {answer:?}"))
}

/// Whether a process of that number is there and not merely waited for.
pub(crate) fn is_alive(pid: &Value) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}
