use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use auto_update::Hurry;
use serde::{Deserialize, Serialize};

use crate::{
    BinaryFile, DaemonHandle, Error, Identity, RestartPolicy, StopMode, Stopped, Supervisor,
    client::Unwell,
    identity::hash_file,
    instance::{GOOD_FILE, Good},
    protocol::Hello,
    spec::{Run, Sources, Spec, UpdatePolicy, Waits},
    starter::{
        find, running,
        spawn::{self, Again},
        stop, supervise, update,
    },
};

/// What a daemon says however much it has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignOfLife {
    pub identity: Identity,
    /// Whether none of its tasks has come to its turn since it was asked for several times.
    pub is_stuck: bool,
}

/// How one daemon is started, kept up to date, replaced and stopped.
///
/// ```no_run
/// # use daemon_lifecycle::{DaemonManager, Error};
/// # async fn start() -> Result<(), Error> {
/// let binary = DaemonManager::find_in_target("my-daemon")?;
/// let daemon = DaemonManager::new(binary, vec!["--port", "8500"])
///     .enable_auto_update("my-daemon", "crates/my-daemon")
///     .spawn()
///     .await?;
/// println!("process {} answers on {}", daemon.id(), daemon.address());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DaemonManager {
    spec: Spec,
}

impl DaemonManager {
    /// A daemon that runs `binary_path` with `args`.
    ///
    /// The binary must call [`crate::Daemon::attach`] and [`crate::Daemon::ready`].
    pub fn new(
        binary_path: impl Into<PathBuf>,
        args: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        let run = Run {
            binary_path: binary_path.into(),
            args: args.into_iter().map(Into::into).collect(),
            ..Run::default()
        };
        Self::of(Spec { run, ..Spec::default() })
    }

    /// A manager as `spec` says.
    pub(crate) fn of(spec: Spec) -> Self {
        Self { spec }
    }

    /// Where the binary `name` is, or will be once it is built.
    ///
    /// Beside the running executable when it is there, as in an installed release; otherwise
    /// where cargo puts it, in the target directory of the workspace that the running executable
    /// or the working directory is in.
    pub fn find_in_target(name: &str) -> Result<PathBuf, Error> {
        find::find_in_target(name)
    }

    /// Keeps the binary what its sources say: before anything is started or reused, the cargo
    /// binary `binary_name` of the crate in `source_dir` is checked, and built when it is stale.
    /// What runs then comes from the build, not from the path given to [`Self::new`].
    #[must_use]
    pub fn enable_auto_update(
        mut self,
        binary_name: impl Into<String>,
        source_dir: impl Into<PathBuf>,
    ) -> Self {
        let (binary, source_dir) = (binary_name.into(), source_dir.into());
        self.spec.update.sources = Some(Sources { binary, source_dir, together_with: Vec::new() });
        self
    }

    /// Where the binary has to be built, compiles those of `others` that are stale too in the same
    /// call of cargo; each a binary with its source folder, as in [`Self::enable_auto_update`],
    /// which comes before this. They are replaced by whoever keeps them.
    #[must_use]
    pub fn build_together_with(
        mut self,
        others: impl IntoIterator<Item = (impl Into<String>, impl Into<PathBuf>)>,
    ) -> Self {
        if let Some(sources) = &mut self.spec.update.sources {
            let others = others.into_iter().map(|(name, dir)| (name.into(), dir.into()));
            sources.together_with = others.collect();
        }
        self
    }

    /// What a person is told when cargo begins to compile `package` for the binary: why that takes long.
    #[must_use]
    pub fn slow_package(mut self, package: impl Into<String>, note: impl Into<String>) -> Self {
        self.spec.update.slow_package = Some((package.into(), note.into()));
        self
    }

    #[must_use]
    pub fn auto_update_policy(mut self, policy: UpdatePolicy) -> Self {
        self.spec.update.policy = policy;
        self
    }

    /// Names the instance: of all that share `run_dir` and `name`, one daemon runs.
    ///
    /// `<run_dir>/<name>/` is created for this user only and holds lock, identity and control
    /// sockets. By default the instance is told by its binary's name, its sources or else its
    /// path, and its arguments, in the user's state folder.
    #[must_use]
    pub fn instance(mut self, run_dir: impl Into<PathBuf>, name: impl Into<String>) -> Self {
        self.spec.place.instance = Some((run_dir.into(), name.into()));
        self
    }

