//! One run of the program: how it is started and how it ends.

use std::{
    io,
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{self, ExitStatus, Stdio},
    time::Duration,
};

use auto_update::Artifact;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::{
    net::UnixDatagram,
    process::Command,
    sync::watch,
    time::{Instant, sleep, timeout},
};

use super::{
    kernel,
    sockets::{Socket, Sockets},
    unsafety,
};

/// Makes the command that runs a built program.
pub(crate) type Prepare = Box<dyn Fn(&Artifact) -> process::Command>;

/// How often it is looked whether a process has stopped or has answered its last request.
const LOOK: Duration = Duration::from_millis(2);
/// A process stops within this time, unless something holds it in the kernel.
const STOP_LIMIT: Duration = Duration::from_millis(50);
/// A program that ends at once on SIGTERM may answer the requests that it has for this long.
const LAST_ANSWERS: Duration = Duration::from_secs(1);
/// It has so many moments at least in which to be without a request, however few a busy machine has in that time.
const LOOKS_AT_LEAST: u32 = 100;
/// What is killed is gone after this long, unless something holds it in the kernel.
const KILL_LIMIT: Duration = Duration::from_secs(5);

/// Who has the terminal while the program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Terminal {
    /// The program, in one process group with this process: Ctrl-C reaches both.
    Programs,
    /// This process, for its keys; the program is in a group of its own and reads nothing.
    Ours,
    /// There is none: the program reads what this process was given to read.
    Absent,
}

/// One process of the program, with all that it starts.
#[derive(Debug)]
pub(super) struct Run {
    /// Counts the runs of this session.
    pub(super) number: u32,
    pub(super) pid: u32,
    pub(super) artifact: Artifact,
    pub(super) began: Instant,
    ended: watch::Receiver<Option<ExitStatus>>,
    has_group: bool,
}

/// How programs are started.
pub(super) struct Launcher {
    pub(super) prepare: Prepare,
    pub(super) sockets: Sockets,
    pub(super) terminal: Terminal,
    /// Standard output is for this process's events.
    pub(super) is_output_ours: bool,
    /// Where the sockets lie that programs say READY to.
    pub(super) folder: tempfile::TempDir,
}

impl Launcher {
    /// Starts the program, and gives the socket to which it may say that it is ready.
    pub(super) fn start(&self, artifact: Artifact, number: u32) -> io::Result<(Run, UnixDatagram)> {
        let ready = self.folder.path().join(format!("ready-{number}"));
        let said = UnixDatagram::bind(&ready)?;
        let mut command = self.command(&artifact)?;
        command.env("NOTIFY_SOCKET", &ready);
        let has_group = self.terminal != Terminal::Programs;
        if has_group {
            command.process_group(0);
        }
        if self.terminal == Terminal::Ours {
            command.stdin(Stdio::null());
        }
        if self.is_output_ours {
            command.stdout(Stdio::from(rustix::io::dup(rustix::stdio::stderr())?));
        }
        unsafety::pass_on(&mut command, self.sockets.descriptors());
        let mut child = Command::from(command).spawn()?;
        let pid = child.id().unwrap_or_default();
        let (end, ended) = watch::channel(None);
        drop(tokio::spawn(async move {
            if let Ok(status) = child.wait().await {
                end.send_replace(Some(status));
            }
        }));
        let run = Run { number, pid, artifact, began: Instant::now(), ended, has_group };
        Ok((run, said))
    }

    fn command(&self, artifact: &Artifact) -> io::Result<process::Command> {
        let mut command = (self.prepare)(artifact);
        for variable in ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "LISTEN_PIDFDID"] {
            command.env_remove(variable);
        }
        if self.sockets.is_empty() {
            return Ok(command);
        }
        // The pid that LISTEN_PID names is known to nobody before it runs, so it says it itself.
        let mut through = process::Command::new(this_program()?);
        through.arg(super::WITH_SOCKETS).arg("--").arg(command.get_program());
        through.args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => through.env(name, value),
                None => through.env_remove(name),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            through.current_dir(folder);
        }
        through.env("LISTEN_FDS", self.sockets.all().len().to_string());
        through.env("LISTEN_FDNAMES", self.sockets.names());
        Ok(through)
    }
}

/// Becomes the program with `LISTEN_PID` set; returns only when that is impossible.
pub(crate) fn become_with_sockets(
    program: &std::ffi::OsStr,
    arguments: &[std::ffi::OsString],
) -> io::Error {
    process::Command::new(program)
        .args(arguments)
        .env("LISTEN_PID", process::id().to_string())
        .exec()
}

