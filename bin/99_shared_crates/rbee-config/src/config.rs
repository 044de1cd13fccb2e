use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    engines::{self, External, Vllm},
    environment::Environment,
    error::Error,
    file::{Entries, Source},
    hives::{self, HiveEntry},
    installation::Installation,
    layers::{ConfigValue, Layers},
    listen::{self, Tls},
    model::{self, ModelEntry},
    nearest::nearest,
    origin::Origin,
    paths::{self, Paths},
    setting::{
        BaseUrl, HistoryMode, LocalUse, NarrationMode, OnBuildFailure, ProfileName, QueenUrl,
    },
    trust,
    web::{HostName, ListOf, WebOrigin},
};

/// The tables of the file.
const SECTIONS: [&str; 6] = ["auto_update", "queen", "hive", "worker", "models", "model"];

/// How to find Python and pip.
const PYTHON_VARIABLES: &[&str] = &["PATH", "HOME", "LANG", "LC_*", "XDG_*"];

/// What says where and through what this machine downloads, pip included; a `*` at the end stands for
/// any rest.
pub const DOWNLOAD_VARIABLES: &[&str] = &[
    "PIP_*",
    "SSL_CERT_*",
    "REQUESTS_CA_BUNDLE",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
];

/// Values that flags set; `None` leaves a value to the environment, the file and the default.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// `--narration`
    pub narration: Option<NarrationMode>,
    /// `--queen-port`
    pub queen_port: Option<u16>,
    /// `--queen-url`
    pub queen_url: Option<QueenUrl>,
    /// `--auto-update`
    pub auto_update: Option<bool>,
    /// `--on-build-failure`
    pub on_build_failure: Option<OnBuildFailure>,
    /// `--takeover`
    pub takeover: bool,
}

/// Every configured value of rbee.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RbeeConfig {
    pub auto_update: AutoUpdate,
    pub queen: Queen,
    /// At least one; the first is the one that is meant when no alias is given.
    pub hives: Vec<HiveEntry>,
    pub worker: Worker,
    pub models: Models,
    /// What is set for single models, by the names that requests use.
    pub model: BTreeMap<String, ModelEntry>,
    pub narration: NarrationMode,
    /// What goes to the log, as a `tracing` filter; `None` leaves it to each process.
    pub log: Option<String>,
    pub paths: Paths,
    /// The workspace that the binaries are built from; `None` for an installed release.
    pub source_root: Option<PathBuf>,
    /// The folder of releases that this process was started from.
    pub installation: Option<Installation>,
    /// Where programs are looked for by their names.
    pub(crate) search: OsString,
    /// What it was read from, beside the file.
    pub(crate) environment: Environment,
    pub(crate) executable: Option<PathBuf>,
    values: Vec<ConfigValue>,
    warnings: Vec<String>,
}

#[derive(Debug, Clone)]
pub struct AutoUpdate {
    /// `false`: nothing is built, what is there is used.
    pub enabled: bool,
    /// `false`: what was saved is not built before somebody uses the chain.
    pub watch: bool,
    /// How long a check is trusted; zero checks each time.
    pub check_interval: Duration,
    pub on_build_failure: OnBuildFailure,
    /// One of cargo's profiles.
    pub profile: String,
}

#[derive(Debug, Clone)]
pub struct Queen {
    /// On 127.0.0.1; 0 lets the system choose one.
    pub port: u16,
    /// A queen that somebody else runs on this machine: the keeper asks it, and neither starts
    /// nor replaces one.
    pub url: Option<QueenUrl>,
    /// Which of this machine's addresses it listens at besides 127.0.0.1.
    pub bind: IpAddr,
    /// What keeps that secret which goes to other machines.
    pub tls: Tls,
    /// Who needs no key on this machine.
    pub local: LocalUse,
    /// Names besides its own by which it may be addressed, each with a port or without.
    pub hosts: Vec<String>,
    /// Origins whose web pages may use it.
    pub origins: Vec<String>,
    /// How long a replaced process may take to finish the streams that it has.
    pub drain_timeout: Duration,
    /// What is kept of jobs on the disk.
    pub history: HistoryMode,
    /// For how long, once they have ended.
    pub history_age: Duration,
    /// Whether a queen that runs from another source tree is replaced; a flag's only, so that two
    /// trees never replace each other's in turn.
    pub takeover: bool,
}

#[derive(Debug, Clone)]
pub struct Worker {
    /// `None`: by the number of cores.
    pub threads: Option<u32>,
    /// Requests that one worker answers at once.
    pub parallel: u32,
    /// Tokens of context for each of them; `None`: what the model was made for.
    pub context: Option<u32>,
    /// An idle worker is stopped after this.
    pub idle_timeout: Duration,
    /// A model that is used without a pause gives up its memory after this, where another one waits
    /// for it.
    pub turn: Duration,
    /// Requests that may wait for models that are not loaded.
    pub queue: u32,
    /// How long one of them may wait for memory.
    pub queue_timeout: Duration,
    /// A worker that no hive has spoken to for this long leaves when its streams have ended.
    pub lease: Duration,
    pub vllm: Vllm,
    /// Programs that serve models, by name.
    pub external: BTreeMap<String, External>,
}

