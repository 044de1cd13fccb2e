//! Gathers every input of a build from what cargo, rustc and build scripts left behind.

mod depinfo; // what the compiler read
mod graph; // manifests, and through which packages one reaches the binary
mod script; // what a build script watches
mod overlooked; // what cargo wrongly took for unchanged
mod way; // through what a path leads
mod missed; // what cargo is to do again
mod units; // one compilation or one run of a build script
mod fingerprint; // what cargo keeps of it
mod set; // what is to be recorded

use std::{
    collections::{HashMap, HashSet},
    ffi::{OsStr, OsString},
    io,
    path::{Path, PathBuf},
};

use crate::{
    cargo::{Metadata, Report},
    compare::{Hashes, World, hash_value},
    error::Error,
    freshness::InputKind,
    hash::Digest,
    receipt::{Entry, Look, PackageOf, Receipt, Trace},
    stat::{StatVector, lstat, stat},
    toolchain,
    workspace::Package,
};
use graph::Graph;
pub(crate) use graph::path_dependencies;
use set::InputSet;
use units::{ScriptRun, Units};

pub(crate) use missed::Missed;
pub(crate) use units::{is_of_elsewhere, mark_of, twins};

/// How far the clock of another file system may be from ours, in nanoseconds.
const CLOCK_SKEW: i64 = 2_000_000_000;

/// What a build was made from.
#[derive(Debug)]
pub(crate) struct Gathered {
    pub(crate) entries: Vec<Entry>,
    pub(crate) packages: Vec<PackageOf>,
    pub(crate) variables: Vec<(OsString, Option<Digest>)>,
    pub(crate) marks: Vec<Trace>,
    pub(crate) sysroot: Option<PathBuf>,
    pub(crate) toolchain: Option<OsString>,
    pub(crate) listed: Vec<PathBuf>,
    pub(crate) tools: Vec<(PathBuf, Option<PathBuf>)>,
    pub(crate) leads: Digest,
    /// Why the list is not complete, if it is not.
    pub(crate) opaque: Option<String>,
    /// What cargo took for up to date, though a file of it changed.
    pub(crate) overlooked: Vec<Missed>,
    /// The marks of what was compiled now.
    pub(crate) done: Vec<(PathBuf, StatVector)>,
    /// A file that may have changed while it was being compiled.
    pub(crate) changed_during: Option<PathBuf>,
    /// A build script may have written that file itself.
    pub(crate) is_scripts_own: bool,
}

/// What is known when the inputs are gathered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BuildContext<'a> {
    pub(crate) package: &'a Package,
    pub(crate) world: World<'a>,
    pub(crate) metadata: Option<&'a Metadata>,
    pub(crate) sysroot: Option<&'a Path>,
    /// The last receipt, to tell which names a directory listed.
    pub(crate) last: Option<&'a Receipt>,
    /// What was seen right before cargo was started.
    pub(crate) before: &'a Before,
}

impl BuildContext<'_> {
    /// The folders that cargo writes to.
    fn built_places(&self) -> Vec<PathBuf> {
        let way = self.metadata.and_then(|metadata| metadata.build_directory.clone());
        std::iter::once(self.world.target_dir.to_owned()).chain(way).collect()
    }
}

/// The world right before cargo was started.
#[derive(Debug)]
pub(crate) struct Before {
    /// Of a file written at that moment.
    pub(crate) clock: StatVector,
    /// The same before the first call of cargo, where this one repeats it.
    pub(crate) first: StatVector,
    /// The target directory was another checkout's as well.
    pub(crate) is_shared: bool,
    /// What the earlier calls have compiled.
    pub(crate) done: HashSet<(PathBuf, StatVector)>,
    /// Of the inputs that were known then: of what is at a path, or of what that leads to.
    states: HashMap<(PathBuf, bool), StatVector>,
}

