//! Builds under a lock, makes sure that cargo saw what there is to see, and records it.

mod oversee; // what becomes of a build while it runs
mod talk; // what the observer is told

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use crate::{
    cargo::{self, Build, Halt, Metadata, Report},
    check::{self, Checked, Holding},
    compare::Hashes,
    error::{Error, on},
    freshness::{Artifact, Change, Freshness, InputKind, StaleReason},
    hash::{ArtifactHash, hash_file},
    inputs::{self, Before, Gathered, Scene},
    layout::Layout,
    lock::{Lock, Wanted},
    members,
    priority::Priority,
    receipt::{Head, Look, Outcome, Output, Receipt},
    records, running,
    stat::{StatVector, stat},
    store::Store,
    together::{self, Companion},
    toolchain, units,
    updater::AutoUpdater,
};

use oversee::{Baseline, Overseer};
pub use talk::BuildEvent;
use talk::{Observer, Talk};

/// How a build is run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manner {
    /// Nobody waits for it, until somebody does.
    pub(crate) idle: bool,
    pub(crate) colours: bool,
    /// Cargo is asked even if everything is as it was, or failed as it is.
    pub(crate) force: bool,
    /// Nobody has asked for it by hand, so what has just failed as it is is not compiled again.
    pub(crate) automatic: bool,
    /// Bytes that the artifact store may hold.
    pub(crate) store_limit: u64,
}

/// How often a build is repeated because files changed under it.
const MAX_ATTEMPTS: usize = 4;

/// How often a build is ended because its inputs have changed again; the next one then runs to its
/// end. What changes them may be the build itself.
const MAX_OVERTAKEN: usize = 5;

/// After that, the inputs have to be left alone for this long before the next one begins, ...
const QUIET: Duration = Duration::from_millis(100);
/// ... or for this long to change on and on.
const MAX_UNREST: Duration = Duration::from_secs(2);

/// Answers with a binary that is what its inputs say, building it if it must.
///
/// Where it must, those of `others` that are stale too are compiled in the same call of cargo.
pub(crate) fn ensure(
    layout: &Layout,
    manner: Manner,
    others: &[AutoUpdater],
    observer: Observer<'_>,
) -> Result<Artifact, Error> {
    if !manner.force
        && let Freshness::Fresh(artifact) = check::check(layout, Holding::Nothing).freshness
    {
        observer(BuildEvent::Fresh);
        return Ok(artifact);
    }
    layout.make_target_dir()?;
    // Whoever builds meanwhile for nobody makes haste.
    let hurry = if manner.idle { None } else { Wanted::say(&layout.builder()) };
    let wait = |pid| observer(BuildEvent::WaitingFor { pid });
    let (_turn, waited) = Lock::take(&layout.builder(), wait)?;
    drop(hurry);
    // Held by others for no longer than it takes to write a receipt.
    let (_lock, _) = Lock::take(&layout.records.join("lock"), |_| {})?;
    for overtaken in 0.. {
        // Whoever held the lock may have built it.
        let checked = check::check(layout, Holding::Lock);
        if (!manner.force || waited)
            && let Freshness::Fresh(artifact) = checked.freshness
        {
            observer(BuildEvent::Fresh);
            return Ok(artifact);
        }
        if manner.automatic
            && !manner.force
            && let Some(diagnostics) = check::remembered_failure(layout)
        {
            return Err(fail(layout, diagnostics, true, observer));
        }
        let attempt = Attempts::new(layout, manner, others, checked);
        match attempt.run(overtaken < MAX_OVERTAKEN, observer)? {
            Some(artifact) => return Ok(artifact),
            None => continue,
        }
    }
    unreachable!("it ends no later than when no build is ended any more")
}

fn fail(layout: &Layout, diagnostics: String, remembered: bool, observer: Observer<'_>) -> Error {
    observer(BuildEvent::Failed { diagnostics: diagnostics.clone(), remembered });
    Error::BuildFailed { binary: layout.options.binary.clone(), diagnostics, remembered }
}

