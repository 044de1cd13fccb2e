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
    targets,
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
    pub(crate) version: Option<String>,
    /// The names of its binaries.
    pub(crate) binaries: Vec<String>,
    pub(crate) examples: Vec<String>,
    pub(crate) default_run: Option<String>,
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
        let text = |key| package.get(key).and_then(Value::as_str).map(str::to_owned);
        Ok(Self {
            binaries: targets::binaries(&dir, name, &manifest),
            examples: targets::examples(&dir, &manifest),
            default_run: text("default-run"),
            version: text("version"),
            name: name.to_owned(),
            workspace_root,
            is_rooted,
            dir,
        })
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

    /// This package where it has the binary, else the one below it that has, in the order of their
    /// folders.
    pub(crate) fn with_binary(self, name: &str) -> Result<Self, Error> {
        let Err(error) = self.require_binary(name) else { return Ok(self) };
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let mut dirs: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        dirs.retain(|dir| dir.join("Cargo.toml").is_file());
        dirs.sort_unstable();
        let mut below = dirs.iter().filter_map(|dir| Self::open(dir).ok());
        let found = below.find(|package| {
            package.workspace_root == self.workspace_root && package.require_binary(name).is_ok()
        });
        found.ok_or(error)
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

    /// Where a cargo that is started in `folder` puts what it builds, by variable, configuration or
    /// default.
    pub(crate) fn target_dir(
        &self,
        folder: &Path,
        config: &CargoConfig,
        environment: &BuildEnvironment,
    ) -> PathBuf {
        let variables = ["CARGO_TARGET_DIR", "CARGO_BUILD_TARGET_DIR"];
        let named = variables.into_iter().find_map(|name| {
            environment.get(name).filter(|value| !value.is_empty()).map(|dir| folder.join(dir))
        });
        let dir = named.or_else(|| config.target_dir.clone());
        normalized(&dir.unwrap_or_else(|| self.workspace_root.join("target")))
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

/// Whether a workspace begins in `dir`; a package that is in none is one by itself.
fn is_root(dir: &Path) -> bool {
    match read_toml(&dir.join("Cargo.toml")) {
        Ok(Some(manifest)) => root_of(dir, &manifest).is_ok_and(|(root, _)| root == dir),
        Ok(None) | Err(_) => false,
    }
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
