use std::{
    io::{self, Write as _},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::net::UnixStream as StdUnixStream,
    },
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};

use tokio::{net::UnixStream, process::Command, sync::watch};

use super::{binary::Binary, lock, narrate, update};
use crate::{
    Error, Identity, LogTail, bound,
    client::{self, Unwell},
    descriptor::send_with,
    edge, environment,
    instance::{self, Instance},
    logs, process,
    protocol::{Attachment, Connection, Fault, FromDaemon, ToDaemon, to_line},
    spec::{Limits, Spec},
    unsafety::detach,
};

/// A process that failed to start well has this long to end by itself once it has been told.
const TERM_GRACE: Duration = Duration::from_secs(1);
const KILL_LIMIT: Duration = Duration::from_secs(5);

/// After a process has ended its last words have arrived, unless a child holds the channel open.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Whoever waits longer is told what is going on.
const TOLD_AFTER: Duration = Duration::from_secs(5);

/// From `Take` to `Serving`.
const TAKE_LIMIT: Duration = Duration::from_secs(15);

/// A process that was started and is not trusted yet.
pub(super) struct Launched {
    name: String,
    pid: u32,
    start_time: u64,
    exe_hash: String,
    socket: PathBuf,
    channel: Connection,
    exit: watch::Receiver<Option<ExitStatus>>,
    log: PathBuf,
    /// Where in the log this process began.
    log_from: u64,
}

/// Starts `binary` as the next generation, with the lock held.
///
/// Its control socket is bound before it is there, and it listens before it is its own program, which is when the
/// kernel lets go of the lock if this process is killed: the next starter sees it, whatever it has come to.
pub(super) fn launch(
    spec: &Spec,
    instance: &Instance,
    binary: &Binary,
    predecessor: Option<u64>,
) -> Result<Launched, Error> {
    // It may have been removed since.
    instance.create()?;
    let generation = instance.next_generation();
    let socket = instance.socket(generation);
    let bound = bound::reserve(&socket).map_err(|error| Error::Hindered {
        name: spec.name(),
        reason: format!("its control socket cannot be bound: {error}"),
    })?;
    edge::passed("starter.control-bound");
    let launched = launch_with(spec, binary, generation, predecessor, &socket, bound);
    if launched.is_err() {
        instance::remove(&socket);
    }
    launched
}

fn launch_with(
    spec: &Spec,
    binary: &Binary,
    generation: u64,
    predecessor: Option<u64>,
    socket: &Path,
    bound: OwnedFd,
) -> Result<Launched, Error> {
    let log = spec.log_path()?;
    let out = logs::open(&log).map_err(|source| Error::io("open the log", &log, source))?;
    let log_from = out.metadata().map_or(0, |meta| meta.len());
    let failed = |source| Error::Launch { path: binary.exe.clone(), source };

    let attachment = Attachment {
        spec: spec.clone().made_absolute(),
        generation,
        args_hash: spec.run.args_hash(),
        source_root: binary.source_root.clone(),
        predecessor,
    };
    let (channel, theirs) = channel(attachment, &bound).map_err(failed)?;
    let inode = rustix::fs::fstat(&theirs).map_err(|errno| failed(errno.into()))?.st_ino;

    let mut command = Command::new(&binary.exe);
    command
        .arg0(spec.name())
        .args(&spec.run.args)
        .current_dir(binary.source_root.as_deref().unwrap_or("/".as_ref()))
        .env_clear()
        .envs(environment::of_daemon(
            environment::own(),
            spec.run.builds.then(|| update::build_environment(&spec.update)),
            &spec.run.env_allow,
            &spec.run.env,
            inode,
        ))
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::from(out.try_clone().map_err(failed)?))
        .stderr(Stdio::from(out))
        .kill_on_drop(false);
    detach(&mut command, Some(bound));
    let mut child = command.spawn().map_err(failed)?;
    edge::passed("starter.launched");
    let pid = child.id().unwrap_or_default();
    let start_time = process::stat(pid).map_or(0, |stat| stat.start_time);
    let (ended, exit) = watch::channel(None);
    // Reaps it whenever it ends, so that it leaves no zombie while this process lives.
    drop(tokio::spawn(async move {
        if let Ok(status) = child.wait().await {
            ended.send_replace(Some(status));
        }
    }));
    Ok(Launched {
        name: spec.name(),
        pid,
        start_time,
        exe_hash: binary.exe_hash.clone(),
        socket: socket.to_owned(),
        channel,
        exit,
        log,
        log_from,
    })
}

/// A pair of sockets, with the first words and the control socket already in it: they are there before the
/// process is.
fn channel(attachment: Attachment, control: &OwnedFd) -> io::Result<(Connection, OwnedFd)> {
    let (mut ours, theirs) = StdUnixStream::pair()?;
    let words = to_line(&ToDaemon::Attach(Box::new(attachment)));
    let sent = send_with(ours.as_fd(), &words, Some(control.as_fd()))?;
    ours.write_all(&words[sent..])?;
    ours.set_nonblocking(true)?;
    Ok((Connection::new(UnixStream::from_std(ours)?), theirs.into()))
}

impl Launched {
    /// Until the process is ready and answers; kills it when it does not come to that, or somebody
    /// wants the daemon stopped.
    pub(super) async fn serves(
        &mut self,
        limits: &Limits,
        instance: &Instance,
    ) -> Result<Identity, Error> {
        let stopped = Error::Stopped { name: self.name.clone() };
        {
            let serves = async {
                let identity = self.ready(limits.ready_timeout).await?;
                self.verify(limits, instance, &identity).await?;
                Ok(identity)
            };
            tokio::select! {
                biased;
                serves = serves => return serves,
                () = lock::stop_wanted(instance) => {}
            }
        }
        self.kill().await;
        Err(stopped)
    }