/// One build, repeated while files change under it.
pub(crate) struct Attempts<'a> {
    layout: &'a Layout,
    manner: Manner,
    others: &'a [AutoUpdater],
    last: Option<Receipt>,
    pub(crate) reasons: Vec<StaleReason>,
    /// The reasons are all there are: the last receipt was compared with the world.
    pub(crate) is_compared: bool,
    /// Cargo will probably find nothing to do, so nothing is said before it does.
    is_quiet: bool,
    began: Instant,
}

impl<'a> Attempts<'a> {
    fn new(
        layout: &'a Layout,
        manner: Manner,
        others: &'a [AutoUpdater],
        checked: Checked,
    ) -> Self {
        let is_compared = matches!(checked.freshness, Freshness::Stale(_));
        let (reasons, is_quiet) = match checked.freshness {
            Freshness::Stale(reasons) => {
                let quiet = reasons.iter().all(|reason| {
                    reason.change != Change::NeverBuilt && reason.kind.is_cargos_to_judge()
                });
                (reasons, quiet)
            }
            Freshness::Unknown(_) | Freshness::Fresh(_) => (Vec::new(), true),
        };
        // Where the current receipt is lost, an earlier one still tells what has changed since.
        let last = checked.receipt.or_else(|| records::newest(&layout.records, &layout.key));
        let began = Instant::now();
        Self { layout, manner, others, last, reasons, is_compared, is_quiet, began }
    }

    /// `None` where it was ended, since its inputs had changed again.
    fn run(
        mut self,
        may_be_overtaken: bool,
        observer: Observer<'_>,
    ) -> Result<Option<Artifact>, Error> {
        let reasons = self.reasons.clone();
        let mut talk = Talk::new(observer, &reasons);
        if !self.is_quiet {
            talk.announce();
        }
        let mut hashes = Hashes::default();
        let mut baseline = Baseline::default();
        if let Some(last) = &self.last {
            hashes.learn(last, self.layout.root());
            baseline = Baseline::of(last, self.layout, &mut hashes);
        }
        let companions =
            if self.is_quiet { Vec::new() } else { together::companions(self.layout, self.others) };
        for Companion { layout, last, .. } in &companions {
            hashes.learn(last, layout.root());
            baseline.extend(Baseline::of(last, layout, &mut hashes));
        }
        let mut first = None;
        let mut rewritten: Option<PathBuf> = None;
        let is_shared = self.is_shared();
        let mut known = self.last.as_ref().map_or_else(Vec::new, |last| self.listed(last));
        known.extend(companions.iter().flat_map(|companion| self.listed(&companion.last)));
        let mut attempt = 1;
        let (report, metadata, mut gathered, linked) = loop {
            let clock = build_start(self.layout)?;
            let sysroot = self.last.as_ref().and_then(|last| last.head.sysroot.as_deref());
            let world = self.layout.world();
            let before = Before::look(clock, first, is_shared, known.into_iter(), world, sysroot);
            first = first.or(Some(clock));
            let mut watched = may_be_overtaken.then_some(&mut baseline);
            let mut joint = None;
            if attempt == 1 && !companions.is_empty() {
                match self.compile_together(&companions, watched.as_deref_mut(), &mut talk)? {
                    Some(report) => joint = Some(report),
                    None => return self.overtaken(&mut baseline, talk),
                }
            }
            let (metadata, is_alone);
            let mut report = match joint.as_ref().and_then(|joint| self.alone(joint, &companions)) {
                Some((report, asked)) => {
                    (metadata, is_alone) = (asked, false);
                    report
                }
                None => match self.call_cargo(watched, &mut talk)? {
                    Some((report, asked)) => {
                        (metadata, is_alone) = (asked, true);
                        report
                    }
                    None => return self.overtaken(&mut baseline, talk),
                },
            };
            if let Some(joint) = &joint {
                report.include(joint);
            }
            if !report.status.success() {
                return Err(self.failed(&report, metadata.as_ref(), &before, talk));
            }
            let sysroot = self.sysroot();
            let scene = self.scene(metadata.as_ref(), sysroot.as_deref(), &before);
            let mut gathered = inputs::gather(scene, &report, &mut hashes)?;
            let linked = Linked::look(executable(self.layout, &report)?)?;
            let is_damaged = self.is_damaged(&report, linked.hash);
            // What is never fresh is built by each call; nothing is gained by building it twice.
            gathered.changed_during.take_if(|_| gathered.opaque.is_some());
            // Written anew each time, by what the build itself runs.
            let is_rewritten = gathered.is_scripts_own
                && gathered.changed_during.is_some()
                && gathered.changed_during == rewritten;
            let is_last = attempt == MAX_ATTEMPTS || is_rewritten;
            if is_last {
                if let Some(path) = gathered.changed_during.take() {
                    gathered.opaque.get_or_insert_with(|| {
                        format!("`{}` changed each time while it was built", path.display())
                    });
                }
                break (report, metadata, gathered, linked);
            }
            if is_damaged {
                unlink(&linked.path, scene)?;
            } else if gathered.changed_during.is_some() {
                // Once more, with what is known now.
            } else if !gathered.overlooked.is_empty() {
                cargo::clean(self.layout, &gathered.overlooked)?;
            } else {
                if let Some(joint) = &joint {
                    for companion in &companions {
                        self.record_companion(companion, joint, scene, &mut hashes)?;
                    }
                }
                if is_alone {
                    units::write(&self.layout.records, &report, scene)?;
                }
                members::remember(self.layout, metadata.as_ref(), &gathered.entries)?;
                break (report, metadata, gathered, linked);
            }
            attempt += 1;
            rewritten = gathered.changed_during;
            known = gathered.entries.into_iter().map(|entry| (entry.path, entry.look)).collect();
        };
        let sysroot = gathered.sysroot.clone();
        let identical = self.last_hash() == Some(linked.hash);
        let artifact = record(self.layout, self.manner, &mut gathered, linked)?;
        let (metadata, sysroot) = (metadata.as_ref(), sysroot.as_deref());
        running::remember(self.layout, &artifact, &report, metadata, sysroot)?;
        let compiled = report.artifacts.iter().any(|artifact| !artifact.fresh);
        talk.end(identical || !compiled, self.began.elapsed(), identical);
        Ok(Some(artifact))
    }