impl Before {
    /// Looks at what `known` lists, and at what decides how it will be built.
    pub(crate) fn look(
        clock: StatVector,
        first: Option<StatVector>,
        is_shared: bool,
        done: HashSet<(PathBuf, StatVector)>,
        known: impl Iterator<Item = (PathBuf, Look)>,
        world: World<'_>,
        sysroot: Option<&Path>,
    ) -> Self {
        let mut deciding = InputSet::default();
        add_deciding(&mut deciding, world, sysroot);
        let state = |(path, look): (PathBuf, Look)| {
            let state = look.state(&path);
            ((path, look.follows()), state)
        };
        let states = known.chain(deciding.wanted.into_keys()).map(state).collect();
        Self { clock, first: first.unwrap_or(clock), is_shared, done, states }
    }

    /// Whether what was recorded may not be what was compiled. `moved` is what earlier such looks have
    /// found of folders: it is to be empty until all has been recorded.
    fn may_differ(
        &self,
        entry: &Entry,
        root: &Path,
        units: &Units,
        moved: &mut HashMap<PathBuf, bool>,
    ) -> bool {
        if let Some(state) = self.states.get(&(entry.path.clone(), entry.look.follows())) {
            return *state != entry.stat;
        }
        if entry.stat == StatVector::NONE {
            // The compiler has read it, so it was there.
            return entry.kind == InputKind::Source && entry.look != Look::Followed;
        }
        if self.is_later(entry.stat) {
            return true;
        }
        // Another folder may have taken the place of the one that was read. New entries set both
        // times of a folder, a new place one; inside a package few folders get new entries.
        let look = |dir: &Path| {
            let Ok(Some(state)) = lstat(dir) else { return false };
            let is_inside = || units.is_below_package(dir);
            self.is_later(state) && (state.ctime() != state.mtime() || is_inside())
        };
        let is_moved = |dir: &Path| match moved.get(dir) {
            Some(known) => *known,
            None => *moved.entry(dir.to_owned()).or_insert_with(|| look(dir)),
        };
        let is_in_root = |dir: &&Path| dir.starts_with(root);
        let is_source = matches!(entry.kind, InputKind::Source | InputKind::BuildScript);
        is_source && entry.path.ancestors().skip(1).take_while(is_in_root).any(is_moved)
    }

    /// Not before the build began, by the clock that stamps files.
    fn is_later(&self, state: StatVector) -> bool {
        let skew = if state.device() == self.clock.device() { 0 } else { CLOCK_SKEW };
        state.ctime() >= self.clock.ctime() - skew
    }
}

/// What decides how anything is built: cargo's configuration and the toolchain.
fn add_deciding(set: &mut InputSet, world: World<'_>, sysroot: Option<&Path>) {
    world.config.looked_for.iter().for_each(|path| set.add(path, InputKind::Config));
    let tools = toolchain::files(world.folder, sysroot, world.config, world.environment);
    tools.settings.iter().for_each(|path| set.add(path, InputKind::Toolchain));
    for path in &tools.programs {
        set.add_as(path, Look::Program, InputKind::Toolchain);
    }
    tools.links.iter().for_each(|path| set.add_as(path, Look::Link, InputKind::Toolchain));
}

