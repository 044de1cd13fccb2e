//! Gathers every input of a build from what cargo, rustc and build scripts left behind.

mod depinfo; // what the compiler read
mod graph; // manifests, and through which packages one reaches the binary
mod script; // what a build script watches
mod suspects; // what cargo wrongly took for unchanged
mod units; // one compilation or one run of a build script
mod wishes; // what is to be recorded

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
};

use crate::{
    cargo::{Metadata, Report},
    compare::{Hashes, World, hash_value},
    error::Error,
    freshness::InputKind,
    hash::Digest,
    receipt::{Entry, Look, PackageOf, Receipt},
    stat::{StatVector, lstat, stat},
    toolchain,
    workspace::Package,
};
use graph::Graph;
use units::Units;
use wishes::Wishes;

pub(crate) use units::twins;

/// What a build was made from.
#[derive(Debug)]
pub(crate) struct Gathered {
    pub(crate) entries: Vec<Entry>,
    pub(crate) packages: Vec<PackageOf>,
    pub(crate) variables: Vec<(OsString, Option<Digest>)>,
    pub(crate) marks: Vec<(PathBuf, StatVector)>,
    pub(crate) sysroot: Option<PathBuf>,
    pub(crate) toolchain: Option<OsString>,
    /// Why the list is not complete, if it is not.
    pub(crate) opaque: Option<String>,
    /// Packages that cargo took for unchanged, though a file of theirs changed.
    pub(crate) overlooked: BTreeSet<String>,
    /// A file that may have changed while it was being compiled.
    pub(crate) changed_during: Option<PathBuf>,
}

/// What is known when the inputs are gathered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scene<'a> {
    pub(crate) package: &'a Package,
    pub(crate) world: World<'a>,
    pub(crate) metadata: Option<&'a Metadata>,
    pub(crate) target_dir: &'a Path,
    pub(crate) sysroot: Option<&'a Path>,
    /// The last receipt, to tell which names a directory listed.
    pub(crate) last: Option<&'a Receipt>,
    /// What was seen right before cargo was started.
    pub(crate) before: &'a Before,
}

/// The world right before cargo was started.
#[derive(Debug)]
pub(crate) struct Before {
    /// Of a file written at that moment.
    pub(crate) clock: StatVector,
    /// Of the inputs that were known then.
    states: HashMap<(PathBuf, Look), StatVector>,
}

impl Before {
    /// Looks at what `known` lists.
    pub(crate) fn look(clock: StatVector, known: impl Iterator<Item = (PathBuf, Look)>) -> Self {
        let states = known.map(|(path, look)| {
            let state = if look.follows() { stat(&path) } else { lstat(&path) };
            ((path, look), state.ok().flatten().unwrap_or(StatVector::NONE))
        });
        Self { clock, states: states.collect() }
    }

    /// Whether the content that was recorded may not be the one that was compiled.
    fn may_differ(&self, entry: &Entry) -> bool {
        if matches!(entry.look, Look::Absent | Look::Program) || entry.kind == InputKind::Generated
        {
            return false;
        }
        if let Some(state) = self.states.get(&(entry.path.clone(), entry.look)) {
            return *state != entry.stat;
        }
        // The same clock stamped both, so "not before the build began" is decidable.
        let same_clock = entry.stat.device() == self.clock.device();
        !same_clock || entry.stat.ctime() >= self.clock.ctime()
    }
}