    /// Until the process has said that it is ready; kills it when it does not come to that.
    async fn ready(&mut self, limit: Duration) -> Result<Identity, Error> {
        match self.wait_ready(limit).await {
            Ok(identity) if identity.pid == self.pid && identity.exe_hash == self.exe_hash => {
                edge::passed("starter.ready-heard");
                Ok(identity)
            }
            Ok(_) => {
                self.kill().await;
                Err(Error::WrongBinary { name: self.name.clone() })
            }
            Err(error) => {
                self.kill().await;
                Err(error)
            }
        }
    }

    async fn wait_ready(&mut self, limit: Duration) -> Result<Identity, Error> {
        let began = Instant::now();
        let mut deadline = began + limit;
        let mut exit = self.exit.clone();
        let mut ended = None;
        loop {
            let said = tokio::select! {
                biased;
                said = self.channel.next::<FromDaemon>() => said,
                Ok(status) = exit.wait_for(Option::is_some), if ended.is_none() => {
                    ended = *status;
                    deadline = Instant::now() + LAST_WORDS;
                    continue;
                }
                () = tokio::time::sleep_until(deadline.into()) => {
                    return Err(match ended {
                        Some(status) => self.exited(Some(status)),
                        None => self.not_ready(limit),
                    });
                }
            };
            match said {
                Ok(Some(FromDaemon::Progress { what })) => {
                    tracing::debug!(daemon = self.name, what, "starting");
                    if began.elapsed() >= TOLD_AFTER {
                        narrate::starting(&self.name, &what);
                    }
                    deadline = Instant::now() + limit;
                }
                Ok(Some(FromDaemon::Ready { identity })) => return Ok(identity),
                Ok(Some(FromDaemon::Failed { reason, fault })) => {
                    let (name, log) = (self.name.clone(), self.tail());
                    return Err(match fault {
                        Fault::AddressInUse(address) => Error::AddressInUse { name, address },
                        Fault::Own => Error::CannotStart { name, reason, log },
                        Fault::Other => Error::Hindered { name, reason },
                    });
                }
                Ok(Some(FromDaemon::Serving)) => {}
                Ok(None) | Err(_) => {
                    let status = tokio::time::timeout(LAST_WORDS, exit.wait_for(Option::is_some));
                    let status = status.await.ok().and_then(Result::ok).and_then(|status| *status);
                    return Err(self.exited(status));
                }
            }
        }
    }

    /// Asks the process a question that only a server can answer; kills it when it cannot.
    async fn verify(
        &mut self,
        limits: &Limits,
        instance: &Instance,
        identity: &Identity,
    ) -> Result<(), Error> {
        let Some(path) = &limits.health_path else { return Ok(()) };
        let socket = instance.socket(identity.generation);
        let mut exit = self.exit.clone();
        let why = tokio::select! {
            why = client::unwell(&socket, path, &identity.address, limits.ready_timeout) => why,
            Ok(status) = exit.wait_for(Option::is_some) => {
                Some(Unwell::faulty(format!("ended ({})", describe(*status))))
            }
        };
        let Some(why) = why else {
            edge::passed("starter.verified");
            return Ok(());
        };
        let log = self.tail();
        self.kill().await;
        Err(self.not_serving(why, log))
    }

    /// Lets the process take over; kills it when it does not.
    pub(super) async fn take(&mut self) -> Result<(), Error> {
        let exchange = async {
            self.channel.send(&ToDaemon::Take).await?;
            edge::passed("starter.take-said");
            self.channel.next::<FromDaemon>().await
        };
        let why = match tokio::time::timeout(TAKE_LIMIT, exchange).await {
            Ok(Ok(Some(FromDaemon::Serving))) => {
                edge::passed("starter.serving-heard");
                return Ok(());
            }
            Ok(Ok(Some(FromDaemon::Failed { reason, .. }))) => {
                self.kill().await;
                return Err(Error::Hindered { name: self.name.clone(), reason });
            }
            Ok(_) => Unwell::faulty("died as it took over"),
            Err(_) => Unwell::slow("did not take over in time"),
        };
        let log = self.tail();
        // SIGTERM would make one that hung go on and take over first, then end both.
        self.kill_after(Duration::ZERO).await;
        Err(self.not_serving(why, log))
    }

    fn not_serving(&self, Unwell { why, slow, .. }: Unwell, log: LogTail) -> Error {
        let name = self.name.clone();
        match slow {
            true => Error::TooSlow { name, why, log },
            false => Error::NotServing { name, why, log },
        }
    }

    /// Ends the process and everything it has started.
    async fn kill(&self) {
        self.kill_after(TERM_GRACE).await;
    }

    async fn kill_after(&self, grace: Duration) {
        if process::end_session(self.pid, self.start_time, grace, KILL_LIMIT).await {
            instance::remove(&self.socket);
        } else {
            tracing::error!(pid = self.pid, "a daemon that failed to start cannot be killed");
        }
    }

    fn exited(&self, status: Option<ExitStatus>) -> Error {
        let (name, log) = (self.name.clone(), self.tail());
        Error::ExitedBeforeReady { name, status: describe(status), log }
    }

    fn not_ready(&self, after: Duration) -> Error {
        Error::NotReadyInTime { name: self.name.clone(), after, log: self.tail() }
    }

    fn tail(&self) -> LogTail {
        logs::tail(&self.log, self.log_from)
    }
}

fn describe(status: Option<ExitStatus>) -> String {
    status.map_or_else(|| "it closed its channel".to_owned(), |status| status.to_string())
}
