//! How one daemon is started, kept up to date, replaced and stopped, as plain data: what runs, where
//! it lives, how it is updated, and what is expected of it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{Error, environment, identity::hash_args, instance::Instance};

const READY_TIMEOUT: Duration = Duration::from_secs(30);
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30 * 60);
const PROBATION: Duration = Duration::from_secs(10);

/// All that a starter is told of a daemon, and tells it.
// One version of this crate writes it and another reads it, so the groups are read from one flat object,
// and what is missing is filled in.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Spec {
    #[serde(flatten)]
    pub(crate) run: Run,
    #[serde(flatten)]
    pub(crate) place: Place,
    #[serde(flatten)]
    pub(crate) update: Update,
    #[serde(flatten)]
    pub(crate) limits: Limits,
}

/// What runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Run {
    pub(crate) binary_path: PathBuf,
    pub(crate) args: Vec<String>,
    pub(crate) env_allow: Vec<String>,
    pub(crate) env: BTreeMap<String, String>,
    /// Whether it builds or downloads anything itself.
    pub(crate) builds: bool,
}

/// Where it lives.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Place {
    /// The run directory, and the name in it.
    pub(crate) instance: Option<(PathBuf, String)>,
    pub(crate) log_dir: Option<PathBuf>,
}

/// How its binary is kept what the sources say.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Update {
    #[serde(rename = "auto_update")]
    pub(crate) sources: Option<Sources>,
    pub(crate) policy: UpdatePolicy,
    pub(crate) waits: Waits,
    pub(crate) slow_package: Option<(String, String)>,
    /// Whether one of another source tree is replaced.
    pub(crate) takeover: bool,
    /// Whether no other binary is started where one has failed.
    #[serde(skip)]
    pub(crate) no_other: bool,
    /// Whether what has failed is tried all the same: by one that waits by itself in between.
    #[serde(skip)]
    pub(crate) insists: bool,
}

/// What is expected of it, and for how long it is waited for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Limits {
    pub(crate) ready_timeout: Duration,
    pub(crate) drain_timeout: Duration,
    pub(crate) probation: Duration,
    pub(crate) draining_bytes: Option<u64>,
    /// What it is asked for before it is believed.
    pub(crate) health_path: Option<String>,
}

/// Where the binary's sources are.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Sources {
    pub(crate) binary: String,
    pub(crate) source_dir: PathBuf,
    /// Binaries, and their source folders, that are compiled along with it.
    #[serde(default)]
    pub(crate) together_with: Vec<(String, PathBuf)>,
}

/// Who waits for a daemon that is to be spawned, and so for its build.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Waits {
    /// A person: a build may have the whole machine, and what has failed is compiled again.
    #[default]
    Person,
    /// A program: the same, but what has just failed from the same sources fails again at once.
    Program,
    /// Nobody: while a daemon serves, a build gives way to everything else until somebody waits.
    Nobody,
}

/// How a daemon's binary is kept what its sources say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdatePolicy {
    /// `false`: never build, leave what runs, and start the binary that there is.
    pub enabled: bool,
    /// A check is trusted for this long; zero checks every time.
    pub check_interval: Duration,
    pub on_build_failure: OnBuildFailure,
    /// The cargo profile to build with.
    pub profile: String,
}

/// What to do when the sources do not build. What runs is left running in either case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnBuildFailure {
    /// [`DaemonManager::spawn`](crate::DaemonManager::spawn) fails with the compiler's message.
    Refuse,
    /// Use what runs, or start the last binary that served well, and say so.
    LastGood,
}

impl Spec {
    /// What the daemon is called in narrations.
    pub(crate) fn name(&self) -> String {
        let of_path = || file_name(&self.run.binary_path);
        self.update.sources.as_ref().map_or_else(of_path, |sources| sources.binary.clone())
    }

    /// The folder of the daemon; one that was given no name is told by its sources or else its path,
    /// and its arguments.
    pub(crate) fn instance(&self) -> Result<Instance, Error> {
        if let Some((run_dir, name)) = &self.place.instance {
            return Instance::new(run_dir, name);
        }
        // Two projects may each have a `server` that takes no arguments.
        let of = self.update.sources.as_ref().map(|sources| &sources.source_dir);
        let of = of.unwrap_or(&self.run.binary_path);
        let of = of.canonicalize().or_else(|_| std::path::absolute(of));
        let of = of.map(|path| path.display().to_string()).unwrap_or_default();
        let told_by: Vec<String> = self.run.args.iter().cloned().chain([of]).collect();
        let name = format!("{}-{}", self.name(), &hash_args(&told_by)[..8]);
        Instance::new(&environment::default_run_dir(), &name)
    }

