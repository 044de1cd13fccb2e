use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use chain_daemon::{HIVE, LLAMACPP_WORKER, There};
use daemon_lifecycle::BinaryFile;
use narration_core::Narration;
use ssh_host::{Link, SshHost};

use super::{
    Built, HiveElsewhere,
    facts::{self, Facts},
    layout::Layout,
};
use crate::Error;

/// For so long after there was no way to a machine, nobody who only looks tries again, and it is left
/// out of the choice.
const LEFT_ALONE: Duration = Duration::from_secs(15);

/// A machine with a hive, and the connection to it.
#[derive(Debug)]
pub(super) struct Machine {
    alias: String,
    host: SshHost,
    /// A file that is there while the hive is to run.
    in_use: PathBuf,
    /// Held while anything is changed there.
    pub(super) turn: tokio::sync::Mutex<()>,
    /// Held while it is connected to: however many ask, one does it.
    connecting: tokio::sync::Mutex<()>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    connected: Option<Arc<Connected>>,
    /// When there was no way to it.
    failed: Option<Instant>,
    /// The hash of the worker that its hive uses.
    worker: Option<String>,
}

/// A connection, and what was found at its end.
#[derive(Debug)]
pub(super) struct Connected {
    pub(super) link: Link,
    pub(super) layout: Layout,
    facts: Facts,
    socket: PathBuf,
}

impl Known {
    fn has_just_failed(&self) -> bool {
        self.failed.is_some_and(|failed| failed.elapsed() < LEFT_ALONE)
    }
}

impl Machine {
    pub(super) fn new(alias: &str, destination: &str, folder: &Path) -> Self {
        Self {
            alias: alias.to_owned(),
            host: SshHost::new(destination, folder),
            in_use: folder.join(format!("{alias}.in-use")),
            turn: tokio::sync::Mutex::default(),
            connecting: tokio::sync::Mutex::default(),
            known: Mutex::default(),
        }
    }

    /// What `ssh` calls it.
    pub(super) fn host(&self) -> &str {
        self.host.destination()
    }

    /// The connection, made anew where it is lost.
    pub(super) async fn connect(&self) -> Result<Arc<Connected>, Error> {
        let _turn = self.connecting.lock().await;
        if let Some(connected) = self.connected() {
            return Ok(connected);
        }
        let made = self.connect_anew().await;
        let mut known = self.known();
        known.failed = made.is_err().then(Instant::now);
        known.connected = made.as_ref().ok().map(Arc::clone);
        made
    }

    /// The same for whoever only looks: not where that has just failed.
    pub(super) async fn connect_unless_just_tried(&self) -> Result<Arc<Connected>, Error> {
        if self.connected().is_none() && self.known().has_just_failed() {
            return Err(self.failed("there was no way to it a moment ago"));
        }
        self.connect().await
    }

    /// Whether there was no way to it a moment ago, or the connection is lost and not made anew.
    pub(super) fn is_out_of_reach(&self) -> bool {
        let known = self.known();
        known.has_just_failed()
            || known.connected.as_ref().is_some_and(|connected| !connected.link.is_up())
    }

    /// Whether the hive is to run, whichever queen has it started.
    pub(super) fn is_in_use(&self) -> bool {
        self.in_use.exists()
    }