/// Lists and records everything that the build reported by `report` depends on.
pub(crate) fn gather(
    context: BuildContext<'_>,
    report: &Report,
    hashes: &mut Hashes,
) -> Result<Gathered, Error> {
    let mut set = InputSet::default();
    let known_then = hashes.clone();
    let units = Units::of(report, context);
    let graph = Graph::read(context.package, &units.local_dirs(context.package), context.metadata);
    set.opaque.clone_from(&units.opaque);

    for unit in &units.compiled {
        for file in &unit.files {
            let generated = file.starts_with(context.world.target_dir) || units.is_output(file);
            set.add(file, if generated { InputKind::Generated } else { InputKind::Source });
        }
    }
    let built = written_places(context, report);
    for run in &units.scripts {
        let watching = run.package_name();
        run.watched.iter().for_each(|path| set.add_watched(path, watching, &built));
    }
    let listed = units.listed();
    hashes.look_through(&listed, context.world);
    for dir in &listed {
        if let Some(files) = hashes.files_of(dir) {
            let name = dir.file_name().unwrap_or_default().to_string_lossy();
            set.add_package(&name, &files);
        }
    }
    graph.manifests.iter().for_each(|path| set.add(path, InputKind::Manifest));
    graph.listed.iter().for_each(|dir| set.add_as(dir, Look::Listing, InputKind::Manifest));
    for path in &graph.autodiscovered {
        set.add_absence(path, InputKind::Manifest);
    }
    add_deciding(&mut set, context.world, context.sysroot);

    let mut gathered = Gathered {
        entries: Vec::new(),
        packages: graph.packages,
        variables: variables(&units.variables, context.world),
        marks: units.marks(),
        sysroot: context.sysroot.map(Path::to_owned),
        toolchain: context.world.environment.get(toolchain::OVERRIDE).map(OsStr::to_owned),
        listed,
        tools: toolchain::found(context.world.config, context.world.environment),
        leads: toolchain::leads(context.world.config, context.world.environment),
        opaque: set.opaque,
        overlooked: Vec::new(),
        done: units.done(),
        changed_during: None,
        is_scripts_own: false,
    };
    for ((path, look), kind) in set.wanted {
        let owner = owner_of(&path, kind, &gathered.packages);
        gathered.entries.extend(record(path, look, kind, owner, hashes, &mut gathered.opaque));
    }
    // Folders are looked at behind everything that was recorded in them.
    let mut moved = HashMap::new();
    for entry in &gathered.entries {
        if !context.before.may_differ(entry, context.world.root, &units, &mut moved) {
            continue;
        }
        let writer = units.writer_of(&entry.path, entry.stat, context.before.clock);
        // What a script makes for the compiler it makes anew each time that it runs.
        let is_made = writer.is_some_and(|run| entry.path.starts_with(&run.out_dir));
        if !is_made && !is_settled(entry, writer, &known_then) {
            gathered.changed_during = Some(entry.path.clone());
            gathered.is_scripts_own = writer.is_some();
            break;
        }
    }
    gathered.overlooked = overlooked::find(&units, context, &gathered.entries, hashes);
    Ok(gathered)
}

/// A script has written the file that it watches, and what it was before.
fn is_settled(entry: &Entry, writer: Option<&ScriptRun>, then: &Hashes) -> bool {
    writer.is_some() && then.knows(&entry.path, entry.look, entry.hash)
}

/// The folders that cargo writes to, those below them by other paths included.
fn written_places(context: BuildContext<'_>, report: &Report) -> Vec<PathBuf> {
    let mut places = context.built_places();
    for artifact in &report.artifacts {
        for dir in artifact.filenames.iter().filter_map(|file| file.parent()) {
            let is_known = places.iter().any(|place| place == dir);
            if !is_known && dir.starts_with(context.world.target_dir) {
                places.push(dir.to_owned());
            }
        }
    }
    places
}

