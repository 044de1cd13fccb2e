use std::{
    fs,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use super::{
    BuildContext,
    depinfo::DepInfo,
    fingerprint::{Fingerprint, entries_of, modified},
    script::Watches,
};
use crate::{
    cargo::{ArtifactMessage, Report, ScriptMessage},
    environment::is_set_by_cargo,
    hash::{Digest, hash_file},
    receipt::Trace,
    stat::{StatVector, stat},
    workspace::{Package, normalized},
};

/// Everything that cargo compiled or ran for the binary.
#[derive(Debug, Default)]
pub(crate) struct Units {
    pub(crate) compiled: Vec<Compiled>,
    pub(crate) scripts: Vec<ScriptRun>,
    /// Variables named by code and by build scripts, but not those that cargo sets itself.
    pub(crate) variables: Vec<String>,
    pub(crate) opaque: Option<String>,
    outputs: Vec<PathBuf>,
    local_dirs: Vec<PathBuf>,
}

/// A file that is written anew whenever something is done again.
#[derive(Debug)]
pub(crate) struct Mark {
    pub(crate) path: PathBuf,
    pub(crate) state: StatVector,
    pub(crate) hash: Digest,
    /// When its inputs were about to be read, in nanoseconds since the epoch.
    pub(crate) at: i64,
    /// Cargo compares the times of the package's files. It does not where the lock file is to
    /// vouch for them, even if they lie in the workspace as vendored ones do.
    pub(crate) is_watched: bool,
    /// Where the package lies.
    pub(crate) package_dir: PathBuf,
}

/// One compilation.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub(crate) package_id: String,
    /// Cargo did not compile it now.
    pub(crate) is_fresh: bool,
    /// The list that the compiler wrote once it had read its files.
    pub(crate) mark: Mark,
    pub(super) fingerprint: Fingerprint,
    /// What it read, but for what a registry's checksum vouches for.
    pub(crate) files: Vec<PathBuf>,
}

/// One run of a build script.
#[derive(Debug)]
pub(crate) struct ScriptRun {
    pub(crate) package_id: String,
    /// Where it writes.
    pub(crate) out_dir: PathBuf,
    /// Where its package lies, if it is not a registry's.
    pub(crate) package_dir: Option<PathBuf>,
    pub(crate) watched: Vec<PathBuf>,
    /// It watches nothing by name, so cargo watches its package.
    pub(crate) is_silent: bool,
    /// What it said when it was run last.
    pub(crate) mark: Mark,
}

impl Units {
    pub(crate) fn of(report: &Report, context: BuildContext<'_>) -> Self {
        let mut units = Self::default();
        let immutable = Immutable::of(context);
        for artifact in &report.artifacts {
            let dir = artifact.manifest_path.parent().unwrap_or(Path::new("/"));
            if !immutable.holds(dir) && !units.local_dirs.iter().any(|known| known == dir) {
                units.local_dirs.push(dir.to_owned());
            }
            units.add_compiled(artifact, dir, report, context, &immutable);
        }
        for script in &report.scripts {
            units.outputs.push(script.out_dir.clone());
            units.add_script(script, report, &immutable);
        }
        units.variables.sort_unstable();
        units.variables.dedup();
        units
    }

    /// The folders of the packages that are compiled from where they lie, the binary's first.
    pub(crate) fn local_dirs(&self, package: &Package) -> Vec<PathBuf> {
        let others = self.local_dirs.iter().filter(|dir| **dir != package.dir).cloned();
        std::iter::once(package.dir.clone()).chain(others).collect()
    }

    /// The marks of all, to be recorded.
    pub(crate) fn marks(&self) -> Vec<Trace> {
        let compiled = self.compiled.iter().filter(|unit| !unit.files.is_empty());
        let marks = compiled.map(|unit| &unit.mark).chain(self.scripts.iter().map(|run| &run.mark));
        marks
            .map(|mark| Trace { path: mark.path.clone(), state: mark.state, hash: mark.hash })
            .collect()
    }