    /// Lets whoever edits finish.
    fn overtaken(
        &mut self,
        baseline: &mut Baseline,
        mut talk: Talk<'_, '_>,
    ) -> Result<Option<Artifact>, Error> {
        talk.overtaken();
        let began = Instant::now();
        loop {
            baseline.renew();
            pause(QUIET);
            if !baseline.is_overtaken() || began.elapsed() > MAX_UNREST {
                return Ok(None);
            }
        }
    }

    /// Compiles, the first time, whatever else is stale beside this binary. `None` where it was
    /// overtaken.
    fn compile_together(
        &self,
        companions: &[Companion],
        baseline: Option<&mut Baseline>,
        talk: &mut Talk<'_, '_>,
    ) -> Result<Option<Report>, Error> {
        let arguments = together::arguments(self.layout, companions);
        let mut kept = Vec::new();
        let report = self.oversee(arguments, baseline, Some(&mut kept), talk)?;
        let Some(report) = report else { return Ok(None) };
        // Where it failed, errors and warnings come again with the binaries that they are about.
        if report.status.success() && together::is_exact(self, companions) {
            kept.into_iter().for_each(|line| talk.line(line));
        }
        Ok(Some(report))
    }

    /// What a call for this binary alone would have reported, where the one for several tells, and
    /// what the workspace consists of.
    fn alone(
        &self,
        joint: &Report,
        companions: &[Companion],
    ) -> Option<(Report, Option<Metadata>)> {
        if !joint.status.success() || !together::is_exact(self, companions) {
            return None;
        }
        let metadata = self.metadata();
        let world = self.layout.world();
        let before = Before::look(StatVector::NONE, None, false, std::iter::empty(), world, None);
        let scene = self.scene(metadata.as_ref(), None, &before);
        let report = units::alone(&self.layout.records, self.last.as_ref()?, joint, scene)?;
        Some((report, metadata))
    }