    pub(super) fn note_use(&self, used: bool) {
        let noted = match used {
            true => fs::write(&self.in_use, self.host()),
            false => fs::remove_file(&self.in_use),
        };
        if let Err(error) = noted
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "cannot note whether a hive is used");
        }
    }

    pub(super) fn has_worker(&self, hash: &str) -> bool {
        self.known().worker.as_deref() == Some(hash)
    }

    /// Forgets all that is known, the connection too.
    pub(super) fn forget(&self) {
        *self.known() = Known::default();
    }

    /// Refuses a machine on which nothing that is built here runs.
    pub(super) fn suits(&self, connected: &Connected) -> Result<(), Error> {
        match connected.facts.refuses(&Facts::here()) {
            Some(why) => Err(self.unsupported(why)),
            None => Ok(()),
        }
    }

    /// Brings there what is missing of what was built, and makes it what is used; says how much that
    /// was.
    pub(super) async fn bring(
        &self,
        connected: &Connected,
        built: &Built,
        default_model: &str,
    ) -> Result<u64, Error> {
        let list = self.run(connected, "looking what is there", &connected.layout.list()).await?;
        let mut missing = vec![(HIVE.name, &built.hive), (LLAMACPP_WORKER.name, &built.worker)];
        missing.retain(|(name, binary)| {
            let there = format!("{}/{name}", binary.hash);
            list.lines().all(|line| line != there)
        });
        let refused =
            missing.iter().find_map(|(_, binary)| connected.facts.refuses_binary(&binary.path));
        if let Some(why) = refused {
            return Err(self.unsupported(why));
        }
        let mut pushed = 0;
        for (name, binary) in missing {
            pushed += self.push(connected, name, binary).await?;
        }
        let script = connected.layout.place(&built.hive.hash, &built.worker.hash, default_model);
        self.run(connected, "placing the binaries", &script).await?;
        self.known().worker = Some(built.worker.hash.clone());
        Ok(pushed)
    }

    async fn push(
        &self,
        connected: &Connected,
        name: &str,
        binary: &BinaryFile,
    ) -> Result<u64, Error> {
        let BinaryFile { path, hash } = binary;
        let began = Instant::now();
        let folder = connected.layout.folder(hash);
        let untried = Layout::untried(name);
        let bytes = connected.link.push(path, &folder, &untried).await;
        let bytes = bytes.map_err(self.out_of_reach())?;
        let tried =
            connected.link.run("trying it out", &connected.layout.try_out(hash, name)).await;
        if let Err(error) = tried {
            return Err(match error {
                ssh_host::Error::Failed { said, .. } => self.unsupported(format!(
                    "`{name}`, as it is built here, does not start there, where libc is {}: {said}{}",
                    connected.facts.libc(),
                    remedy(&said),
                )),
                lost => self.out_of_reach()(lost),
            });
        }
        let mb = bytes.div_ceil(1_000_000);
        let human = format!("brought `{name}` to `{}`: {mb} MB", self.host());
        let narration = Narration::new("queen", "hive_push", human).about(&self.alias);
        narration.took(began.elapsed()).emit();
        Ok(bytes)
    }

    /// Runs a script that only looks or moves files.
    pub(super) async fn run(
        &self,
        connected: &Connected,
        what: &str,
        script: &str,
    ) -> Result<String, Error> {
        connected.link.run(what, script).await.map_err(self.out_of_reach())
    }

    /// Has the hive's binary there do something, and tells what it tells.
    pub(super) async fn ask(
        &self,
        connected: &Connected,
        what: &str,
        script: &str,
    ) -> Result<There, Error> {
        let said = connected.link.run(what, script).await.map_err(self.out_of_reach())?;
        self.heard(&said)
    }

    /// The same for what may take so long.
    pub(super) async fn ask_for(
        &self,
        limit: Duration,
        connected: &Connected,
        what: &str,
        script: &str,
    ) -> Result<There, Error> {
        let said = connected.link.run_for(limit, what, script).await;
        self.heard(&said.map_err(self.out_of_reach())?)
    }

    /// The hive if it runs.
    pub(super) async fn find(
        &self,
        connected: &Arc<Connected>,
    ) -> Result<Option<HiveElsewhere>, Error> {
        let script = connected.layout.manage("show", "");
        let said = self.ask(connected, "looking for the hive", &script).await?;
        self.hive(connected, said)
    }

    /// The hive that was found, or `None` where none runs.
    pub(super) fn hive(
        &self,
        connected: &Arc<Connected>,
        said: There,
    ) -> Result<Option<HiveElsewhere>, Error> {
        match said {
            There::Runs { identity, outcome, token } => {
                let (socket, connected) = (connected.socket.clone(), Arc::clone(connected));
                Ok(Some(HiveElsewhere { identity, outcome: *outcome, socket, token, connected }))
            }
            There::Nobody => Ok(None),
            other => Err(self.failed(&format!("its answer is not understood: {other:?}"))),
        }
    }

    pub(super) fn forbidden(&self) -> Error {
        Error::Forbidden { alias: self.alias.clone(), host: self.host().to_owned() }
    }

    /// In the words of whoever is there.
    pub(super) fn failed(&self, why: &str) -> Error {
        let (alias, host) = (self.alias.clone(), self.host().to_owned());
        Error::There { alias, host, why: why.to_owned() }
    }

    fn heard(&self, said: &str) -> Result<There, Error> {
        let mut answer = None;
        for line in said.lines() {
            match serde_json::from_str(line) {
                Ok(There::Narration(narration)) => narration.emit(),
                Ok(There::Failed { why }) => return Err(self.failed(&why)),
                Ok(said) => answer = Some(said),
                // A shell may greet.
                Err(error) => tracing::debug!(%error, line, "not understood"),
            }
        }
        answer.ok_or_else(|| self.failed("it gave no answer that is understood here"))
    }

    async fn connect_anew(&self) -> Result<Arc<Connected>, Error> {
        let link = Link::open(&self.host).await.map_err(self.out_of_reach())?;
        let facts = link.run("asking what kind of machine it is", facts::SCRIPT).await;
        let facts = Facts::read(&facts.map_err(self.out_of_reach())?);
        let layout = Layout::new(&facts.home, &self.alias);
        let there = layout.socket().display().to_string();
        let socket = link.forward(&there).await.map_err(self.out_of_reach())?;
        Ok(Arc::new(Connected { link, layout, facts, socket }))
    }

    fn connected(&self) -> Option<Arc<Connected>> {
        self.known().connected.clone().filter(|connected| connected.link.is_up())
    }

    fn out_of_reach(&self) -> impl Fn(ssh_host::Error) -> Error + use<> {
        let alias = self.alias.clone();
        move |source| match source {
            ssh_host::Error::Failed { .. } => Error::Undone { alias: alias.clone(), source },
            source => Error::Ssh { alias: alias.clone(), source },
        }
    }

    fn unsupported(&self, why: String) -> Error {
        Error::Unsupported { alias: self.alias.clone(), host: self.host().to_owned(), why }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a person does about a binary that does not start there, where that is known.
fn remedy(said: &str) -> &'static str {
    if said.contains("GLIBC") || said.contains("shared librar") {
        return "; what is built here needs a system there that is at least as new as this one, and \
                has the same libraries";
    }
    if said.contains("Permission denied") {
        return "; its home may be on a file system that is mounted `noexec`";
    }
    ""
}
