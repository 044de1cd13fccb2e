//! The processes of an engine: started, or taken over from the worker before; watched; ended with
//! everything they leave.

mod log; // what it writes
mod owner; // who owns it
mod watch; // whether it is well

use std::{
    fs, io,
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, bail};
use daemon_lifecycle::{Member, Program};
use serde::{Deserialize, Serialize};
use tokio::{process::Command, time::Instant};

use self::{
    log::Log,
    owner::{Owner, Turn, remove_left_beside},
};
use crate::{
    plan::{Address, Plan},
    upstream::Upstream,
};

const GUARD: &str = include_str!("guard.sh");

const GUARD_FILE: &str = "guard.sh";
const LOG_FILE: &str = "engine.log";
const RECORD_FILE: &str = "engine.json";
const SHARED_FILE: &str = "shared";

/// Engines make Unix sockets of their own in their temporary folder, named by 36 characters, and a
/// socket's path has 107 bytes at most.
const FOLDER_BYTES: usize = 66;

/// How often an engine that loads is asked whether it is ready.
const READY_INTERVAL: Duration = Duration::from_millis(250);

/// How often whoever waits is told of the loading.
const TELL_INTERVAL: Duration = Duration::from_secs(5);

/// From SIGKILL to giving up.
const KILL_LIMIT: Duration = Duration::from_secs(10);

/// What the next owner of an engine needs to know.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    program: Program,
    address: Address,
    /// Whether it has answered.
    ready: bool,
    /// The processes without which it cannot go on, as far as they have been seen.
    #[serde(default)]
    needed: Vec<Member>,
}

impl Record {
    /// Whether nothing of it is known to have ended.
    fn is_whole(&self) -> bool {
        self.program.is_alive() && self.needed.iter().all(Member::is_alive)
    }
}

/// An engine that this worker owns, perhaps together with others.
#[derive(Debug)]
pub(crate) struct Engine {
    folder: PathBuf,
    title: String,
    ready_path: Option<String>,
    needs: Option<&'static str>,
    record: Record,
    owner: Owner,
    log: Mutex<Log>,
    /// Whether this worker ends it.
    ending: AtomicBool,
    pub(crate) upstream: Arc<Upstream>,
    pub(crate) is_adopted: bool,
}

impl Engine {
    /// Takes the engine that runs in `folder`, or starts one there.
    pub(crate) async fn take(folder: &Path, plan: &Plan, orphan: u32) -> anyhow::Result<Self> {
        let folder = std::path::absolute(folder).context("cannot resolve the engine's folder")?;
        if folder.as_os_str().len() > FOLDER_BYTES {
            bail!(
                "the path of the engine's folder, `{}`, leaves no room for its sockets: it has more \
                 than {FOLDER_BYTES} bytes (RBEE_HOME moves it)",
                folder.display()
            );
        }
        let at = folder.clone();
        let turn = tokio::task::spawn_blocking(move || Turn::wait(&at)).await?;
        let turn = turn.with_context(|| format!("cannot lock `{}`", folder.display()))?;
        remove_left_beside(&folder);
        let mut owner = Owner::new(&folder).context("cannot own the engine")?;
        if let Some(record) = load(&folder)
            && record.is_whole()
            && owner.join(&folder).is_ok()
            // The guard may have given up just before this owner came.
            && record.program.is_alive()
        {
            return Self::of(folder, plan, record, owner, true);
        }
        remove(&folder).await?;
        match start(&folder, plan, &mut owner, orphan) {
            Ok(record) => Self::of(folder, plan, record, owner, false),
            Err(error) => {
                drop(fs::remove_dir_all(&folder));
                if owner.is_last() {
                    turn.give_up(&folder);
                }
                Err(error.context(format!("cannot start {}", plan.engine)))
            }
        }
    }

    fn of(
        folder: PathBuf,
        plan: &Plan,
        record: Record,
        owner: Owner,
        is_adopted: bool,
    ) -> anyhow::Result<Self> {
        let log = Log::open(&folder.join(LOG_FILE), !is_adopted);
        let log = log.context("cannot read the engine's log")?;
        let upstream = Upstream::new(&record.address, &plan.engine, &plan.model)?;
        Ok(Self {
            folder,
            title: plan.engine.clone(),
            ready_path: plan.ready.clone(),
            needs: plan.needs,
            record,
            owner,
            log: Mutex::new(log),
            ending: AtomicBool::new(false),
            upstream: Arc::new(upstream),
            is_adopted,
        })
    }