    /// Writes the receipt of a binary that was compiled along, if it is what a call for it alone
    /// would have given. Where it is not, whoever asks for it makes that call.
    fn record_companion(
        &self,
        companion: &Companion,
        joint: &Report,
        own: Scene<'_>,
        hashes: &mut Hashes,
    ) -> Result<(), Error> {
        let Companion { layout, last, .. } = companion;
        let scene =
            Scene { package: &layout.package, world: layout.world(), last: Some(last), ..own };
        let Some(report) = units::alone(&layout.records, last, joint, scene) else {
            return Ok(());
        };
        let mut gathered = inputs::gather(scene, &report, hashes)?;
        if gathered.changed_during.is_some() || !gathered.overlooked.is_empty() {
            return Ok(());
        }
        let linked = Linked::look(executable(layout, &report)?)?;
        let (_lock, _) = Lock::take(&layout.records.join("lock"), |_| {})?;
        let sysroot = gathered.sysroot.clone();
        let artifact = record(layout, self.manner, &mut gathered, linked)?;
        running::remember(layout, &artifact, &report, own.metadata, sysroot.as_deref())?;
        Ok(())
    }

    fn unless_interrupted(&self, report: Report) -> Result<Report, Error> {
        match report.interrupted_by() {
            Some(signal) => {
                Err(Error::Interrupted { binary: self.layout.options.binary.clone(), signal })
            }
            None => Ok(report),
        }
    }

    /// Runs cargo, and asks it what the workspace consists of. `None` where it was overtaken.
    fn call_cargo(
        &self,
        baseline: Option<&mut Baseline>,
        talk: &mut Talk<'_, '_>,
    ) -> Result<Option<(Report, Option<Metadata>)>, Error> {
        let layout = self.layout;
        let arguments = layout.options.arguments(&layout.package);
        let Some(report) = self.oversee(arguments, baseline, None, talk)? else {
            return Ok(None);
        };
        // Not beside the build: the two would wait for each other's locks, and say so.
        Ok(Some((report, self.metadata())))
    }

    /// What the workspace consists of. While nothing but the contents of sources has changed, that
    /// is what cargo said the last time.
    fn metadata(&self) -> Option<Metadata> {
        let is_of_source = |reason: &StaleReason| {
            let kinds = [InputKind::Source, InputKind::BuildScript, InputKind::Generated];
            reason.change == Change::Modified && kinds.contains(&reason.kind)
        };
        let keeps = self.is_compared && self.reasons.iter().all(is_of_source);
        let last = self.last.as_ref().filter(|_| keeps);
        last.and_then(|last| members::known(self.layout, last))
            .or_else(|| cargo::metadata(self.layout))
    }

    /// Runs cargo to its end, at whatever priority; `None` where it was overtaken.
    fn oversee(
        &self,
        arguments: Vec<String>,
        mut baseline: Option<&mut Baseline>,
        mut kept: Option<&mut Vec<String>>,
        talk: &mut Talk<'_, '_>,
    ) -> Result<Option<Report>, Error> {
        let layout = self.layout;
        let mut build = Build {
            folder: layout.folder(),
            environment: &layout.environment,
            arguments,
            colours: self.manner.colours,
            priority: if self.manner.idle { Priority::Idle } else { Priority::Normal },
        };
        loop {
            if let Some(kept) = &mut kept {
                kept.clear();
            }
            let baseline = baseline.as_deref_mut();
            let mut overseer = Overseer::new(layout, talk, baseline, kept.as_deref_mut());
            let report = build.run(&mut overseer)?;
            match report.halted {
                None => return self.unless_interrupted(report).map(Some),
                Some(Halt::Overtaken) => return Ok(None),
                // Cargo keeps what it has compiled.
                Some(Halt::TooSlow(priority)) => build.priority = priority,
            }
        }
    }