/// Lists and records everything that the build reported by `report` depends on.
pub(crate) fn gather(
    scene: Scene<'_>,
    report: &Report,
    hashes: &mut Hashes,
) -> Result<Gathered, Error> {
    let mut wishes = Wishes::default();
    let units = Units::of(report, scene);
    let graph = Graph::read(scene.package, &units.local_dirs(scene.package), scene.metadata);
    wishes.opaque.clone_from(&units.opaque);

    for unit in &units.compiled {
        for file in &unit.files {
            let generated = file.starts_with(scene.target_dir) || units.is_output(file);
            wishes.add(file, if generated { InputKind::Generated } else { InputKind::Source });
        }
    }
    for run in &units.scripts {
        for path in &run.watched {
            wishes.add_watched(path, &scene.package.name)?;
        }
        if run.is_silent
            && let Some(dir) = &run.package_dir
        {
            wishes.add_package(dir, scene.target_dir)?;
        }
    }
    graph.manifests.iter().for_each(|path| wishes.add(path, InputKind::Manifest));
    graph.listed.iter().for_each(|dir| wishes.add_as(dir, Look::Listing, InputKind::Manifest));
    for path in &graph.autodiscovered {
        wishes.add_absence(path, InputKind::Manifest);
    }
    scene.world.config.looked_for.iter().for_each(|path| wishes.add(path, InputKind::Config));
    let tools = toolchain::files(
        scene.world.root,
        scene.sysroot,
        scene.world.config,
        scene.world.environment,
    );
    tools.settings.iter().for_each(|path| wishes.add(path, InputKind::Toolchain));
    for path in &tools.programs {
        wishes.add_as(path, Look::Program, InputKind::Toolchain);
    }
    tools.links.iter().for_each(|path| wishes.add_as(path, Look::Link, InputKind::Toolchain));

    let mut gathered = Gathered {
        entries: Vec::new(),
        packages: graph.packages,
        variables: variables(&units.variables, scene.world),
        marks: units.marks(),
        sysroot: scene.sysroot.map(Path::to_owned),
        toolchain: scene.world.environment.get(toolchain::OVERRIDE).map(OsStr::to_owned),
        opaque: wishes.opaque,
        overlooked: BTreeSet::new(),
        changed_during: None,
    };
    for ((path, look), kind) in wishes.wanted {
        let owner = owner_of(&path, kind, &gathered.packages);
        let Some(entry) = record(path, look, kind, owner, hashes, &mut gathered.opaque) else {
            continue;
        };
        if gathered.changed_during.is_none() && scene.before.may_differ(&entry) {
            gathered.changed_during = Some(entry.path.clone());
        }
        gathered.entries.push(entry);
    }
    gathered.overlooked = suspects::find(&units, scene, &gathered.entries);
    Ok(gathered)
}

/// Records what a failed build can have been made from: everything in the packages of the
/// workspace, whether it was read or not.
pub(crate) fn gather_all(
    scene: Scene<'_>,
    report: &Report,
    hashes: &mut Hashes,
) -> Result<Gathered, Error> {
    let mut gathered = gather(scene, report, hashes)?;
    let mut wishes = Wishes::default();
    let members = scene.metadata.into_iter().flat_map(|metadata| &metadata.packages);
    let mut dirs: Vec<&Path> = members.filter_map(|member| member.manifest_path.parent()).collect();
    dirs.extend(gathered.packages.iter().map(|package| package.dir.as_path()));
    dirs.push(&scene.package.dir);
    dirs.sort_unstable();
    dirs.dedup();
    for dir in dirs {
        wishes.add_package(dir, scene.target_dir)?;
    }
    if let Some(last) = scene.last {
        for entry in last.entries() {
            wishes
                .wanted
                .entry((entry.absolute(scene.world.root), entry.look))
                .or_insert(entry.kind);
        }
    }
    let known: HashSet<(PathBuf, Look)> =
        gathered.entries.iter().map(|entry| (entry.path.clone(), entry.look)).collect();
    for ((path, look), kind) in wishes.wanted {
        if known.contains(&(path.clone(), look)) {
            continue;
        }
        let owner = owner_of(&path, kind, &gathered.packages);
        let look = if look == Look::Absent { Look::File } else { look };
        if let Some(entry) = record(path, look, kind, owner, hashes, &mut gathered.opaque) {
            if scene.before.may_differ(&entry) {
                gathered.changed_during = Some(entry.path.clone());
            }
            gathered.entries.push(entry);
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
            Ok(Some(state)) => state,
            Ok(None) if look == Look::Program => {
                return entry(path, look, StatVector::NONE, [0; 32]);
            }
            Ok(None) => return entry(path, Look::Absent, StatVector::NONE, [0; 32]),
            Err(_) => break,
        };
        match hashes.content(&path, look, state) {
            Ok(Some((state, hash))) => return entry(path, look, state, hash),
            // It changes under our eyes: look once more.
            Ok(None) => {}
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