    /// The processes, to be written down for those who count memory.
    pub(crate) fn program(&self) -> &Program {
        &self.record.program
    }

    /// Until it answers. `tell` is told of the loading every few seconds.
    pub(crate) async fn ready<F: Future<Output = ()>>(
        &mut self,
        limit: Duration,
        tell: impl Fn(String) -> F,
    ) -> anyhow::Result<()> {
        let began = Instant::now();
        let (mut told, mut line) = (began, String::new());
        loop {
            let alive = self.record.program.is_alive();
            if let Some(latest) = self.look() {
                line = format!(": {latest}");
            }
            if !alive {
                bail!("{} ended as it loaded{}", self.title, self.last_words());
            }
            let is_ready = match &self.ready_path {
                Some(path) => self.upstream.is_ready(path).await,
                None => self.needed().next().is_some(),
            };
            if is_ready {
                break;
            }
            if began.elapsed() > limit {
                let what = match &self.ready_path {
                    Some(path) => format!("did not answer `{path}`"),
                    None => "had none of the processes that it needs".to_owned(),
                };
                let (seconds, last) = (limit.as_secs(), self.last_words());
                bail!("{} {what} within {seconds} s{last}", self.title);
            }
            if told.elapsed() >= TELL_INTERVAL {
                told = Instant::now();
                self.note_shared();
                let seconds = began.elapsed().as_secs();
                tell(format!("{} is loading, for {seconds} s{line}", self.title)).await;
            }
            tokio::time::sleep(READY_INTERVAL).await;
        }
        self.record.ready = true;
        // Whoever waits until it is looked at for the first time may have lost one of them by then.
        self.see_needed();
        store(&self.folder, &self.record).context("cannot write down the engine")?;
        self.note_shared();
        Ok(())
    }

    /// Resolves when the engine is fit no more without this worker's doing, with the reason.
    pub(crate) async fn failed(&self) -> String {
        let why = watch::failed(self).await;
        if self.ending.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        format!("{why}{}", self.last_words())
    }

    /// Gives the engine up: ends it unless another worker owns it too. It must have no request of
    /// this worker any more: vLLM ignores for ever what it is told while it has some.
    pub(crate) async fn leave(&self, grace: Duration) {
        let turn = self.turn().await;
        if turn.is_some() && !self.owner.is_last() {
            tracing::info!("another worker owns {}, which goes on", self.title);
            return;
        }
        self.end(grace).await;
        if let Some(turn) = turn {
            turn.give_up(&self.folder);
        }
    }

    /// Ends the engine for all of its owners, who have lost it.
    pub(crate) async fn end_broken(&self, grace: Duration) {
        let turn = self.turn().await;
        // One of the others may have ended it, and somebody started the next.
        if load(&self.folder).is_none_or(|record| record.program == self.record.program) {
            self.end(grace).await;
        }
        if let Some(turn) = turn
            && !self.folder.exists()
            && self.owner.is_last()
        {
            turn.give_up(&self.folder);
        }
    }

    async fn turn(&self) -> Option<Turn> {
        let folder = self.folder.clone();
        let turn = tokio::task::spawn_blocking(move || Turn::wait(&folder)).await;
        turn.ok().and_then(Result::ok)
    }

    async fn end(&self, grace: Duration) {
        let program = &self.record.program;
        self.ending.store(true, Ordering::Relaxed);
        tracing::info!("ending {}", self.title);
        self.note_shared();
        program.terminate();
        // The guard ends when all of the session has, and nothing is left of it.
        drop(tokio::time::timeout(grace, program.ended()).await);
        if let Err(error) = remove(&self.folder).await {
            tracing::error!("{error:#}");
        }
    }

    fn members(&self) -> Vec<Member> {
        self.record.program.members()
    }

    /// Its processes without which it cannot go on.
    fn needed(&self) -> impl Iterator<Item = Member> {
        let needs = self.needs;
        let is_needed = move |name: &str| needs.is_some_and(|needs| name.starts_with(needs));
        self.members().into_iter().filter(move |member| is_needed(&member.name))
    }

    /// Adds those that have come since it was asked last.
    fn see_needed(&mut self) {
        let seen = std::mem::take(&mut self.record.needed);
        let new = self.needed().filter(|member| seen.iter().all(|other| other.pid != member.pid));
        self.record.needed = seen.iter().cloned().chain(new).collect();
    }