    /// Whether another checkout builds in the same target directory: one that lies outside the
    /// workspace may be anybody's, and one inside is where others' builds are found in it.
    fn is_shared(&self) -> bool {
        let layout = self.layout;
        let is_foreign = |receipt: Receipt| {
            let Outcome::Built(output) = &receipt.head.outcome else { return false };
            receipt.head.root != layout.root() && output.target_path.starts_with(&layout.target_dir)
        };
        !layout.target_dir.starts_with(layout.root())
            || records::all_current(&layout.home()).any(is_foreign)
            || inputs::is_of_elsewhere(&layout.target_path, &layout.package.dir)
    }

    /// The inputs of `receipt`.
    fn listed(&self, receipt: &Receipt) -> Vec<(PathBuf, Look)> {
        let root = self.layout.root();
        receipt.entries().map(|entry| (entry.absolute(root), entry.look)).collect()
    }

    fn scene<'s>(
        &'s self,
        metadata: Option<&'s Metadata>,
        sysroot: Option<&'s Path>,
        before: &'s Before,
    ) -> Scene<'s> {
        Scene {
            package: &self.layout.package,
            world: self.layout.world(),
            metadata,
            sysroot,
            last: self.last.as_ref(),
            before,
        }
    }

    /// The compiler's directory: the recorded one while nothing about the toolchain changed.
    fn sysroot(&self) -> Option<PathBuf> {
        let changed = self.reasons.iter().any(|reason| {
            matches!(reason.kind, InputKind::Toolchain | InputKind::Config | InputKind::Environment)
        });
        let recorded = self.last.as_ref().and_then(|last| last.head.sysroot.clone());
        let layout = self.layout;
        recorded
            .filter(|_| self.is_compared && !changed)
            .or_else(|| toolchain::sysroot(layout.folder(), &layout.config, &layout.environment))
    }

    fn last_hash(&self) -> Option<ArtifactHash> {
        match &self.last.as_ref()?.head.outcome {
            Outcome::Built(output) => Some(output.hash),
            Outcome::Failed { .. } => None,
        }
    }

    /// Cargo compiled nothing and yet the binary is another one, though nothing else changed: its
    /// bytes were changed in place, which cargo does not look for.
    fn is_damaged(&self, report: &Report, hash: ArtifactHash) -> bool {
        let only_output = !self.reasons.is_empty()
            && self.reasons.iter().all(|reason| reason.kind == InputKind::Output);
        only_output
            && report.artifacts.iter().all(|artifact| artifact.fresh)
            && self.last_hash().is_some_and(|last| last != hash)
    }

    fn failed(
        &self,
        report: &Report,
        metadata: Option<&Metadata>,
        before: &Before,
        mut talk: Talk<'_, '_>,
    ) -> Error {
        talk.announce();
        if is_the_sources_fault(&report.text) {
            // Only an optimisation: what is not remembered is compiled again.
            self.remember_failure(report, metadata, before).unwrap_or(());
        }
        fail(self.layout, report.text.clone(), false, talk.observer())
    }

    fn remember_failure(
        &self,
        report: &Report,
        metadata: Option<&Metadata>,
        before: &Before,
    ) -> Result<(), Error> {
        let sysroot = self.sysroot();
        let scene = self.scene(metadata, sysroot.as_deref(), before);
        let mut hashes = Hashes::default();
        let mut gathered = inputs::gather_all(scene, report, &mut hashes)?;
        if gathered.opaque.is_some() || gathered.changed_during.is_some() {
            return Ok(());
        }
        let outcome = Outcome::Failed { diagnostics: report.text.clone() };
        let layout = self.layout;
        let key = check::failure_key(layout);
        let head = Head { key, ..head(layout, &mut gathered, outcome) };
        records::write_failed(&layout.records, &head, &mut gathered.entries, layout.root())
    }
}

