//! Cargo's configuration files as cargo finds them from the workspace root.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs, io,
    path::{Path, PathBuf},
};

use toml::{Table, Value};

use crate::{
    environment::BuildEnvironment,
    error::{Error, on},
};

/// What the configuration says that decides where a binary goes and what compiles it.
#[derive(Debug, Clone, Default)]
pub(crate) struct CargoConfig {
    /// Every file that was looked for, nearest first: a file that appears counts as a change.
    pub(crate) looked_for: Vec<PathBuf>,
    pub(crate) target_dir: Option<PathBuf>,
    pub(crate) target: Option<String>,
    pub(crate) rustc: Option<PathBuf>,
    pub(crate) rustc_wrapper: Option<PathBuf>,
    pub(crate) rustc_workspace_wrapper: Option<PathBuf>,
    /// What links for any target.
    pub(crate) linkers: Vec<PathBuf>,
    /// What `[env]` sets, and whether it overrides the environment.
    env: BTreeMap<OsString, (OsString, bool)>,
}

impl CargoConfig {
    /// Reads the files that apply to a cargo started in `root`.
    pub(crate) fn load(root: &Path, environment: &BuildEnvironment) -> Result<Self, Error> {
        let mut config = Self::default();
        let mut folders: Vec<PathBuf> = root.ancestors().map(|dir| dir.join(".cargo")).collect();
        if let Some(home) = environment.cargo_home()
            && !folders.contains(&home)
        {
            folders.push(home);
        }
        for folder in folders {
            // Cargo prefers the name without an extension when both are there.
            let mut found = false;
            for name in ["config", "config.toml"] {
                let path = folder.join(name);
                config.looked_for.push(path.clone());
                if !found {
                    found = config.read(&path)?;
                }
            }
        }
        Ok(config)
    }

    /// The value that a build sees for `name`.
    pub(crate) fn effective<'a>(
        &'a self,
        name: &OsStr,
        environment: &'a BuildEnvironment,
    ) -> Option<&'a OsStr> {
        let set = self.env.get(name);
        match (environment.get(name), set) {
            (_, Some((value, true))) | (None, Some((value, false))) => Some(value),
            (value, _) => value,
        }
    }

    /// Merges the file at `path` and what it includes under what is already known. Says whether
    /// there is such a file.
    fn read(&mut self, path: &Path) -> Result<bool, Error> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if is_absence(&error) => return Ok(false),
            Err(error) => return Err(on("read", path)(error)),
        };
        let table: Table = toml::from_str(&text)
            .map_err(|source| Error::Manifest { path: path.into(), source: Box::new(source) })?;
        self.merge(path, &table)?;
        // Later includes override earlier ones, and the including file overrides them all.
        for include in includes(&table).into_iter().rev() {
            let included = folder_of(path).join(include);
            if !self.looked_for.contains(&included) {
                self.looked_for.push(included.clone());
                self.read(&included)?;
            }
        }
        Ok(true)
    }

    fn merge(&mut self, path: &Path, table: &Table) -> Result<(), Error> {
        // Paths in a configuration are relative to the folder that holds `.cargo`.
        let base = folder_of(folder_of(path));
        if let Some(build) = table.get("build").and_then(Value::as_table) {
            let path_of = |key: &str| build.get(key).and_then(Value::as_str);
            fill(&mut self.target_dir, path_of("target-dir").map(|dir| base.join(dir)));
            fill(&mut self.rustc, path_of("rustc").map(|program| program_in(base, program)));
            let wrapper = path_of("rustc-wrapper").map(|program| program_in(base, program));
            fill(&mut self.rustc_wrapper, wrapper);
            let wrapper =
                path_of("rustc-workspace-wrapper").map(|program| program_in(base, program));
            fill(&mut self.rustc_workspace_wrapper, wrapper);
            if self.target.is_none() {
                self.target = target_of(path, build.get("target"))?;
            }
        }
        let targets =
            table.get("target").and_then(Value::as_table).into_iter().flat_map(Table::values);
        for linker in targets.filter_map(|target| target.get("linker")?.as_str()) {
            self.linkers.push(program_in(base, linker));
        }
        if let Some(env) = table.get("env").and_then(Value::as_table) {
            for (name, value) in env {
                if let Some(value) = env_value(base, value) {
                    self.env.entry(name.into()).or_insert(value);
                }
            }
        }
        Ok(())
    }
}

fn fill<T>(slot: &mut Option<T>, value: Option<T>) {
    if slot.is_none() {
        *slot = value;
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

/// A bare name is looked up in `PATH`; anything with a separator is relative to the file.
fn program_in(base: &Path, program: &str) -> PathBuf {
    if program.contains('/') { base.join(program) } else { program.into() }
}

fn target_of(path: &Path, value: Option<&Value>) -> Result<Option<String>, Error> {
    let refuse = |reason: &str| Error::Config { path: path.into(), reason: reason.to_owned() };
    match value {
        None => Ok(None),
        Some(Value::String(target)) => Ok(Some(target.clone())),
        Some(Value::Array(targets)) => match targets.as_slice() {
            [] => Ok(None),
            [Value::String(target)] => Ok(Some(target.clone())),
            _ => Err(refuse("`build.target` lists several targets")),
        },
        Some(_) => Err(refuse("`build.target` is neither a string nor a list")),
    }
}

fn env_value(base: &Path, value: &Value) -> Option<(OsString, bool)> {
    match value {
        Value::String(value) => Some((value.into(), false)),
        Value::Table(table) => {
            let value = table.get("value")?.as_str()?;
            let flag = |key| table.get(key).and_then(Value::as_bool).unwrap_or(false);
            let value = if flag("relative") { base.join(value).into() } else { value.into() };
            Some((value, flag("force")))
        }
        _ => None,
    }
}

/// `include` is a path, or a list of paths and of tables with a `path`.
fn includes(table: &Table) -> Vec<PathBuf> {
    let path = |value: &Value| match value {
        Value::String(path) => Some(PathBuf::from(path)),
        Value::Table(table) => table.get("path")?.as_str().map(PathBuf::from),
        _ => None,
    };
    match table.get("include") {
        Some(Value::Array(list)) => list.iter().filter_map(path).collect(),
        Some(value) => path(value).into_iter().collect(),
        None => Vec::new(),
    }
}

pub(crate) fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