    /// The marks of what was compiled now.
    pub(crate) fn done(&self) -> Vec<(PathBuf, StatVector)> {
        let compiled = self.compiled.iter().filter(|unit| !unit.is_fresh);
        compiled.map(|unit| (unit.mark.path.clone(), unit.mark.state)).collect()
    }

    /// The packages that a build script watches as a whole.
    pub(crate) fn listed(&self) -> Vec<PathBuf> {
        let silent = self.scripts.iter().filter(|run| run.is_silent);
        let mut dirs: Vec<PathBuf> = silent.filter_map(|run| run.package_dir.clone()).collect();
        dirs.sort_unstable();
        dirs.dedup();
        dirs
    }

    /// Whether the folder lies in a package that is compiled from where it lies.
    pub(crate) fn is_below_package(&self, dir: &Path) -> bool {
        self.local_dirs.iter().any(|package| dir != package && dir.starts_with(package))
    }

    /// Whether a build script writes there.
    pub(crate) fn is_output(&self, file: &Path) -> bool {
        self.outputs.iter().any(|dir| file.starts_with(dir))
    }

    /// The script that ran after `clock` and during which the file at `path` got its `state`.
    pub(crate) fn writer_of(
        &self,
        path: &Path,
        state: StatVector,
        clock: StatVector,
    ) -> Option<&ScriptRun> {
        self.scripts.iter().find(|run| {
            let is_near = path.starts_with(&run.out_dir)
                || run.package_dir.as_ref().is_some_and(|dir| path.starts_with(dir))
                || run.watched.iter().any(|watched| path.starts_with(watched));
            let (begin, end) = (run.mark.at, run.mark.state.ctime());
            is_near && run.mark.at >= clock.ctime() && (begin..=end).contains(&state.ctime())
        })
    }

    fn add_compiled(
        &mut self,
        artifact: &ArtifactMessage,
        dir: &Path,
        report: &Report,
        context: BuildContext<'_>,
        immutable: &Immutable,
    ) {
        let found = dep_infos(artifact, context);
        if found.is_empty() && !immutable.holds(dir) {
            self.opaque.get_or_insert_with(|| {
                format!(
                    "the compiler's list of what `{}` is made from was not found",
                    artifact.target.name
                )
            });
        }
        let root = context.world.root;
        // The compiler is started in the workspace for its members, in the package for others.
        let base = if dir.starts_with(root) { root } else { dir };
        for path in found {
            let Ok(bytes) = fs::read(&path) else { continue };
            let info = DepInfo::parse(&bytes);
            if info.files.is_empty() && !immutable.holds(dir) {
                self.opaque.get_or_insert_with(|| format!("`{}` lists no file", path.display()));
            }
            let set_by_script = report
                .scripts
                .iter()
                .filter(|script| script.package_id == artifact.package_id)
                .flat_map(|script| &script.env);
            let set_by_script: Vec<&String> = set_by_script.map(|(name, _)| name).collect();
            let named = info.variables.into_iter();
            self.variables.extend(
                named.filter(|name| !is_set_by_cargo(name) && !set_by_script.contains(&name)),
            );
            let files = info.files.into_iter().map(|file| normalized(&base.join(file)));
            let fingerprint = Fingerprint::of(&path, artifact);
            let begin = modified(&path).and_then(|end| fingerprint.begin(end));
            self.compiled.push(Compiled {
                package_id: artifact.package_id.clone(),
                is_fresh: artifact.fresh,
                mark: Mark::of(&path, begin, &artifact.package_id, dir),
                fingerprint,
                files: files.filter(|file| !immutable.holds(file)).collect(),
            });
        }
    }