fn executable(layout: &Layout, report: &Report) -> Result<PathBuf, Error> {
    let binary = &layout.options.binary;
    let of_binary = report
        .artifacts
        .iter()
        .filter(|artifact| artifact.is_target(binary, layout.options.is_example));
    let named = of_binary.filter_map(|artifact| artifact.executable.clone()).next_back();
    named.ok_or_else(|| Error::NoExecutable { binary: binary.clone() })
}

/// What cargo put where a person finds it.
struct Linked {
    path: PathBuf,
    state: StatVector,
    hash: ArtifactHash,
}

impl Linked {
    fn look(path: PathBuf) -> Result<Self, Error> {
        let state = state_of(&path)?;
        let hash = hash_file(&path).map_err(on("read", &path))?;
        Ok(Self { path, state, hash: ArtifactHash::from_bytes(hash) })
    }
}

fn state_of(path: &Path) -> Result<StatVector, Error> {
    let state = stat(path).map_err(|error| on("look at", path)(error.into()))?;
    Ok(state.unwrap_or(StatVector::NONE))
}

/// Keeps what was built, and what it was built from.
fn record(
    layout: &Layout,
    manner: Manner,
    gathered: &mut Gathered,
    linked: Linked,
) -> Result<Artifact, Error> {
    let store = Store::new(layout.home());
    let Linked { path, state, hash } = linked;
    let stored = store.insert(&path, hash, state, &layout.options.binary)?;
    // One more link to it is another state.
    let target = state_of(&path)?;
    let output = Output { hash, target_path: path, target, stored, opaque: gathered.opaque.take() };
    let artifact = check::artifact(layout, &output);
    let head = head(layout, gathered, Outcome::Built(output));
    records::write_built(&layout.records, &head, &mut gathered.entries, layout.root())?;
    check::forget_failure(layout).map_err(on("remove", records::failed(&layout.records)))?;
    store.collect_garbage(manner.store_limit)?;
    Ok(artifact)
}

fn head(layout: &Layout, gathered: &mut Gathered, outcome: Outcome) -> Head {
    Head {
        key: layout.key,
        outcome,
        packages: std::mem::take(&mut gathered.packages),
        variables: std::mem::take(&mut gathered.variables),
        marks: std::mem::take(&mut gathered.marks),
        sysroot: gathered.sysroot.take(),
        toolchain: gathered.toolchain.take(),
        root: layout.root().to_owned(),
        listed: std::mem::take(&mut gathered.listed),
        tools: std::mem::take(&mut gathered.tools),
        leads: gathered.leads,
    }
}

/// Whether the same sources would fail again: the compiler refused them, and not for want of
/// memory, space, a file elsewhere or a library to link with.
fn is_the_sources_fault(text: &str) -> bool {
    const OTHERS: [&str; 5] =
        ["(signal: ", "No space left", "os error", "linking with", "memory allocation"];
    text.contains("error: could not compile") && !OTHERS.iter().any(|other| text.contains(other))
}

/// Removes a damaged executable and the file that cargo would restore it from.
fn unlink(executable: &Path, scene: Scene<'_>) -> Result<(), Error> {
    for twin in inputs::twins(executable, scene) {
        fs::remove_file(&twin).map_err(on("remove", &twin))?;
    }
    fs::remove_file(executable).map_err(on("remove", executable))
}

/// What the clock that stamps files says, at a moment that every earlier write is before.
fn build_start(layout: &Layout) -> Result<StatVector, Error> {
    const DEADLINE: Duration = Duration::from_millis(50);
    let began = Instant::now();
    let first = records::clock(&layout.records)?;
    loop {
        let now = records::clock(&layout.records)?;
        // A clock that stands still for so long has coarse steps: files of the same step are
        // then taken to have changed during the build, and it is repeated.
        if now.ctime() > first.ctime() || began.elapsed() > DEADLINE {
            return Ok(now);
        }
        thread::yield_now();
    }
}

#[expect(clippy::disallowed_methods, reason = "that nothing happens is what is waited for")]
fn pause(length: Duration) {
    thread::sleep(length);
}
