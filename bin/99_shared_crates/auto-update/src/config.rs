//! Cargo's configuration files as cargo finds them from the folder in which it is started.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs, io,
    path::{Path, PathBuf},
};

use cargo_platform::{Cfg, CfgExpr};
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
    /// What runs a program built for a target, by the target or the `cfg(..)` that it is for.
    runners: Vec<(String, Vec<OsString>)>,
    /// What `[env]` sets, and whether it overrides the environment.
    env: BTreeMap<OsString, (OsString, bool)>,
}

impl CargoConfig {
    /// Reads what applies to a cargo started in `folder` with these values of `--config`.
    pub(crate) fn load(
        folder: &Path,
        environment: &BuildEnvironment,
        given: &[String],
    ) -> Result<Self, Error> {
        let mut config = Self::default();
        // The last one counts most.
        for value in given.iter().rev() {
            let path = folder.join(value);
            if path.is_file() {
                config.looked_for.push(path.clone());
                config.read(&path)?;
            } else if let Ok(table) = toml::from_str(value) {
                // Paths in it are relative to the folder; what is no TOML cargo refuses itself.
                config.merge(&folder.join("given").join("config"), &table)?;
            }
        }
        let mut folders: Vec<PathBuf> = folder.ancestors().map(|dir| dir.join(".cargo")).collect();
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

    /// The names of the variables that `[env]` sets.
    pub(crate) fn set_names(&self) -> impl Iterator<Item = &OsStr> {
        self.env.keys().map(OsString::as_os_str)
    }

    /// What runs a program that was built for `triple`, with its first arguments; empty where it
    /// runs by itself. `facts` gives what the compiler says of that target, one a line.
    pub(crate) fn runner(
        &self,
        triple: &str,
        environment: &BuildEnvironment,
        facts: impl FnOnce() -> String,
    ) -> Vec<OsString> {
        let variable = triple.to_uppercase().replace(['-', '.'], "_");
        let variable = environment.get(format!("CARGO_TARGET_{variable}_RUNNER"));
        if let Some(runner) = variable.and_then(OsStr::to_str) {
            return runner.split_whitespace().map(OsString::from).collect();
        }
        if let Some((_, runner)) = self.runners.iter().find(|(name, _)| name == triple) {
            return runner.clone();
        }
        let conditional = self.runners.iter().filter_map(|(name, runner)| {
            let expression = name.strip_prefix("cfg(")?.strip_suffix(')')?;
            Some((expression.parse::<CfgExpr>().ok()?, runner))
        });
        let conditional: Vec<_> = conditional.collect();
        if conditional.is_empty() {
            return Vec::new();
        }
        let facts: Vec<Cfg> = facts().lines().filter_map(|line| line.parse().ok()).collect();
        let found = conditional.into_iter().find(|(expression, _)| expression.matches(&facts));
        found.map(|(_, runner)| runner.clone()).unwrap_or_default()
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
        let by_target = || table.get("target").and_then(Value::as_table).into_iter().flatten();
        let (targets, by_target) = (by_target().map(|(_, target)| target), by_target());
        for (name, target) in by_target {
            let runner = target.get("runner").map(|runner| words(base, runner));
            let is_known = self.runners.iter().any(|(known, _)| known == name);
            if let Some(runner) = runner.filter(|runner| !runner.is_empty() && !is_known) {
                self.runners.push((name.clone(), runner));
            }
        }
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

/// A program and its arguments, as a list or as one text.
fn words(base: &Path, value: &Value) -> Vec<OsString> {
    let words: Vec<&str> = match value {
        Value::String(text) => text.split_whitespace().collect(),
        Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let [program, arguments @ ..] = words.as_slice() else { return Vec::new() };
    let program = program_in(base, program).into_os_string();
    std::iter::once(program).chain(arguments.iter().map(OsString::from)).collect()
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