    fn look(&mut self) -> Option<&str> {
        self.log.get_mut().unwrap_or_else(PoisonError::into_inner).look()
    }

    fn last_words(&self) -> String {
        let tail = self.log.lock().unwrap_or_else(PoisonError::into_inner).tail();
        if tail.is_empty() { tail } else { format!(". It wrote last:\n{tail}") }
    }

    /// Writes down which shared memory is the engine's, while its processes live to tell. What has
    /// been written down before stays: whoever had it may have died since.
    fn note_shared(&self) {
        if !self.folder.exists() {
            // It is over, and all that was noted has been removed.
            return;
        }
        let noted = fs::read_to_string(self.folder.join(SHARED_FILE)).unwrap_or_default();
        let mut shared: Vec<String> = noted.lines().map(str::to_owned).collect();
        let members = self.members();
        shared.extend(members.iter().flat_map(|member| member.mapped_below("/dev/shm/")));
        shared.sort_unstable();
        shared.dedup();
        let text: String = shared.iter().flat_map(|path| [path.as_str(), "\n"]).collect();
        if let Err(error) = fs::write(self.folder.join(SHARED_FILE), text) {
            tracing::debug!(%error, "cannot write down the engine's shared memory");
        }
    }
}

fn start(folder: &Path, plan: &Plan, owner: &mut Owner, orphan: u32) -> anyhow::Result<Record> {
    let make = |path: &Path| fs::DirBuilder::new().mode(0o700).create(path);
    let temporary = folder.join("tmp");
    make(folder).and_then(|()| make(&temporary)).context("cannot make its folder")?;
    let address = match plan.wants_port() {
        true => Address::Port(free_port().context("no port is free")?),
        false => Address::Unix(folder.join("s.sock")),
    };
    fs::write(folder.join(GUARD_FILE), GUARD).context("cannot write its guard")?;
    let log = fs::File::options().create(true).append(true).open(folder.join(LOG_FILE));
    let log = log.context("cannot make its log")?;
    let pipe = owner.make_pipe(folder).context("cannot make its owners' pipe")?;
    let mut command = Command::new("sh");
    command
        .arg(folder.join(GUARD_FILE))
        .arg(folder)
        .arg(orphan.to_string())
        .args(plan.command_at(&address))
        .current_dir(folder)
        .stdin(Stdio::from(pipe))
        .stdout(Stdio::from(log.try_clone().context("cannot pass its log on")?))
        .stderr(Stdio::from(log));
    let mut environment = plan.environment.clone();
    environment.push(("TMPDIR".to_owned(), temporary.display().to_string()));
    let program =
        Program::start(command, &plan.inherits, environment).context("cannot run `sh`")?;
    let record = Record { program, address, ready: false, needed: Vec::new() };
    store(folder, &record).context("cannot write it down")?;
    Ok(record)
}

/// Ends what is left of an engine, and removes its files.
async fn remove(folder: &Path) -> anyhow::Result<()> {
    if let Some(Record { program, address, .. }) = load(folder)
        && !program.end(Duration::ZERO, KILL_LIMIT).await
    {
        bail!("processes of an engine at {address:?} cannot be killed: {:?}", program.members());
    }
    let shared = fs::read_to_string(folder.join(SHARED_FILE)).unwrap_or_default();
    let is_ours = |path: &&str| {
        ["/dev/shm/psm_", "/dev/shm/sem.", "/dev/shm/nccl-"].iter().any(|own| path.starts_with(own))
            && !path.contains("..")
    };
    for path in shared.lines().filter(is_ours) {
        remove_file(Path::new(path));
    }
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove `{}`", folder.display()))
        }
        _ => Ok(()),
    }
}

fn remove_file(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "cannot remove what an engine left");
    }
}

fn load(folder: &Path) -> Option<Record> {
    serde_json::from_slice(&fs::read(folder.join(RECORD_FILE)).ok()?).ok()
}

fn store(folder: &Path, record: &Record) -> io::Result<()> {
    let new = folder.join(".engine.json");
    fs::write(&new, serde_json::to_vec(record)?)?;
    fs::rename(new, folder.join(RECORD_FILE))
}

/// One that nobody has now. Whoever takes it before the engine does keeps the engine from starting,
/// which it says.
fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