#[derive(Debug, Clone)]
pub struct Models {
    /// The name of the model that is meant when none is given.
    pub default: String,
    /// Where names of the form `hf:...` are looked up; without a slash at its end.
    pub hf_endpoint: String,
    /// What a program that downloads models for rbee gets of the environment, and all it gets.
    pub environment: Environment,
}

impl RbeeConfig {
    /// Reads the environment and the file.
    pub fn load(overrides: &Overrides) -> Result<Self, Error> {
        let executable = env::current_exe().ok();
        Self::resolve(overrides, &Environment::capture(), executable.as_deref())
    }

    /// As [`Self::load`], from the given facts.
    ///
    /// The sources are looked for in the folders above `executable` when `RBEE_SOURCE_ROOT` does
    /// not name them.
    pub fn resolve(
        overrides: &Overrides,
        environment: &Environment,
        executable: Option<&Path>,
    ) -> Result<Self, Error> {
        Self::resolve_with(overrides, environment, executable, Source::read)
    }

    /// As [`Self::resolve`], with the file's text from `read`.
    pub(crate) fn resolve_with(
        overrides: &Overrides,
        environment: &Environment,
        executable: Option<&Path>,
        read: impl FnOnce(&Path) -> Result<Source, Error>,
    ) -> Result<Self, Error> {
        let (paths, path_origins) = paths::locate(environment)?;
        trust::require_own_state(&paths)?;
        let source = read(&paths.config_file)?;
        let mut layers = Layers::new(environment, Entries::parse(&source)?);

        let auto_update = AutoUpdate {
            enabled: layers.get_or_flag(
                "auto_update.enabled",
                ("--auto-update", overrides.auto_update),
                true,
            )?,
            watch: layers.get("auto_update.watch", true)?,
            check_interval: layers.get("auto_update.check_interval", Duration::ZERO)?,
            on_build_failure: layers.get_or_flag(
                "auto_update.on_build_failure",
                ("--on-build-failure", overrides.on_build_failure),
                OnBuildFailure::Refuse,
            )?,
            profile: layers.get("auto_update.profile", ProfileName("dev".into()))?.0,
        };
        let (bind, tls) = listen::read(&mut layers)?;
        let queen = Queen {
            port: layers.get_or_flag("queen.port", ("--queen-port", overrides.queen_port), 8500)?,
            url: layers.get_or_flag(
                "queen.url",
                ("--queen-url", overrides.queen_url.clone().map(Some)),
                None,
            )?,
            bind,
            tls,
            local: layers.get("queen.local", LocalUse::SameUser)?,
            hosts: layers.get("queen.hosts", ListOf::<HostName>::none())?.texts,
            origins: layers.get("queen.origins", ListOf::<WebOrigin>::none())?.texts,
            drain_timeout: layers.get("queen.drain_timeout", minutes(30))?,
            history: layers.get("queen.history", HistoryMode::Answers)?,
            history_age: layers.get("queen.history_age", Duration::from_hours(7 * 24))?,
            takeover: overrides.takeover,
        };
        let hives = hives::read(&mut layers)?;
        let worker = Worker {
            threads: layers.get("worker.threads", None)?,
            parallel: layers.get("worker.parallel", 4)?,
            context: layers.get("worker.context", None)?,
            idle_timeout: layers.get("worker.idle_timeout", minutes(5))?,
            turn: layers.get("worker.turn", Duration::from_secs(10))?,
            queue: layers.get("worker.queue", 1024)?,
            queue_timeout: layers.get("worker.queue_timeout", minutes(10))?,
            lease: layers.get("worker.lease", minutes(1))?,
            vllm: engines::vllm(&mut layers, &hives)?,
            external: engines::external(&mut layers)?,
        };
        let model = model::models(&mut layers, &hives, &worker.vllm, &worker.external)?;
        let models = Models {
            default: layers.get("models.default", "smollm2:135m".to_owned())?,
            hf_endpoint: layers
                .get_aliased(
                    "models.hf_endpoint",
                    "HF_ENDPOINT",
                    BaseUrl("https://huggingface.co".into()),
                )?
                .0,
            environment: environment.select(&[PYTHON_VARIABLES, DOWNLOAD_VARIABLES].concat()),
        };
        let narration = layers.get_or_flag(
            "narration",
            ("--narration", overrides.narration),
            NarrationMode::Human,
        )?;
        let log = layers.get("log", None)?;
        let keys = layers.values.iter().map(|value| value.key.as_str());
        let keys = keys.filter(|key| !key.starts_with("hive."));
        layers.file.refuse_rest("", SECTIONS.into_iter().chain(keys))?;
        hives::refuse_shared_ports(queen.port, &hives, &layers)?;
        let warnings = layers.unknown_variables().map(|name| warning(name, &layers)).collect();

        let [config_origin, state_origin, run_origin, models_origin] = path_origins;
        let mut list_path = |key, path: &Path, origin: &Origin| {
            layers.list(key, path.display().to_string(), origin.clone());
        };
        list_path("paths.config_file", &paths.config_file, &config_origin);
        list_path("paths.state", &paths.state, &state_origin);
        list_path("paths.run", &paths.run, &run_origin);
        list_path("paths.models", &paths.models, &models_origin);
        list_path("paths.logs", &paths.logs, &state_origin);
        list_path("paths.token", &paths.token, &state_origin);
        list_path("paths.keys", &paths.keys, &state_origin);
        let (source_root, origin) = find_sources(environment, executable)?;
        source_root.as_deref().map_or(Ok(()), trust::require_own_sources)?;
        let shown = source_root.as_ref().map_or("none".into(), |path| path.display().to_string());
        layers.list("source_root", shown, origin);

        let installation = match source_root {
            Some(_) => None,
            None => executable.and_then(Installation::around),
        };
        let values = layers.values;
        Ok(Self {
            auto_update,
            queen,
            hives,
            worker,
            models,
            model,
            narration,
            log,
            paths,
            source_root,
            installation,
            search: environment.get("PATH").unwrap_or_default().to_owned(),
            environment: environment.clone(),
            executable: executable.map(Path::to_owned),
            values,
            warnings,
        })
    }