/// This program, whatever has become of its file.
fn this_program() -> io::Result<PathBuf> {
    let own = PathBuf::from("/proc/self/exe");
    if own.exists() { Ok(own) } else { std::env::current_exe() }
}

impl Run {
    pub(super) fn status(&self) -> Option<ExitStatus> {
        *self.ended.borrow()
    }

    /// Resolves when the process has ended.
    pub(super) async fn ended(&self) -> ExitStatus {
        let mut ended = self.ended.clone();
        match ended.wait_for(Option::is_some).await {
            Ok(status) => status.unwrap_or_default(),
            Err(_) => ExitStatus::default(),
        }
    }

    /// The process and all that belongs to it.
    pub(super) fn pids(&self) -> Vec<u32> {
        if self.has_group { kernel::group(self.pid) } else { vec![self.pid] }
    }

    pub(super) fn signal(&self, signal: Signal) {
        let Some(pid) = Pid::from_raw(self.pid.cast_signed()) else { return };
        // A group may outlive its founder; a process that was waited for may be somebody else.
        let sent = if self.has_group {
            kill_process_group(pid, signal)
        } else if self.status().is_none() {
            kill_process(pid, signal)
        } else {
            Ok(())
        };
        // It is gone already, then.
        sent.unwrap_or(());
    }

    /// Ends it with `signal`, and after `limit` by force, with all that it has started.
    pub(super) async fn end(&self, signal: Signal, limit: Duration) -> ExitStatus {
        if self.status().is_none() {
            self.signal(signal);
            self.signal(Signal::CONT);
            if timeout(limit, self.ended()).await.is_err() {
                self.signal(Signal::KILL);
            }
        }
        self.finish().await
    }

    /// Lets the program go when another one has taken over; resolves when it accepts nothing more.
    ///
    /// No request that it has is cut short. One that does something of its own on SIGTERM is
    /// trusted to finish what it has, which [`Run::gone`] waits for. Any other would end at once,
    /// so it is ended at a moment in which it has no connection open: it is stopped, looked at,
    /// and goes on if it has one.
    pub(super) async fn let_go(&self, sockets: &[Socket], limit: Duration) {
        if self.pids().iter().any(|&pid| kernel::handles_sigterm(pid)) {
            let deadline = Instant::now() + LAST_ANSWERS.min(limit);
            self.signal(Signal::TERM);
            while self.status().is_none()
                && self.pids().iter().any(|&pid| kernel::accepts(pid, sockets))
                && Instant::now() < deadline
            {
                sleep(LOOK).await;
            }
            return;
        }
        let deadline = Instant::now() + LAST_ANSWERS.min(limit);
        let mut looks = 0;
        while self.status().is_none() {
            looks += 1;
            self.signal(Signal::STOP);
            // On a busy machine it may go on for a while, and take a connection that nobody has seen.
            let is_stopped = self.stopped().await;
            let is_busy = || self.pids().iter().any(|&pid| kernel::has_connections(pid, sockets));
            let is_over = looks >= LOOKS_AT_LEAST && Instant::now() > deadline;
            if is_over || (is_stopped && !is_busy()) {
                // As SIGTERM would, but that reaches a stopped process only when it goes on.
                self.signal(Signal::KILL);
                break;
            }
            self.signal(Signal::CONT);
            sleep(LOOK).await;
        }
    }

    /// Resolves when what was let go has ended, which is seen to after `limit`.
    pub(super) async fn gone(&self, limit: Duration) -> ExitStatus {
        if timeout(limit, self.ended()).await.is_err() {
            self.signal(Signal::KILL);
        }
        self.finish().await
    }

    /// Whether all of it comes to a stop soon.
    async fn stopped(&self) -> bool {
        let deadline = Instant::now() + STOP_LIMIT;
        while !self.pids().iter().all(|&pid| kernel::is_stopped(pid)) {
            if Instant::now() > deadline {
                return false;
            }
            tokio::task::yield_now().await;
        }
        true
    }

    /// Ends what the process has left of its group.
    async fn finish(&self) -> ExitStatus {
        let status = timeout(KILL_LIMIT, self.ended()).await.unwrap_or_default();
        if self.has_group {
            self.signal(Signal::KILL);
        }
        status
    }
}