    fn add_script(&mut self, script: &ScriptMessage, report: &Report, immutable: &Immutable) {
        let is_own = |artifact: &&ArtifactMessage| artifact.package_id == script.package_id;
        let of_package = report.artifacts.iter().find(is_own);
        let dir = of_package.and_then(|artifact| artifact.manifest_path.parent());
        let state = script.out_dir.parent().unwrap_or(&script.out_dir);
        // As cargo lays it out, and as it does under `-Z build-dir-new-layout`.
        let places = [state.join("output"), state.join("run/stdout")];
        let found = places.iter().find_map(|place| Some((place, fs::read(place).ok()?)));
        let Some((place, output)) = found else {
            self.opaque.get_or_insert_with(|| {
                format!("what the build script in `{}` said was not found", state.display())
            });
            return;
        };
        let mut watches = Watches::parse(&output);
        // Cargo reads what a script said before its folder was moved as if said since.
        if let Ok(then) = fs::read(place.with_file_name("root-output"))
            && let Ok(then) = String::from_utf8(then)
            && let Some(now) = script.out_dir.to_str().filter(|now| **now != *then)
        {
            watches.relocate(&then, now);
        }
        let is_silent = watches.is_silent();
        self.variables.extend(watches.variables);
        let resolved = watches.files.into_iter().map(|file| match dir {
            Some(dir) => normalized(&dir.join(file)),
            None => file,
        });
        let local_dir = dir.filter(|dir| !immutable.holds(dir));
        let run_at = modified(&place.with_file_name("invoked.timestamp"));
        self.scripts.push(ScriptRun {
            package_id: script.package_id.clone(),
            out_dir: script.out_dir.clone(),
            package_dir: local_dir.map(Path::to_owned),
            watched: resolved.filter(|file| !immutable.holds(file)).collect(),
            is_silent: is_silent && local_dir.is_some(),
            mark: Mark::of(place, run_at, &script.package_id, dir.unwrap_or(state)),
        });
    }
}

impl ScriptRun {
    /// The package's name as well as its folder tells it.
    pub(crate) fn package_name(&self) -> &str {
        let name = self.mark.package_dir.file_name().and_then(|name| name.to_str());
        name.unwrap_or("a package")
    }
}

impl Mark {
    fn of(path: &Path, at: Option<i64>, package_id: &str, package_dir: &Path) -> Self {
        let state = stat(path).ok().flatten().unwrap_or(StatVector::NONE);
        Self {
            path: path.to_owned(),
            state,
            hash: hash_file(path).unwrap_or_default(),
            at: at.unwrap_or_else(|| state.mtime()),
            is_watched: package_id.contains("path+"),
            package_dir: package_dir.to_owned(),
        }
    }
}

/// The places whose content the lock file's checksums and revisions vouch for.
#[derive(Debug)]
struct Immutable(Vec<PathBuf>);

impl Immutable {
    fn of(context: BuildContext<'_>) -> Self {
        let home = context.world.environment.cargo_home();
        Self(home.into_iter().flat_map(|home| [home.join("registry"), home.join("git")]).collect())
    }

    fn holds(&self, path: &Path) -> bool {
        self.0.iter().any(|place| path.starts_with(place))
    }
}

/// What stands for the variant that a binary was linked as, where there is one candidate.
pub(crate) fn mark_of(binary: &ArtifactMessage, context: BuildContext<'_>) -> Option<PathBuf> {
    let found = dep_infos(binary, context);
    (found.len() == 1).then(|| found.into_iter().next())?
}

/// The dep-info files of one compilation.
fn dep_infos(artifact: &ArtifactMessage, context: BuildContext<'_>) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = Vec::new();
    for file in &artifact.filenames {
        if let Some(beside) = dep_info_of(file)
            && !found.contains(&beside)
        {
            found.push(beside);
        }
    }
    if !found.is_empty() {
        return found;
    }
    let is_script = artifact.target.kind.iter().any(|kind| kind == "custom-build");
    if is_script {
        let dir = artifact.filenames.first().and_then(|file| file.parent());
        return dir.map(|dir| dep_info_in(dir, |_| true)).unwrap_or_default();
    }
    // What cargo puts where a person finds it is a link to what was linked, or a copy of it.
    for file in artifact.executable.iter().chain(&artifact.filenames) {
        let twins = twins(file, context);
        found.extend(twins.iter().filter_map(|twin| dep_info_of(twin)));
        if !found.is_empty() {
            return found;
        }
    }
    let prefix = format!("{}-", artifact.target.name.replace('-', "_"));
    let Some(first) = artifact.executable.as_ref().or(artifact.filenames.first()) else {
        return found;
    };
    let is_candidate = |name: &str| name.strip_prefix(&prefix).is_some_and(|hash| hash.len() == 16);
    let dirs = linked_dirs(first, context);
    dirs.iter().flat_map(|dir| dep_info_in(dir, is_candidate)).collect()
}

