//! What `cargo run` gives to a program: variables, and where it finds libraries.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    cargo::{Metadata, PackageMessage, Report},
    error::{Error, on},
    freshness::Artifact,
    hash::hash_file,
    layout::Layout,
    stat::stat,
    toolchain,
};

/// The variable that the system's loader searches by.
const LIBRARY_PATH: &str =
    if cfg!(target_os = "macos") { "DYLD_FALLBACK_LIBRARY_PATH" } else { "LD_LIBRARY_PATH" };

/// What `cargo run` gives to a program besides its arguments.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunEnvironment {
    /// The file to run: where cargo puts it, among whatever is beside it there, or the copy in the
    /// store where cargo's place holds another build.
    pub program: PathBuf,
    /// To be set for the program; whatever else the caller has stays.
    pub vars: Vec<(OsString, OsString)>,
    /// The program that runs it, with that program's first arguments; empty where it runs by
    /// itself.
    pub runner: Vec<OsString>,
}

/// What is known of it from the build.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    vars: BTreeMap<String, String>,
    library_dirs: Vec<PathBuf>,
    sysroot: Option<PathBuf>,
    /// Of the file at cargo's place, when it was this build's.
    target: Vec<u8>,
}

/// Keeps what cargo said of the build, for when the program is run without cargo.
pub(crate) fn remember(
    layout: &Layout,
    artifact: &Artifact,
    report: &Report,
    metadata: Option<&Metadata>,
    sysroot: Option<&Path>,
) -> Result<(), Error> {
    let manifest = layout.package.dir.join("Cargo.toml");
    let packages = metadata.into_iter().flat_map(|metadata| &metadata.packages);
    let Some(package) = packages.into_iter().find(|package| package.manifest_path == manifest)
    else {
        return Ok(());
    };
    let mut record = Record {
        vars: of_package(package, layout),
        library_dirs: Vec::new(),
        sysroot: sysroot.map(Path::to_owned),
        target: state_of(&artifact.target_path),
    };
    let own = report.artifacts.iter().find(|artifact| artifact.manifest_path == manifest);
    for script in &report.scripts {
        if own.is_some_and(|own| own.package_id == script.package_id) {
            record.vars.extend(script.env.iter().cloned());
            record.vars.insert("OUT_DIR".into(), script.out_dir.display().to_string());
        }
        // Only what was built here: the system's own libraries are found anyway.
        let dirs = script.linked_paths.iter().map(|path| match path.split_once('=') {
            Some(("native" | "dependency" | "crate" | "framework" | "all", path)) => path,
            _ => path,
        });
        let dirs = dirs.map(PathBuf::from).filter(|dir| dir.starts_with(&layout.target_dir));
        record.library_dirs.extend(dirs);
    }
    record.library_dirs.sort();
    record.library_dirs.dedup();
    let path = place(layout, artifact);
    let bytes = serde_json::to_vec(&record).expect("strings and lists of them");
    let draft = path.with_extension(format!("draft-{}", std::process::id()));
    fs::write(&draft, bytes).map_err(on("write", &draft))?;
    fs::rename(&draft, &path).map_err(on("write", &path))
}

/// What was kept of the build that made `artifact`.
pub(crate) fn recall(layout: &Layout, artifact: &Artifact) -> Option<RunEnvironment> {
    let bytes = fs::read(place(layout, artifact)).ok()?;
    let record: Record = serde_json::from_slice(&bytes).ok()?;
    let mut vars: BTreeMap<OsString, OsString> =
        record.vars.iter().map(|(name, value)| (name.into(), value.into())).collect();
    for name in layout.config.set_names() {
        if let Some(value) = layout.config.effective(name, &layout.environment) {
            vars.insert(name.to_owned(), value.to_owned());
        }
    }
    let built = artifact.target_path.parent()?;
    let built = if layout.options.is_example { built.parent()? } else { built };
    let mut dirs = record.library_dirs.clone();
    dirs.extend([built.join("deps"), built.to_owned()]);
    let sysroot = record.sysroot.as_deref();
    let triple = layout.triple.clone().or_else(|| toolchain::host(sysroot?)).unwrap_or_default();
    dirs.extend(sysroot.map(|sysroot| sysroot.join("lib/rustlib").join(&triple).join("lib")));
    let inherited = layout.environment.get(LIBRARY_PATH).map(env::split_paths);
    dirs.extend(inherited.into_iter().flatten());
    if let Ok(joined) = env::join_paths(dirs) {
        vars.insert(LIBRARY_PATH.into(), joined);
    }
    if let Some(sysroot) = sysroot {
        vars.insert("CARGO".into(), sysroot.join("bin/cargo").into());
    }
    let vars = vars.into_iter().collect();
    let facts = || toolchain::facts(layout.folder(), &layout.config, &layout.environment, &triple);
    let runner = layout.config.runner(&triple, &layout.environment, facts);
    let program = if is_in_place(artifact, &record.target) {
        artifact.target_path.clone()
    } else {
        artifact.path.clone()
    };
    Some(RunEnvironment { program, vars, runner })
}

/// Whether the file at cargo's place is the artifact.
fn is_in_place(artifact: &Artifact, then: &[u8]) -> bool {
    let now = state_of(&artifact.target_path);
    if now.is_empty() {
        return false;
    }
    now == then
        || hash_file(&artifact.target_path).is_ok_and(|hash| hash == *artifact.hash.as_bytes())
}

/// Empty where nothing is there.
fn state_of(path: &Path) -> Vec<u8> {
    stat(path).ok().flatten().map(|state| state.0.to_vec()).unwrap_or_default()
}

/// Beside the receipts, named by what it belongs to.
fn place(layout: &Layout, artifact: &Artifact) -> PathBuf {
    layout.records.join(format!("run-{}.json", artifact.hash))
}

fn of_package(package: &PackageMessage, layout: &Layout) -> BTreeMap<String, String> {
    let version = package.version.split('+').next().unwrap_or_default();
    let (numbers, pre) = version.split_once('-').unwrap_or((version, ""));
    let mut numbers = numbers.split('.');
    let mut number = || numbers.next().unwrap_or_default().to_owned();
    let optional = |value: &Option<String>| value.clone().unwrap_or_default();
    let path = |path: &Path| path.display().to_string();
    [
        ("CARGO_MANIFEST_DIR", path(&layout.package.dir)),
        ("CARGO_MANIFEST_PATH", path(&package.manifest_path)),
        ("CARGO_PKG_VERSION_MAJOR", number()),
        ("CARGO_PKG_VERSION_MINOR", number()),
        ("CARGO_PKG_VERSION_PATCH", number()),
        ("CARGO_PKG_VERSION_PRE", pre.to_owned()),
        ("CARGO_PKG_VERSION", package.version.clone()),
        ("CARGO_PKG_NAME", package.name.clone()),
        ("CARGO_PKG_AUTHORS", package.authors.join(":")),
        ("CARGO_PKG_DESCRIPTION", optional(&package.description)),
        ("CARGO_PKG_HOMEPAGE", optional(&package.homepage)),
        ("CARGO_PKG_REPOSITORY", optional(&package.repository)),
        ("CARGO_PKG_LICENSE", optional(&package.license)),
        ("CARGO_PKG_LICENSE_FILE", optional(&package.license_file)),
        ("CARGO_PKG_RUST_VERSION", optional(&package.rust_version)),
        ("CARGO_PKG_README", optional(&package.readme)),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}