    /// Every value with its origin, in the order of the documentation.
    pub fn values(&self) -> impl Iterator<Item = &ConfigValue> {
        self.values.iter()
    }

    /// What is probably a mistake but refuses nothing; one sentence each.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The hive of that alias; without one, the first.
    pub fn hive(&self, alias: Option<&str>) -> Result<&HiveEntry, Error> {
        let Some(alias) = alias else {
            return Ok(self.hives.first().expect("there is at least one hive"));
        };
        self.hives.iter().find(|hive| hive.alias == alias).ok_or_else(|| {
            let known: Vec<_> = self.hives.iter().map(|hive| hive.alias.clone()).collect();
            let nearest = nearest(alias, known.iter().map(String::as_str)).map(str::to_owned);
            Error::UnknownHive { alias: alias.to_owned(), known, nearest }
        })
    }

    /// The model's table, with its name: by that, or by one of its aliases, in whichever case.
    pub fn model_called(&self, name: &str) -> Option<(&str, &ModelEntry)> {
        if let Some((name, entry)) = self.model.get_key_value(name) {
            return Some((name, entry));
        }
        let is_called = |(own, entry): &(&String, &ModelEntry)| {
            let mut names = std::iter::once(*own).chain(&entry.aliases);
            names.any(|called| called.eq_ignore_ascii_case(name))
        };
        let found = self.model.iter().find(is_called)?;
        Some((found.0, found.1))
    }

    /// How many tokens an answer of the model has at most, where that is set.
    pub fn limit_of(&self, model: &str) -> Option<u32> {
        self.model_called(model)?.1.request.max_tokens
    }

    /// Where the queen listens, as configured: `http://127.0.0.1:8500`.
    pub fn queen_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.queen.port)
    }

    /// The workspace to build from: `None` when auto-update is off, and for an installed release.
    pub fn build_root(&self) -> Option<&Path> {
        self.source_root.as_deref().filter(|_| self.auto_update.enabled)
    }
}

/// Whether there is a workspace to build from: what a process is told of one by its environment and
/// its own place, before anything is configured.
pub(crate) fn has_sources(environment: &Environment, executable: Option<&Path>) -> bool {
    // One that is named and is not there is refused later.
    find_sources(environment, executable).map_or(true, |(root, _)| root.is_some())
}

pub(crate) fn find_sources(
    environment: &Environment,
    executable: Option<&Path>,
) -> Result<(Option<PathBuf>, Origin), Error> {
    const VARIABLE: &str = "RBEE_SOURCE_ROOT";
    if let Some(path) = environment.absolute_path(VARIABLE)? {
        let origin = Origin::Environment(VARIABLE.into());
        if !holds_sources(&path) {
            return Err(Error::NoSources { path, origin });
        }
        return Ok((Some(path), origin));
    }
    let above = executable.into_iter().flat_map(|path| path.ancestors().skip(1));
    Ok((above.map(Path::to_owned).find(|path| holds_sources(path)), Origin::Default))
}

fn holds_sources(folder: &Path) -> bool {
    folder.join("Cargo.toml").is_file() && folder.join("bin/10_queen_rbee/Cargo.toml").is_file()
}

fn warning(variable: &str, layers: &Layers<'_>) -> String {
    let hint = nearest(variable, layers.known_variables())
        .map(|name| format!("; did you mean `{name}`?"))
        .unwrap_or_default();
    format!("the environment variable `{variable}` sets nothing{hint}")
}

const fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(minutes * 60)
}
