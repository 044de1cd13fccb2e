//! Where the workspace of a package is, and whether the package has a binary.

use std::{
    env, fs,
    path::{Component, Path, PathBuf},
};

use toml::{Table, Value};

use crate::{
    config::{CargoConfig, is_absence},
    environment::BuildEnvironment,
    error::{Error, on},
};

/// A package of a workspace, and where cargo puts what it builds.
#[derive(Debug, Clone)]
pub(crate) struct Package {
    /// The folder from which cargo is run.
    pub(crate) workspace_root: PathBuf,
    /// The root manifest has a `[workspace]`, so that no folder above it can take its place.
    pub(crate) is_rooted: bool,
    pub(crate) dir: PathBuf,
    pub(crate) name: String,
    /// The names of its binaries.
    binaries: Vec<String>,
    default_run: Option<String>,
}

impl Package {
    /// The package in `source_dir`, which is absolute or relative to the workspace that holds the
    /// working directory, else to the one that holds this executable.
    pub(crate) fn find(source_dir: &Path) -> Result<Self, Error> {
        if source_dir.is_absolute() {
            return Self::open(source_dir);
        }
        let places = [
            env::current_dir().ok(),
            env::current_exe().ok().and_then(|exe| exe.canonicalize().ok()),
        ];
        let above = places.iter().flatten().flat_map(|place| place.ancestors());
        let roots: Vec<&Path> = above.filter(|dir| is_root(dir)).collect();
        let mut dirs = roots.iter().map(|root| root.join(source_dir));
        match dirs.find(|dir| dir.join("Cargo.toml").is_file()) {
            Some(dir) => Self::open(&dir),
            None if roots.is_empty() => Err(Error::NoWorkspace { path: source_dir.into() }),
            None => Err(Error::NoPackage { path: source_dir.into() }),
        }
    }

    pub(crate) fn open(dir: &Path) -> Result<Self, Error> {
        let dir = normalized(dir);
        let manifest_path = dir.join("Cargo.toml");
        let Some(manifest) = read_toml(&manifest_path)? else {
            let is_in_workspace = dir.ancestors().any(is_root);
            return Err(if is_in_workspace {
                Error::NoPackage { path: dir }
            } else {
                Error::NoWorkspace { path: dir }
            });
        };
        let Some(package) = manifest.get("package").and_then(Value::as_table) else {
            return Err(Error::NoPackage { path: dir });
        };
        let Some(name) = package.get("name").and_then(Value::as_str) else {
            return Err(Error::NoPackage { path: dir });
        };
        let (workspace_root, is_rooted) = root_of(&dir, &manifest)?;
        let binaries = binaries_of(&dir, name, &manifest);
        let default_run = package.get("default-run").and_then(Value::as_str).map(str::to_owned);
        let name = name.to_owned();
        Ok(Self { workspace_root, is_rooted, name, binaries, default_run, dir })
    }

    pub(crate) fn require_binary(&self, name: &str) -> Result<(), Error> {
        if self.binaries.iter().any(|binary| binary == name) {
            return Ok(());
        }
        Err(Error::UnknownBinary {
            name: name.to_owned(),
            package: self.name.clone(),
            path: self.dir.clone(),
        })
    }

    pub(crate) fn only_binary(&self) -> Result<String, Error> {
        let default = self.default_run.iter().find(|name| self.binaries.contains(name));
        match (default, self.binaries.as_slice()) {
            (Some(name), _) | (None, [name]) => Ok(name.clone()),
            (None, binaries) => {
                Err(Error::WhichBinary { package: self.name.clone(), binaries: binaries.to_vec() })
            }
        }
    }

    /// Where cargo puts what it builds, by variable, configuration or default.
    pub(crate) fn target_dir(
        &self,
        config: &CargoConfig,
        environment: &BuildEnvironment,
    ) -> PathBuf {
        let variables = ["CARGO_TARGET_DIR", "CARGO_BUILD_TARGET_DIR"];
        let named = variables.into_iter().find_map(|name| {
            environment.get(name).filter(|value| !value.is_empty()).map(PathBuf::from)
        });
        let dir = named.or_else(|| config.target_dir.clone()).unwrap_or_else(|| "target".into());
        normalized(&self.workspace_root.join(dir))
    }
}

/// Resolves `.` and `..` by name, as cargo does; links stay as they are named.
pub(crate) fn normalized(path: &Path) -> PathBuf {
    let mut result = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                result.pop();
            }
            other => result.push(other),
        }
    }
    result
}

fn is_root(dir: &Path) -> bool {
    matches!(read_toml(&dir.join("Cargo.toml")), Ok(Some(manifest)) if manifest.contains_key("workspace"))
}

pub(crate) fn read_toml(path: &Path) -> Result<Option<Table>, Error> {
    match fs::read_to_string(path) {
        Ok(text) => toml::from_str(&text)
            .map(Some)
            .map_err(|source| Error::Manifest { path: path.into(), source: Box::new(source) }),
        Err(error) if is_absence(&error) => Ok(None),
        Err(error) => Err(on("read", path)(error)),
    }
}

/// The root of the workspace that the package in `dir` belongs to; itself when in none.
pub(crate) fn root_of(dir: &Path, manifest: &Table) -> Result<(PathBuf, bool), Error> {
    if manifest.contains_key("workspace") {
        return Ok((dir.to_owned(), true));
    }
    let named = manifest.get("package").and_then(|package| package.get("workspace"));
    if let Some(root) = named.and_then(Value::as_str) {
        return Ok((normalized(&dir.join(root)), true));
    }
    for above in dir.ancestors().skip(1) {
        let Some(candidate) = read_toml(&above.join("Cargo.toml"))? else { continue };
        let Some(workspace) = candidate.get("workspace").and_then(Value::as_table) else {
            continue;
        };
        let excluded =
            strings(workspace.get("exclude")).any(|path| dir.starts_with(above.join(path)));
        let listed = strings(workspace.get("members")).any(|path| dir == above.join(path));
        if !excluded || listed {
            return Ok((above.to_owned(), true));
        }
    }
    Ok((dir.to_owned(), false))
}

pub(crate) fn strings(value: Option<&Value>) -> impl Iterator<Item = &str> {
    value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

fn binaries_of(dir: &Path, package: &str, manifest: &Table) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    if let Some(listed) = manifest.get("bin").and_then(Value::as_array) {
        let named = listed.iter().filter_map(|bin| bin.get("name")?.as_str());
        names.extend(named.map(str::to_owned));
    }
    let discovers = manifest.get("package").and_then(|table| table.get("autobins"));
    if discovers.and_then(Value::as_bool) == Some(false) {
        return names;
    }
    if dir.join("src/main.rs").is_file() {
        names.push(package.to_owned());
    }
    // What has an entry of its own may also be where a binary without one would be.
    for entry in fs::read_dir(dir.join("src/bin")).into_iter().flatten().flatten() {
        let path = entry.path();
        let Some(stem) = path.file_stem().and_then(|stem| stem.to_str()) else { continue };
        let is_file = path.extension().is_some_and(|extension| extension == "rs");
        if is_file || path.join("main.rs").is_file() {
            names.push(stem.to_owned());
        }
    }
    names.sort_unstable();
    names.dedup();
    names
}