    /// Where `<name>.log` is written, with older ones beside it; by default the instance's folder.
    #[must_use]
    pub fn log_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.spec.place.log_dir = Some(dir.into());
        self
    }

    /// How long the daemon may take to be ready, counted anew with each
    /// [`crate::Daemon::progress`]; 30 s by default.
    #[must_use]
    pub fn ready_timeout(mut self, limit: Duration) -> Self {
        self.spec.limits.ready_timeout = limit;
        self
    }

    /// How long requests may go on in a daemon that has been replaced; 30 minutes by default.
    #[must_use]
    pub fn drain_timeout(mut self, limit: Duration) -> Self {
        self.spec.limits.drain_timeout = limit;
        self
    }

    /// For how long after a hand-over the old daemon stands by to resume; 10 s by default. Nobody
    /// waits for it.
    #[must_use]
    pub fn probation(mut self, length: Duration) -> Self {
        self.spec.limits.probation = length;
        self
    }

    /// How much memory replaced daemons that still finish their requests may hold together; a
    /// quarter of what the machine can give by default. Beyond that the next replacement has the
    /// oldest come to its drain deadline at once. Nobody waits for any of them.
    #[must_use]
    pub fn draining_memory(mut self, bytes: u64) -> Self {
        self.spec.limits.draining_bytes = Some(bytes);
        self
    }

    /// What a daemon is asked for before it is believed to be ready, and during its probation:
    /// an answer below 500 is a good one. `/health` by default.
    #[must_use]
    pub fn health_path(mut self, path: impl Into<String>) -> Self {
        self.spec.limits.health_path = Some(path.into());
        self
    }

    /// Believes a daemon that it is ready without asking it anything: for one that does not use
    /// [`crate::Daemon::serve`].
    #[must_use]
    pub fn without_health_check(mut self) -> Self {
        self.spec.limits.health_path = None;
        self
    }

    /// Lets the daemon inherit these variables too; a `*` at the end stands for any rest. `LD_*`
    /// and `DYLD_*` are never inherited, nor is what is a secret by its name (`.._TOKEN`).
    #[must_use]
    pub fn env_allow(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.spec.run.env_allow.extend(names.into_iter().map(Into::into));
        self
    }

    /// Says that the daemon builds and downloads nothing, so that it inherits nothing for that: no
    /// variables of cargo, compilers and proxies. Asked for a hand-over by SIGHUP, it hands over to the
    /// binary that there is.
    #[must_use]
    pub fn builds_nothing(mut self) -> Self {
        self.spec.run.builds = false;
        self
    }

    /// Sets a variable of the daemon's environment.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.spec.run.env.insert(name.into(), value.into());
        self
    }

    /// Replaces a daemon even if it comes from another source tree.
    #[must_use]
    pub fn takeover(mut self, takeover: bool) -> Self {
        self.spec.update.takeover = takeover;
        self
    }

    /// Who waits for [`Self::spawn`]; a person unless set.
    #[must_use]
    pub fn waits(mut self, waits: Waits) -> Self {
        self.spec.update.waits = waits;
        self
    }

    /// Starts no other binary in place of one that has failed: for whoever has a daemon elsewhere that goes on
    /// then.
    #[must_use]
    pub fn without_falling_back(mut self) -> Self {
        self.spec.update.no_other = true;
        self
    }

    /// Says, for as long as the answer lives, that somebody waits: what is being built for nobody in
    /// the daemon's workspace has the whole machine from then on. For those who wait for another
    /// one that spawns.
    pub fn hurry(&self) -> Option<Hurry> {
        update::hurry(&self.spec.update)
    }

    /// Makes the binary what its sources say, as [`Self::spawn`] does first, and starts nothing. For
    /// those who have to get something else ready meanwhile.
    pub async fn build(&self) -> Result<(), Error> {
        update::wanted(&self.spec, &self.spec.instance()?).await.map(drop)
    }

    /// The binary that [`Self::spawn`] would start now, built if need be: for those who start it on
    /// another machine.
    pub async fn binary(&self) -> Result<BinaryFile, Error> {
        update::binary(&self.spec).await
    }

    /// The same where nothing has to be built for it first. Takes about a microsecond for each source
    /// file, and narrates nothing.
    pub async fn fresh_binary(&self) -> Option<BinaryFile> {
        update::fresh_binary(&self.spec).await
    }

    /// Makes sure that the daemon runs, from a binary that is what its sources say.
    ///
    /// Returns when it has said that it is ready and has answered a request. Whatever calls this
    /// at the same time, in this process or another, one daemon runs. A running daemon with the
    /// same binary and arguments is reused; another one is replaced without refusing a
    /// connection or cutting a stream, and stays when the new one fails: see [`crate::Outcome`].
    pub async fn spawn(&self) -> Result<DaemonHandle, Error> {
        spawn::spawn(&self.spec, Again::No).await
    }

    /// The same, and a daemon that runs as it should is replaced too: by the same binary, without
    /// refusing a connection or cutting a stream.
    pub async fn restart(&self) -> Result<DaemonHandle, Error> {
        spawn::spawn(&self.spec, Again::Yes).await
    }

    /// Starts the daemon and, whenever it dies, starts it again: with growing delays, and not for
    /// ever. Its replacements are followed; one that is stopped on purpose stays stopped. Needs a
    /// Tokio runtime.
    pub fn supervise(self, policy: RestartPolicy) -> Supervisor {
        supervise::supervise(self.spec, policy)
    }

    /// The daemon that is running, if it is alive and answers. Starts and changes nothing.
    pub async fn running(&self) -> Result<Option<Identity>, Error> {
        let instance = self.spec.instance()?;
        Ok(running::answering(&instance).await.map(|hello| hello.identity))
    }

    /// What the daemon that serves says of itself on a thread of its own, so that no load on it keeps
    /// whoever asks waiting. `None` where none is there, or it is silent for two seconds.
    pub async fn sign_of_life(&self) -> Result<Option<SignOfLife>, Error> {
        let instance = self.spec.instance()?;
        let hello = running::answering(&instance).await;
        Ok(hello.map(|Hello { identity, is_stuck, .. }| SignOfLife { identity, is_stuck }))
    }

    /// Whether `running` is alive and runs what the sources and the arguments say now.
    ///
    /// Takes about a microsecond for each source file; builds nothing and narrates nothing. Any
    /// doubt is `false`: [`Self::spawn`] finds out. A binary without sources is compared with the
    /// file at its path; where updates are switched off only the arguments and the process itself
    /// are looked at.
    pub async fn is_current(&self, running: &Identity) -> bool {
        update::is_current(&self.spec, running).await
    }

    /// Whether `running` was started with the arguments that the daemon would get now, from whichever
    /// binary.
    pub fn has_arguments_of(&self, running: &Identity) -> bool {
        running.args_hash == self.spec.run.args_hash()
    }

    /// Holds the binary of `bad` to have failed in this daemon's place, where it did so in another one's: it
    /// is not started here until it changes or a while is over, and `good` is. Said again meanwhile it changes
    /// nothing.
    ///
    /// # Errors
    ///
    /// When `good` cannot be read, or the daemon's folder cannot be written.
    pub fn distrust(&self, bad: &Identity, good: &Path, why: &str) -> Result<(), Error> {
        let instance = self.spec.instance()?;
        instance.create()?;
        let exe_hash = hash_file(good).map_err(|source| Error::io("read", good, source))?;
        let good = Good { exe: good.to_owned(), exe_hash };
        let path = instance.path(GOOD_FILE);
        instance.store(GOOD_FILE, &good).map_err(|source| Error::io("write", &path, source))?;
        let args_hash = self.spec.run.args_hash();
        if instance.quarantined(&bad.exe_hash, &args_hash).is_none() {
            instance.quarantine(&bad.exe_hash, &args_hash, &Unwell::slow(why));
        }
        Ok(())
    }

    /// Ends the daemon, with everything it has started.
    pub async fn stop(&self, mode: StopMode) -> Result<Stopped, Error> {
        stop::stop(&self.spec.instance()?, mode).await
    }
}