/// What the compiler wrote beside `file`, if it did: cargo puts a list of its own, with one rule
/// for everything, beside what it hands out.
fn dep_info_of(file: &Path) -> Option<PathBuf> {
    let stem = file.file_stem()?;
    let names = [stem.to_str()?.strip_prefix("lib"), stem.to_str()];
    let mut places =
        names.into_iter().flatten().map(|name| file.with_file_name(format!("{name}.d")));
    places.find(|place| fs::read(place).is_ok_and(|bytes| !DepInfo::parse(&bytes).files.is_empty()))
}

/// Whether cargo's own list beside `executable` names files, and none of the package in `dir`:
/// another checkout has built it.
pub(crate) fn is_of_elsewhere(executable: &Path, dir: &Path) -> bool {
    let Ok(bytes) = fs::read(executable.with_extension("d")) else { return false };
    let text = String::from_utf8_lossy(&bytes);
    let Some((_, files)) = text.trim_end().split_once(": ") else { return false };
    files.starts_with('/') && !files.contains(&*dir.to_string_lossy().replace(' ', "\\ "))
}

/// Where cargo may keep what it links before it puts it beside `executable`.
fn linked_dirs(executable: &Path, context: BuildContext<'_>) -> Vec<PathBuf> {
    let dir = executable.parent().unwrap_or(executable);
    let mut bases = vec![dir.to_owned()];
    if let Some(metadata) = context.metadata
        && let Some(build_dir) = &metadata.build_directory
        && let Ok(within) = dir.strip_prefix(&metadata.target_directory)
        && *build_dir != metadata.target_directory
    {
        bases.push(build_dir.join(within));
    }
    let mut dirs: Vec<PathBuf> = bases.iter().map(|base| base.join("deps")).collect();
    // The new layout has a folder for each unit below one for each package.
    let units = |base: &PathBuf| entries_of(&base.join("build")).flat_map(|dir| entries_of(&dir));
    dirs.extend(bases.iter().flat_map(units).map(|unit| unit.join("out")));
    dirs
}

pub(crate) fn are_same_file(a: &Path, b: &Path) -> bool {
    match (stat(a), stat(b)) {
        (Ok(Some(a)), Ok(Some(b))) => a.device() == b.device() && a.inode() == b.inode(),
        _ => false,
    }
}

fn dep_info_in(dir: &Path, is_candidate: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    entries_of(dir)
        .filter(|path| path.extension().is_some_and(|extension| extension.as_bytes() == b"d"))
        .filter(|path| path.file_stem().and_then(|stem| stem.to_str()).is_some_and(&is_candidate))
        .collect()
}

/// The files that cargo made `executable` from: links to the same file, or where the two lie in
/// different file systems what has the same bytes.
pub(crate) fn twins(executable: &Path, context: BuildContext<'_>) -> Vec<PathBuf> {
    let files: Vec<PathBuf> =
        linked_dirs(executable, context).iter().flat_map(|dir| entries_of(dir)).collect();
    let links: Vec<PathBuf> =
        files.iter().filter(|path| are_same_file(path, executable)).cloned().collect();
    let Ok(Some(own)) = stat(executable) else { return links };
    if !links.is_empty() {
        return links;
    }
    let is_copy = |path: &PathBuf| {
        let size = stat(path).ok().flatten().map(|state| (state.is_file(), state.size()));
        size == Some((true, own.size()))
            && matches!((hash_file(path), hash_file(executable)), (Ok(a), Ok(b)) if a == b)
    };
    files.into_iter().filter(is_copy).collect()
}
