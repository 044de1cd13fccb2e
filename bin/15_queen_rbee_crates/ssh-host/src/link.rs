use std::{
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use tempfile::TempDir;
use tokio::{
    fs::File,
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    net::UnixStream,
    process::{Child, ChildStdin, ChildStdout},
    sync::{Mutex, watch},
    task::JoinHandle,
    time::timeout,
};

use crate::{
    Error, SshHost,
    error::said,
    host::control,
    quote::{command, quoted},
};

/// Until somebody is let in; `ConnectTimeout` is only for the beginning of that.
const LOGIN_LIMIT: Duration = Duration::from_secs(30);

/// What is to be left of a disk there.
const ROOM_LEFT_KIB: u64 = 16 * 1024;

/// How long a command may take that only looks or moves files.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);

/// So much of what ssh writes to stderr is kept.
const SAID_BYTES: usize = 16 * 1024;

/// And so much of what the far end writes before it says that it is there.
const FIRST_BYTES: usize = 1024;

/// ssh's exit code where it is not that of what ran there.
const OF_SSH: i32 = 255;

/// In what ssh writes where nobody accepts a connection at the other end.
const REFUSED: &str = "open failed";

/// How often a forwarded socket is tried, how long that may take, and what ssh writes of it after that.
const TRIALS: u32 = 3;
const TRIAL_LIMIT: Duration = Duration::from_secs(3);
const REFUSAL_LIMIT: Duration = Duration::from_millis(100);

/// How much of a socket's path the kernel takes; ssh adds 17 bytes to its control socket's meanwhile.
const PATH_BYTES: usize = 107;
const ADDED_BYTES: usize = 17;

/// The line that says that the far end is there: a shell may write others before it.
const THERE: &str = "rbee-is-there";

/// One connection to a host. It ends when this is dropped, and with this process.
#[derive(Debug)]
pub struct Link {
    host: SshHost,
    folder: TempDir,
    echo: Mutex<Echo>,
    over: watch::Receiver<Option<Over>>,
    /// How many connections to forwarded sockets were refused at the other end.
    refused: watch::Receiver<u64>,
    watching: JoinHandle<()>,
}

/// What is written comes back.
#[derive(Debug)]
struct Echo {
    to: ChildStdin,
    from: Lines<BufReader<ChildStdout>>,
    number: u64,
    /// The beginning of what came before anything that was waited for.
    first: String,
}

/// How a connection has ended.
#[derive(Debug, Clone)]
struct Over {
    said: String,
    /// Whether ssh ended it, and not what ran at its other end.
    by_ssh: bool,
}

impl Link {
    /// Connects to `host`.
    ///
    /// # Errors
    ///
    /// What `ssh` says: that there is no way there, that the host's key is not the one that is known,
    /// or that none of the user's keys is let in.
    pub async fn open(host: &SshHost) -> Result<Self, Error> {
        let folder = host.folder_for_one()?;
        let path = control(folder.path());
        if path.as_os_str().len() + ADDED_BYTES > PATH_BYTES {
            return Err(Error::LongPath { path, limit: PATH_BYTES - ADDED_BYTES });
        }
        let mut ssh = host.ssh(&path);
        ssh.args(["-M", "-T", "--", host.destination()]);
        ssh.arg(command(&format!("echo {THERE}; exec cat")));
        ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut ssh = ssh.spawn().map_err(Error::NoSsh)?;
        let to = ssh.stdin.take().expect("it is piped");
        let from = BufReader::new(ssh.stdout.take().expect("it is piped")).lines();
        let mut echo = Echo { to, from, number: 0, first: String::new() };
        let (tell, over) = watch::channel(None);
        let (refuse, refused) = watch::channel(0);
        let watching = tokio::spawn(watch(ssh, tell, refuse));
        let link = |echo| Self { host: host.clone(), folder, echo, over, refused, watching };
        match timeout(LOGIN_LIMIT, echo.has_come(|line| line == THERE)).await {
            Ok(true) => Ok(link(Mutex::new(echo))),
            Ok(false) => {
                let first = std::mem::take(&mut echo.first);
                let host = host.destination().to_owned();
                let Over { said, by_ssh } = link(Mutex::new(echo)).ended().await;
                Err(match by_ssh {
                    true => Error::Connect { host, said },
                    false => Error::Other { host, wrote: wrote(&first, said) },
                })
            }
            Err(_) => {
                let first = std::mem::take(&mut echo.first);
                let host = host.destination().to_owned();
                // Dropped, so that ssh ends.
                drop(link(Mutex::new(echo)));
                Err(match first.is_empty() {
                    true => Error::Slow { host, limit: LOGIN_LIMIT },
                    false => Error::Other { host, wrote: said(&first) },
                })
            }
        }
    }

    pub fn host(&self) -> &SshHost {
        &self.host
    }

    /// Whether ssh holds it to be there. It notices within 15 s that nothing comes any more.
    pub fn is_up(&self) -> bool {
        self.over.borrow().is_none()
    }

    /// Resolves with the reason once the connection is over.
    pub async fn over(&self) -> String {
        self.ended().await.said
    }

    /// Whether the far end answers within `limit`.
    pub async fn answers(&self, limit: Duration) -> bool {
        let asked = async { self.echo.lock().await.comes_back().await };
        self.is_up() && timeout(limit, asked).await.unwrap_or(false)
    }

    /// Runs `script` by `sh` there, and gives what it writes to stdout.
    ///
    /// # Errors
    ///
    /// With what it writes to stderr, when it fails; and when the connection is lost, or it takes
    /// longer than a minute.
    pub async fn run(&self, what: &str, script: &str) -> Result<String, Error> {
        self.run_for(COMMAND_LIMIT, what, script).await
    }

    /// The same for a script that may take so long.
    ///
    /// # Errors
    ///
    /// As [`Self::run`].
    pub async fn run_for(
        &self,
        limit: Duration,
        what: &str,
        script: &str,
    ) -> Result<String, Error> {
        let output = self.output(script, Stdio::null());
        let output = timeout(limit, output).await.map_err(|_elapsed| self.silent(limit))??;
        self.succeeded(what, output)
    }

    /// Puts the file `from` into the folder `to` there under its `name`, whole or not at all, to be
    /// executed. Missing folders are made, for the user only. Nothing is written where that would leave
    /// what runs there too little room.
    ///
    /// # Errors
    ///
    /// As [`Self::run`], however long it takes; when `from` cannot be read.
    pub async fn push(&self, from: &Path, to: &str, name: &str) -> Result<u64, Error> {
        let opened = |source| Error::Open { path: from.to_owned(), source };
        let file = File::open(from).await.map_err(opened)?;
        let bytes = file.metadata().await.map_err(opened)?.len();
        let needed = bytes.div_ceil(1024) + ROOM_LEFT_KIB;
        // A connection that is lost ends the file too, so its size is looked at. Whoever has no `df` is
        // told by the write that fails.
        let script = format!(
            "umask 077; set -e; to={to}; mkdir -p \"$to\"; new=\"$to\"/.new.$$; \
             df -Pk \"$to\" 2>/dev/null | tail -n 1 | {{ read -r _ _ _ free _ || free=; case \"$free\" in \
             '' | *[!0-9]*) ;; *) [ \"$free\" -ge {needed} ] || {{ echo \"No space left on device: $free KiB \
             are free, and {needed} KiB are needed\" >&2; exit 1; }} ;; esac; }}; \
             trap 'rm -f \"$new\"' EXIT; cat > \"$new\"; \
             [ \"$(wc -c < \"$new\")\" -eq {bytes} ] || {{ echo 'it did not come whole' >&2; exit 1; }}; \
             chmod 700 \"$new\"; mv -f \"$new\" \"$to\"/{name}",
            to = quoted(to),
            name = quoted(name),
        );
        let output = self.output(&script, Stdio::from(file.into_std().await)).await?;
        let what = format!("writing `{to}/{name}`");
        self.succeeded(&what, output).map(|_| bytes)
    }

    /// A socket here that leads to the socket `there`; it is gone with the connection.
    ///
    /// # Errors
    ///
    /// When ssh does not do it; nobody need listen there yet.
    pub async fn forward(&self, there: &str) -> Result<PathBuf, Error> {
        let here = self.folder.path().join("s");
        if there.len() > PATH_BYTES {
            return Err(Error::LongPath { path: there.into(), limit: PATH_BYTES });
        }
        let mut ssh = self.host.ssh(&control(self.folder.path()));
        ssh.args(["-O", "forward", "-L", &format!("{}:{there}", here.display())]);
        let output = ssh.args(["--", self.host.destination()]).stdin(Stdio::null()).output();
        let output = timeout(COMMAND_LIMIT, output).await;
        let output =
            output.map_err(|_elapsed| self.silent(COMMAND_LIMIT))?.map_err(Error::NoSsh)?;
        self.succeeded("forwarding a socket", output).map(|_| here)
    }

    /// Whether a socket that was forwarded leads to somebody who listens there, who sees a connection end
    /// over which nothing has come. sshd refuses what it does not allow in the words in which it says
    /// that nobody listens.
    pub async fn leads_to_somebody(&self, here: &Path) -> bool {
        for _ in 0..TRIALS {
            let mut refused = self.refused.clone();
            refused.mark_unchanged();
            let tried = async {
                let mut socket = UnixStream::connect(here).await?;
                socket.shutdown().await?;
                socket.read(&mut [0]).await
            };
            drop(timeout(TRIAL_LIMIT, tried).await);
            // Others' connections are refused, too, as while somebody is replaced.
            if !matches!(timeout(REFUSAL_LIMIT, refused.changed()).await, Ok(Ok(()))) {
                return true;
            }
        }
        false
    }

    async fn ended(&self) -> Over {
        let mut over = self.over.clone();
        let ended = over.wait_for(Option::is_some).await;
        let ended = ended.ok().and_then(|ended| ended.clone());
        ended.unwrap_or_else(|| Over { said: String::new(), by_ssh: true })
    }

    async fn output(&self, script: &str, stdin: Stdio) -> Result<Output, Error> {
        if !self.is_up() {
            return Err(self.lost().await);
        }
        let mut ssh = self.host.ssh(&control(self.folder.path()));
        ssh.args(["-o", "ControlMaster=no", "-T", "--", self.host.destination()]);
        ssh.arg(command(script)).stdin(stdin);
        let output = ssh.output();
        tokio::select! {
            output = output => output.map_err(Error::NoSsh),
            said = self.over() => Err(Error::Lost { host: self.name(), said }),
        }
    }

    fn succeeded(&self, what: &str, output: Output) -> Result<String, Error> {
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = match output.stderr.is_empty() {
            true => output.status.to_string(),
            false => said(&String::from_utf8_lossy(&output.stderr)),
        };
        Err(Error::Failed { host: self.name(), what: what.to_owned(), said })
    }

    async fn lost(&self) -> Error {
        Error::Lost { host: self.name(), said: self.over().await }
    }

    fn silent(&self, limit: Duration) -> Error {
        Error::Silent { host: self.name(), limit }
    }

    fn name(&self) -> String {
        self.host.destination().to_owned()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // With it goes ssh.
        self.watching.abort();
    }
}

impl Echo {
    /// Until a line comes that is it; `false` when no more comes.
    async fn has_come(&mut self, is_it: impl Fn(&str) -> bool) -> bool {
        while let Ok(Some(line)) = self.from.next_line().await {
            if is_it(&line) {
                return true;
            }
            if self.first.len() + line.len() < FIRST_BYTES {
                self.first.push_str(&line);
                self.first.push('\n');
            }
        }
        false
    }

    /// An answer to an earlier question that nobody waited for is none to this.
    async fn comes_back(&mut self) -> bool {
        self.number += 1;
        let number = self.number.to_string();
        let sent = self.to.write_all(format!("{number}\n").as_bytes()).await;
        sent.is_ok() && self.has_come(|line| line == number).await
    }
}

/// What was written instead of what was asked for, on either of its outputs.
fn wrote(stdout: &str, stderr: String) -> String {
    if stdout.is_empty() { stderr } else { said(stdout) }
}

/// Waits for the end of ssh, and tells what it said.
async fn watch(mut ssh: Child, tell: watch::Sender<Option<Over>>, refuse: watch::Sender<u64>) {
    let mut text = Vec::new();
    if let Some(mut stderr) = ssh.stderr.take() {
        let mut piece = [0; 1024];
        // It writes a line for each connection that nobody accepts there, too: the last ones are kept.
        while let Ok(read @ 1..) = stderr.read(&mut piece).await {
            text.extend_from_slice(&piece[..read]);
            if String::from_utf8_lossy(&piece[..read]).contains(REFUSED) {
                refuse.send_modify(|refused| *refused += 1);
            }
            let beyond = text.len().saturating_sub(SAID_BYTES);
            text.drain(..beyond);
        }
    }
    let status = ssh.wait().await;
    tracing::debug!(?status, "an SSH connection is over");
    let by_ssh = !status.is_ok_and(|status| status.code().is_some_and(|code| code != OF_SSH));
    tell.send_replace(Some(Over { said: said(&String::from_utf8_lossy(&text)), by_ssh }));
}