/// Records what a failed build can have been made from: everything in the packages of the
/// workspace, whether it was read or not.
pub(crate) fn gather_all(
    context: BuildContext<'_>,
    report: &Report,
    hashes: &mut Hashes,
) -> Result<Gathered, Error> {
    let mut gathered = gather(context, report, hashes)?;
    let mut set = InputSet::default();
    let members = context.metadata.into_iter().flat_map(|metadata| &metadata.packages);
    let mut dirs: Vec<&Path> = members.filter_map(|member| member.manifest_path.parent()).collect();
    dirs.extend(gathered.packages.iter().map(|package| package.dir.as_path()));
    dirs.push(&context.package.dir);
    dirs.sort_unstable();
    dirs.dedup();
    for dir in dirs {
        set.add_all(dir, context.world.target_dir)?;
    }
    if let Some(last) = context.last {
        for entry in last.entries() {
            set.wanted
                .entry((entry.absolute(context.world.root), entry.look))
                .or_insert(entry.kind);
        }
    }
    let units = Units::of(report, context);
    let known: HashSet<(PathBuf, Look)> =
        gathered.entries.iter().map(|entry| (entry.path.clone(), entry.look)).collect();
    let first = gathered.entries.len();
    for ((path, look), kind) in set.wanted {
        if known.contains(&(path.clone(), look)) {
            continue;
        }
        let owner = owner_of(&path, kind, &gathered.packages);
        let look = if look == Look::Absent { Look::File } else { look };
        gathered.entries.extend(record(path, look, kind, owner, hashes, &mut gathered.opaque));
    }
    let mut moved = HashMap::new();
    for entry in &gathered.entries[first..] {
        if context.before.may_differ(entry, context.world.root, &units, &mut moved) {
            gathered.changed_during = Some(entry.path.clone());
        }
    }
    Ok(gathered)
}

/// The state and content of one input as it is now.
fn record(
    path: PathBuf,
    look: Look,
    kind: InputKind,
    owner: Option<u16>,
    hashes: &mut Hashes,
    opaque: &mut Option<String>,
) -> Option<Entry> {
    const ATTEMPTS: usize = 3;
    let entry = |path, look, stat, hash| Some(Entry { path, look, kind, owner, stat, hash });
    for _ in 0..ATTEMPTS {
        let state = match if look.follows() { stat(&path) } else { lstat(&path) } {
            Ok(state) if look == Look::Rules => {
                let state = state.unwrap_or(StatVector::NONE);
                match hashes.list_digest(&path, state) {
                    Some(hash) => return entry(path, look, state, hash),
                    None => continue,
                }
            }
            Ok(Some(state)) => state,
            Ok(None) if matches!(look, Look::Program | Look::Followed) => {
                return entry(path, look, StatVector::NONE, [0; 32]);
            }
            Ok(None) => return entry(path, Look::Absent, StatVector::NONE, [0; 32]),
            Err(_) => break,
        };
        match hashes.content(&path, look, state) {
            Ok(Some((state, hash))) => return entry(path, look, state, hash),
            // It changes under our eyes: look once more.
            Ok(None) => {}
            // Cargo looks at its times only, and the script cannot read it either.
            Err(error)
                if kind == InputKind::BuildScript
                    && error.kind() == io::ErrorKind::PermissionDenied =>
            {
                return entry(path, Look::Program, state, [0; 32]);
            }
            Err(_) => break,
        }
    }
    opaque.get_or_insert_with(|| format!("`{}` cannot be recorded", path.display()));
    None
}

fn owner_of(path: &Path, kind: InputKind, packages: &[PackageOf]) -> Option<u16> {
    if matches!(kind, InputKind::Config | InputKind::Toolchain)
        || path.file_name() == Some(OsStr::new("Cargo.lock"))
    {
        return None;
    }
    let holders = packages.iter().enumerate().filter(|(_, package)| path.starts_with(&package.dir));
    let nearest = holders.max_by_key(|(_, package)| package.dir.as_os_str().len());
    nearest.and_then(|(index, _)| u16::try_from(index).ok())
}

/// The variables that decide what is built, as a build sees them now.
fn variables(named: &[String], world: World<'_>) -> Vec<(OsString, Option<Digest>)> {
    let mut names: Vec<OsString> = named.iter().map(OsString::from).collect();
    names.extend(world.environment.significant().map(|(name, _)| name.to_owned()));
    names.sort_unstable();
    names.dedup();
    let value = |name: &OsStr| world.config.effective(name, world.environment).map(hash_value);
    names
        .into_iter()
        .map(|name| {
            let value = value(&name);
            (name, value)
        })
        .collect()
}