    pub(crate) fn log_path(&self) -> Result<PathBuf, Error> {
        let instance = self.instance()?;
        let file = format!("{}.log", instance.name());
        let dir = self.place.log_dir.as_ref();
        Ok(dir.map_or_else(|| instance.path(&file), |dir| dir.join(&file)))
    }

    /// Means the same from any working directory.
    pub(crate) fn made_absolute(mut self) -> Self {
        if let Ok(instance) = self.instance() {
            self.place.instance = Some((instance.run_dir().to_owned(), instance.name().to_owned()));
        }
        let paths = [
            Some(&mut self.run.binary_path),
            self.place.log_dir.as_mut(),
            self.update.sources.as_mut().map(|sources| &mut sources.source_dir),
        ];
        for path in paths.into_iter().flatten() {
            if let Ok(absolute) = std::path::absolute(&path) {
                *path = absolute;
            }
        }
        self
    }
}

impl Run {
    /// What `args` are remembered by.
    pub(crate) fn args_hash(&self) -> String {
        hash_args(&self.args)
    }
}

impl Update {
    /// Where the sources are, if the binary is to be what they say.
    pub(crate) fn followed(&self) -> Option<&Sources> {
        self.sources.as_ref().filter(|_| self.policy.enabled)
    }
}

/// Runs nothing yet.
impl Default for Run {
    fn default() -> Self {
        Self {
            binary_path: PathBuf::new(),
            args: Vec::new(),
            env_allow: Vec::new(),
            env: BTreeMap::new(),
            builds: true,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            ready_timeout: READY_TIMEOUT,
            drain_timeout: DRAIN_TIMEOUT,
            probation: PROBATION,
            draining_bytes: None,
            health_path: Some("/health".to_owned()),
        }
    }
}

impl Default for UpdatePolicy {
    fn default() -> Self {
        Self {
            enabled: true,
            check_interval: Duration::ZERO,
            on_build_failure: OnBuildFailure::Refuse,
            profile: "dev".to_owned(),
        }
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(|| "daemon".into(), |name| name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a version before the groups has written.
    const FLAT: &str = r#"{
        "binary_path": "/bin/d",
        "args": ["--port", "1"],
        "auto_update": {"binary": "d", "source_dir": "/src/d"},
        "policy": {
            "enabled": true,
            "check_interval": {"secs": 3, "nanos": 0},
            "on_build_failure": "last-good",
            "profile": "dev"
        },
        "instance": ["/run/x", "one"],
        "log_dir": null,
        "ready_timeout": {"secs": 7, "nanos": 0},
        "drain_timeout": {"secs": 8, "nanos": 0},
        "probation": {"secs": 9, "nanos": 0},
        "draining_bytes": null,
        "health_path": null,
        "env_allow": ["A_*"],
        "env": {"B": "c"},
        "builds": false,
        "takeover": true,
        "waits": "nobody",
        "slow_package": ["large", "takes long"]
    }"#;

    #[test]
    fn the_groups_are_written_and_read_as_one_flat_object() {
        let spec: Spec = serde_json::from_str(FLAT).unwrap();
        assert_eq!(spec.run.env_allow, ["A_*"]);
        assert_eq!(spec.update.sources.as_ref().unwrap().binary, "d");
        assert_eq!((spec.run.builds, spec.update.takeover), (false, true));
        assert_eq!(spec.limits.probation, Duration::from_secs(9));
        let again = serde_json::to_value(&spec).unwrap();
        let flat: serde_json::Value = serde_json::from_str(FLAT).unwrap();
        let names = |value: &serde_json::Value| {
            value.as_object().unwrap().keys().cloned().collect::<std::collections::BTreeSet<_>>()
        };
        assert_eq!(names(&again), names(&flat));
        assert_eq!(again["limits"], serde_json::Value::Null);
        assert_eq!(again["ready_timeout"], flat["ready_timeout"]);
    }

    #[test]
    fn what_another_version_leaves_out_is_filled_in() {
        let spec: Spec = serde_json::from_str(r#"{"args": ["a"], "of_a_later_one": 1}"#).unwrap();
        assert_eq!(spec.run.args, ["a"]);
        assert!(spec.run.builds);
        assert_eq!(spec.limits.ready_timeout, READY_TIMEOUT);
        assert_eq!(spec.limits.health_path.as_deref(), Some("/health"));
        assert!(spec.update.policy.enabled);
    }
}
