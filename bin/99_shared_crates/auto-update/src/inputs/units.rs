use std::{
    fs,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use super::{Scene, depinfo::DepInfo, script::Watches};
use crate::{
    cargo::{ArtifactMessage, Report, ScriptMessage},
    environment::is_set_by_cargo,
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
    /// When its inputs had been read, or were about to be, in nanoseconds since the epoch.
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
    /// What it read, but for what a registry's checksum vouches for.
    pub(crate) files: Vec<PathBuf>,
}

/// One run of a build script.
#[derive(Debug)]
pub(crate) struct ScriptRun {
    pub(crate) package_id: String,
    /// Where its package lies, if it is not a registry's.
    pub(crate) package_dir: Option<PathBuf>,
    pub(crate) watched: Vec<PathBuf>,
    /// It watches nothing by name, so cargo watches its package.
    pub(crate) is_silent: bool,
    /// What it said when it was run last.
    pub(crate) mark: Mark,
}

impl Units {
    pub(crate) fn of(report: &Report, scene: Scene<'_>) -> Self {
        let mut units = Self::default();
        let immutable = Immutable::of(scene);
        for artifact in &report.artifacts {
            let dir = artifact.manifest_path.parent().unwrap_or(Path::new("/"));
            if !immutable.holds(dir) && !units.local_dirs.iter().any(|known| known == dir) {
                units.local_dirs.push(dir.to_owned());
            }
            units.add_compiled(artifact, dir, report, scene, &immutable);
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
    pub(crate) fn marks(&self) -> Vec<(PathBuf, StatVector)> {
        let compiled = self.compiled.iter().filter(|unit| !unit.files.is_empty());
        let marks = compiled.map(|unit| &unit.mark).chain(self.scripts.iter().map(|run| &run.mark));
        marks.map(|mark| (mark.path.clone(), mark.state)).collect()
    }

    /// Whether a build script writes there.
    pub(crate) fn is_output(&self, file: &Path) -> bool {
        self.outputs.iter().any(|dir| file.starts_with(dir))
    }

    fn add_compiled(
        &mut self,
        artifact: &ArtifactMessage,
        dir: &Path,
        report: &Report,
        scene: Scene<'_>,
        immutable: &Immutable,
    ) {
        let found = dep_infos(artifact, scene);
        if found.is_empty() && !immutable.holds(dir) {
            self.opaque.get_or_insert_with(|| {
                format!(
                    "the compiler's list of what `{}` is made from was not found",
                    artifact.target.name
                )
            });
        }
        let root = scene.world.root;
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
            self.compiled.push(Compiled {
                package_id: artifact.package_id.clone(),
                is_fresh: artifact.fresh,
                mark: Mark::of(&path, None, &artifact.package_id, dir),
                files: files.filter(|file| !immutable.holds(file)).collect(),
            });
        }
    }

    fn add_script(&mut self, script: &ScriptMessage, report: &Report, immutable: &Immutable) {
        let is_own = |artifact: &&ArtifactMessage| artifact.package_id == script.package_id;
        let of_package = report.artifacts.iter().find(is_own);
        let dir = of_package.and_then(|artifact| artifact.manifest_path.parent());
        let state = script.out_dir.parent().unwrap_or(&script.out_dir);
        let output = match fs::read(state.join("output")) {
            Ok(output) => String::from_utf8_lossy(&output).into_owned(),
            Err(_) => {
                self.opaque.get_or_insert_with(|| {
                    format!("what the build script in `{}` said was not found", state.display())
                });
                return;
            }
        };
        let watches = Watches::parse(&output);
        let is_silent = watches.is_silent();
        self.variables.extend(watches.variables);
        let resolved = watches.files.into_iter().map(|file| match dir {
            Some(dir) => normalized(&dir.join(file)),
            None => file,
        });
        let local_dir = dir.filter(|dir| !immutable.holds(dir));
        let run_at = modified(&state.join("invoked.timestamp"));
        self.scripts.push(ScriptRun {
            package_id: script.package_id.clone(),
            package_dir: local_dir.map(Path::to_owned),
            watched: resolved.filter(|file| !immutable.holds(file)).collect(),
            is_silent: is_silent && local_dir.is_some(),
            mark: Mark::of(&state.join("output"), run_at, &script.package_id, dir.unwrap_or(state)),
        });
    }
}

impl Mark {
    fn of(path: &Path, at: Option<i64>, package_id: &str, package_dir: &Path) -> Self {
        let state = stat(path).ok().flatten().unwrap_or(StatVector::NONE);
        Self {
            path: path.to_owned(),
            state,
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
    fn of(scene: Scene<'_>) -> Self {
        let home = scene.world.environment.cargo_home();
        Self(home.into_iter().flat_map(|home| [home.join("registry"), home.join("git")]).collect())
    }

    fn holds(&self, path: &Path) -> bool {
        self.0.iter().any(|place| path.starts_with(place))
    }
}

fn modified(path: &Path) -> Option<i64> {
    stat(path).ok().flatten().map(|state| state.mtime())
}

/// The dep-info files of one compilation.
fn dep_infos(artifact: &ArtifactMessage, scene: Scene<'_>) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = Vec::new();
    for file in &artifact.filenames {
        let Some(stem) = file.file_stem().and_then(|stem| stem.to_str()) else { continue };
        let stem = stem.strip_prefix("lib").unwrap_or(stem);
        let beside = file.with_file_name(format!("{stem}.d"));
        // A library is also put, without the hash in its name, where a person finds it.
        let is_named_by_hash = stem.rsplit_once('-').is_some_and(|(_, hash)| hash.len() == 16);
        if is_named_by_hash && beside.is_file() && !found.contains(&beside) {
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
    let Some(executable) = artifact.executable.as_ref().or(artifact.filenames.first()) else {
        return found;
    };
    let prefix = format!("{}-", artifact.target.name.replace('-', "_"));
    for dir in deps_dirs(executable, scene) {
        let is_candidate =
            |name: &str| name.strip_prefix(&prefix).is_some_and(|hash| hash.len() == 16);
        let candidates = dep_info_in(&dir, is_candidate);
        // The executable is a link to the one of these that was linked last.
        let twin =
            candidates.iter().find(|path| are_same_file(&path.with_extension(""), executable));
        match twin {
            Some(twin) => return vec![twin.clone()],
            None => found.extend(candidates),
        }
    }
    found
}

/// Where cargo keeps what it links before it puts it beside `executable`.
pub(crate) fn deps_dirs(executable: &Path, scene: Scene<'_>) -> Vec<PathBuf> {
    let dir = executable.parent().unwrap_or(executable);
    let mut dirs = vec![dir.join("deps")];
    if let Some(metadata) = scene.metadata
        && let Some(build_dir) = &metadata.build_directory
        && let Ok(within) = dir.strip_prefix(&metadata.target_directory)
        && *build_dir != metadata.target_directory
    {
        dirs.push(build_dir.join(within).join("deps"));
    }
    dirs
}

pub(crate) fn are_same_file(a: &Path, b: &Path) -> bool {
    match (stat(a), stat(b)) {
        (Ok(Some(a)), Ok(Some(b))) => a.device() == b.device() && a.inode() == b.inode(),
        _ => false,
    }
}

fn dep_info_in(dir: &Path, is_candidate: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    paths
        .filter(|path| path.extension().is_some_and(|extension| extension.as_bytes() == b"d"))
        .filter(|path| path.file_stem().and_then(|stem| stem.to_str()).is_some_and(&is_candidate))
        .collect()
}

/// The files that cargo linked `executable` from by name.
pub(crate) fn twins(executable: &Path, scene: Scene<'_>) -> Vec<PathBuf> {
    let dirs = deps_dirs(executable, scene);
    let entries = dirs.iter().flat_map(|dir| fs::read_dir(dir).into_iter().flatten().flatten());
    entries.map(|entry| entry.path()).filter(|path| are_same_file(path, executable)).collect()
}
