use std::{
    ffi::OsString,
    future::Future,
    io::{self, IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use serde::Serialize;

use crate::{
    build::{self, BuildEvent, BuildOptions},
    check::{self, Holding},
    compare,
    environment::BuildEnvironment,
    error::Error,
    freshness::{Artifact, Freshness, InputKind, lossy},
    layout::Options,
    lock::Wanted,
    pending::Pending,
    receipt::EntryRef,
    records,
    running::{self, RunEnvironment},
    selection::{self, Selection},
    stat::StatVector,
    store::Store,
    subject::Subject,
    watch::Watcher,
    workspace::Package,
};

/// Knows one binary of a cargo workspace: whether it is what its sources say, and how to build it.
///
/// It may be kept for the life of a process and asked by several threads at once; what it answers
/// is looked up each time. Clones share nothing but memory.
#[derive(Debug, Clone)]
pub struct AutoUpdater {
    subject: Subject,
    options: BuildOptions,
    others: Arc<[Subject]>,
}

impl AutoUpdater {
    /// The binary `name` of the package in `source_dir`, or of one of the workspace's in a folder
    /// right below.
    ///
    /// `source_dir` is absolute, or relative to the root of the workspace that holds the working
    /// directory, else of the one that holds the running executable. Nothing is built or checked
    /// yet, but the package must be there and have such a binary.
    pub fn new(name: impl Into<String>, source_dir: impl AsRef<Path>) -> Result<Self, Error> {
        let binary = name.into();
        let package = Package::find(source_dir.as_ref())?.with_binary(&binary)?;
        Ok(Self::of(package, binary))
    }

    /// The binary `name` of whichever package of the workspace that holds `dir` has it.
    ///
    /// Looks in the package around `dir` first, then in the workspace's other members.
    pub fn find(name: impl Into<String>, dir: impl AsRef<Path>) -> Result<Self, Error> {
        let (binary, dir) = (name.into(), dir.as_ref());
        let nearest = dir.ancestors().find(|dir| dir.join("Cargo.toml").is_file());
        let Some(nearest) = nearest else { return Err(Error::NoWorkspace { path: dir.into() }) };
        if let Ok(package) = Package::open(nearest)
            && package.require_binary(&binary).is_ok()
        {
            return Ok(Self::of(package, binary));
        }
        let members = selection::members(nearest)?;
        match members.into_iter().find(|member| member.require_binary(&binary).is_ok()) {
            Some(package) => Ok(Self::of(package, binary)),
            None => Err(Error::NoSuchBinary { name: binary }),
        }
    }

    /// The program that `cargo run` would run in `folder` with this selection, built as cargo would
    /// build it there.
    ///
    /// Starts no process: members and targets are found in the manifests, by cargo's rules.
    pub fn select(selection: &Selection, folder: &Path) -> Result<Self, Error> {
        let (package, name, is_example) = selection.resolve(folder)?;
        let selected = Self::of(package, name).folder(folder);
        Ok(selected.with_options(|options| options.is_example = is_example))
    }

    /// The binary that `cargo run` would run in `dir`: the package's only one, or its default.
    pub fn find_only(dir: impl AsRef<Path>) -> Result<Self, Error> {
        let dir = dir.as_ref();
        let nearest = dir.ancestors().find(|dir| dir.join("Cargo.toml").is_file());
        let Some(nearest) = nearest else { return Err(Error::NoWorkspace { path: dir.into() }) };
        let package = Package::open(nearest)?;
        let binary = package.only_binary()?;
        Ok(Self::of(package, binary))
    }

    fn of(package: Package, binary: String) -> Self {
        let subject = Subject::new(package, binary);
        Self { subject, options: BuildOptions::default(), others: Arc::default() }
    }

    /// Builds with this cargo profile; `dev` unless set.
    #[must_use]
    pub fn profile(self, profile: impl Into<String>) -> Self {
        let profile = profile.into();
        self.with_options(|options| options.profile = profile)
    }

    /// Builds for this target instead of the configured one.
    #[must_use]
    pub fn target(self, triple: impl Into<String>) -> Self {
        let triple = triple.into();
        self.with_options(|options| options.target = Some(triple))
    }

    /// Turns these features of the package on.
    #[must_use]
    pub fn features(self, features: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let mut features: Vec<String> = features.into_iter().map(Into::into).collect();
        features.sort_unstable();
        features.dedup();
        self.with_options(|options| options.features = features)
    }

    /// Turns every feature of the package on.
    #[must_use]
    pub fn all_features(self, all: bool) -> Self {
        self.with_options(|options| options.all_features = all)
    }

    /// Leaves the package's default features off.
    #[must_use]
    pub fn no_default_features(self, none: bool) -> Self {
        self.with_options(|options| options.no_default_features = none)
    }

    /// Starts cargo in `folder` instead of the root of the workspace, and judges by the
    /// configuration and the toolchain that apply there. Absolute.
    #[must_use]
    pub fn folder(self, folder: impl Into<PathBuf>) -> Self {
        let folder = folder.into();
        self.with_options(|options| options.folder = Some(folder))
    }

    /// Builds into this directory instead of the configured one; relative to where cargo is
    /// started.
    #[must_use]
    pub fn target_directory(self, dir: impl Into<PathBuf>) -> Self {
        let dir = dir.into();
        self.with_options(|options| options.target_dir = Some(dir))
    }

    /// Adds to cargo's configuration, as its `--config` does: files, or settings in TOML.
    #[must_use]
    pub fn config(self, config: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let config = config.into_iter().map(Into::into).collect();
        self.with_options(|options| options.config = config)
    }

    /// Hands further arguments to `cargo build`, which do not change what it makes: `--locked`, for
    /// example, or `--jobs=1`.
    #[must_use]
    pub fn cargo_arguments(self, arguments: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let further = arguments.into_iter().map(Into::into).collect();
        self.with_options(|options| options.further = further)
    }

    /// Builds, and judges, under these variables instead of this process's own.
    #[must_use]
    pub fn environment(self, environment: BuildEnvironment) -> Self {
        Self { subject: self.subject.with_environment(environment), ..self }
    }

    /// Lets builds run only while nothing else wants the processor and the disk: nobody waits for
    /// them. One that is under way when somebody comes to wait, in whichever process, is raised: see
    /// [`hurry`](Self::hurry).
    #[must_use]
    pub fn idle_priority(mut self, idle: bool) -> Self {
        self.options.idle = idle;
        self
    }

    /// Has cargo colour the lines that observers get.
    #[must_use]
    pub fn colours(mut self, colours: bool) -> Self {
        self.options.colours = colours;
        self
    }

    /// Nobody has asked for this build by hand: what has failed from the same inputs in the same
    /// environment, not long ago, is not compiled again but fails with the same words.
    #[must_use]
    pub fn automatic(mut self, automatic: bool) -> Self {
        self.options.automatic = automatic;
        self
    }

    /// Asks cargo even where nothing changed, and builds again what has failed as it is.
    #[must_use]
    pub fn force(mut self, force: bool) -> Self {
        self.options.force = force;
        self
    }

    /// How many bytes of built binaries are kept, [`Store::DEFAULT_LIMIT`] unless set. What is
    /// newest or running stays in any case.
    #[must_use]
    pub fn store_limit(mut self, bytes: u64) -> Self {
        self.options.store_limit = bytes;
        self
    }

    /// Where this binary has to be built, compiles those of `others` that are stale too in the same
    /// call of cargo: what they share once, and all of it at the same time.
    ///
    /// Only what was built before is compiled so, and with the same profile, environment and target
    /// directory. Each is still to be asked for; cargo then has nothing left to compile. What any
    /// of them is does not depend on what it was compiled with, and none keeps another from being
    /// built.
    #[must_use]
    pub fn together_with(mut self, others: impl IntoIterator<Item = Self>) -> Self {
        self.others = others.into_iter().map(|other| other.subject).collect();
        self
    }

    /// Whether the binary is not, or may not be, what its inputs say.
    pub fn needs_rebuild(&self) -> Result<bool, Error> {
        self.check().map(|freshness| !freshness.is_fresh())
    }

    /// Whether the binary is what its inputs say, and if not, why.
    ///
    /// Blocks for about a microsecond for each input; reads only those whose state changed, and
    /// starts no process. An earlier build from the very inputs that are there now counts as
    /// fresh, and is what [`Artifact::path`] then names.
    pub fn check(&self) -> Result<Freshness, Error> {
        self.inspect().map(|inspection| inspection.freshness)
    }

    /// [`check`](Self::check), and how many inputs were compared.
    pub fn inspect(&self) -> Result<Inspection, Error> {
        let checked = check::check(&*self.subject.layout()?, Holding::Nothing);
        Ok(Inspection { freshness: checked.freshness, inputs: checked.inputs })
    }

    /// Runs cargo, whatever a check would say; its output goes to this process's stderr.
    ///
    /// Blocks until it is done. If somebody else is building it, waits for them and takes theirs.
    pub fn rebuild(&self) -> Result<(), Error> {
        let colours = self.options.colours || io::stderr().is_terminal();
        let options = BuildOptions { force: true, colours, ..self.options };
        let mut print = |event| {
            if let BuildEvent::Line(line) = event {
                // A closed stderr is no reason to fail a build.
                writeln!(io::stderr(), "{line}").unwrap_or(());
            }
        };
        build::ensure(&*self.subject.layout()?, options, &[], &mut print).map(drop)
    }

    /// A binary that is what its inputs say, built if it must be.
    ///
    /// However many ask, in however many processes, cargo is run once. The work is done on a
    /// thread of its own, so this can be awaited on any executor; dropping the future does not
    /// stop a build that has begun.
    pub fn ensure_built(&self) -> impl Future<Output = Result<Artifact, Error>> + Send + 'static {
        let (pending, answer) = Pending::new(self.subject.binary().to_owned());
        let updater = self.clone();
        thread::spawn(move || answer.give(updater.ensure_built_with(|_| {})));
        pending
    }

    /// [`ensure_built`](Self::ensure_built) on this thread, telling `observer` what happens.
    pub fn ensure_built_with(
        &self,
        mut observer: impl FnMut(BuildEvent) + Send,
    ) -> Result<Artifact, Error> {
        build::ensure(&*self.subject.layout()?, self.options, &self.others, &mut observer)
    }

    /// Says, for as long as the answer lives, that somebody waits: what is being built for nobody in
    /// the same target directory goes on at normal priority.
    ///
    /// Whoever makes sure of a binary says so by itself. This is for those who wait for another one
    /// that does.
    pub fn hurry(&self) -> Result<Hurry, Error> {
        Ok(Hurry { _wanted: Wanted::say(&self.subject.layout()?.builder()) })
    }

    /// What `cargo run` gives to the program besides its arguments.
    ///
    /// Known from the build; where its record is lost, cargo is asked once more.
    pub fn run_environment(&self, artifact: &Artifact) -> Result<RunEnvironment, Error> {
        let layout = self.subject.layout()?;
        if let Some(known) = running::recall(&layout, artifact) {
            return Ok(known);
        }
        let options = BuildOptions { force: true, ..self.options };
        let artifact = build::ensure(&layout, options, &[], &mut |_| {})?;
        let known = running::recall(&layout, &artifact);
        known.ok_or_else(|| Error::NoExecutable { binary: self.subject.binary().to_owned() })
    }

    /// Watches the inputs, for a process that asks often.
    pub fn watch(&self) -> Watcher {
        Watcher::new(self.subject.clone())
    }

    /// Every input that the last build is known to have had, sorted by folder.
    ///
    /// Empty where no build is recorded.
    pub fn inputs(&self) -> Result<Vec<Input>, Error> {
        let layout = self.subject.layout()?;
        let receipt = records::read(&records::current(&layout.records), &layout.key).receipt();
        let Some(receipt) = receipt else { return Ok(Vec::new()) };
        let input = |entry: EntryRef<'_>| Input {
            path: entry.absolute(layout.root()),
            kind: entry.kind,
            is_absent: entry.stat == StatVector::NONE.0,
            via: compare::via(&receipt.head, entry.owner),
        };
        Ok(receipt.entries().map(input).collect())
    }

    /// The name of the package that has the binary.
    pub fn package_name(&self) -> &str {
        &self.subject.package.name
    }

    /// The name of the binary.
    pub fn name(&self) -> &str {
        self.subject.binary()
    }

    /// The folder of the binary's package.
    pub fn package_dir(&self) -> &Path {
        &self.subject.package.dir
    }

    /// The folder from which cargo is run.
    pub fn workspace_root(&self) -> &Path {
        &self.subject.package.workspace_root
    }

    /// Where cargo puts what it builds.
    pub fn target_dir(&self) -> Result<PathBuf, Error> {
        Ok(self.subject.layout()?.target_dir.clone())
    }

    /// Where cargo puts the binary, whether it has been built or not.
    pub fn target_path(&self) -> Result<PathBuf, Error> {
        Ok(self.subject.layout()?.target_path.clone())
    }

    /// The store that the binary's builds are kept in.
    pub fn store(&self) -> Result<Store, Error> {
        Ok(Store::new(self.subject.layout()?.home()))
    }

    /// The last build that succeeded, whatever has changed since, if it is still whole.
    pub fn last_good(&self) -> Result<Option<Artifact>, Error> {
        let layout = self.subject.layout()?;
        Ok(check::last_good(&layout))
    }

    /// The variables that a daemon with a cleared environment needs in order to judge and build
    /// every binary of this workspace as this process does.
    pub fn child_environment(&self) -> Result<Vec<(OsString, OsString)>, Error> {
        let layout = self.subject.layout()?;
        let named = records::named_variables(&layout.home());
        let mut vars: Vec<(OsString, OsString)> = self
            .subject
            .environment()
            .travelling()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        for name in named {
            if let Some(value) = self.subject.environment().get(&name)
                && !vars.iter().any(|(known, _)| *known == name)
            {
                vars.push((name, value.to_owned()));
            }
        }
        Ok(vars)
    }

    fn with_options(self, change: impl FnOnce(&mut Options)) -> Self {
        Self { subject: self.subject.with_options(change), ..self }
    }
}

/// Somebody waits: see [`AutoUpdater::hurry`].
#[derive(Debug)]
#[must_use]
pub struct Hurry {
    _wanted: Option<Wanted>,
}

/// A verdict, and what it took.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inspection {
    pub freshness: Freshness,
    /// How many inputs were compared.
    pub inputs: usize,
}

/// Something that a binary was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Input {
    #[serde(serialize_with = "lossy")]
    pub path: PathBuf,
    pub kind: InputKind,
    /// It was not there, and its appearing would make the binary stale.
    pub is_absent: bool,
    /// The crates through which it reaches the binary, from its own up to the binary's package.
    pub via: Vec<String>,
}
