//! What serves a model beside the worker's own process: with what it is started, which one that is,
//! and what it takes.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use daemon_lifecycle::{Identity, Program};
use rbee_api::Part;
use rbee_config::{ChatTemplate, EngineLimits, External, ModelEntry, RbeeConfig, Vllm};
use serde::Deserialize;

use crate::{WorkerConfig, WorkerType};

/// A file of a model that is smaller counts by its content; larger ones by size and time.
const READ_BYTES: u64 = 64 << 10;

/// Beside the weights and their cache: three Python processes with PyTorch.
const VLLM_BYTES: u64 = 2560 << 20;

/// What vLLM gives its key-value cache on a CPU unless it is told otherwise.
const VLLM_CACHE_GIB: u32 = 4;

/// The flags of a worker whose tokens another program computes.
pub(crate) fn flags(kind: WorkerType, config: &WorkerConfig) -> Vec<String> {
    let rbee = &config.rbee;
    let entry = rbee.model.get(&config.model).cloned().unwrap_or_default();
    let model = config.model_path.display().to_string();
    let context = entry.context.or(rbee.worker.context);
    let name = entry.worker.as_deref().unwrap_or_default();
    let mut flags = Flags::default();
    flags.push("--model", model);
    let (program, limits) = match (kind, rbee.worker.external.get(name)) {
        (WorkerType::External, Some(external)) => {
            external_flags(&mut flags, name, external, entry.args);
            let named = &external.command[0];
            let program = rbee.program(named).unwrap_or_else(|| PathBuf::from(named));
            (program, external.limits)
        }
        _ => {
            let vllm = &rbee.worker.vllm;
            let program = match self::vllm(rbee) {
                Ok(program) | Err(program) => program,
            };
            vllm_flags(&mut flags, vllm, &program, context, entry);
            config.part.iter().for_each(|part| part_flags(&mut flags, part));
            (program, vllm.limits)
        }
    };
    let engine = id(config, &flags, &program);
    let mut all = vec!["--engine".to_owned(), folder(rbee, &engine).display().to_string()];
    all.extend(patience(limits));
    all.extend(flags.flags);
    if !flags.rest.is_empty() {
        all.push("--".to_owned());
        all.extend(flags.rest);
    }
    all
}

#[derive(Default)]
struct Flags {
    flags: Vec<String>,
    /// The engine's own arguments.
    rest: Vec<String>,
}

impl Flags {
    fn push(&mut self, flag: &str, value: impl ToString) {
        self.flags.extend([flag.to_owned(), value.to_string()]);
    }

    fn push_some(&mut self, flag: &str, value: Option<impl ToString>) {
        if let Some(value) = value {
            self.push(flag, value);
        }
    }
}

fn vllm_flags(
    flags: &mut Flags,
    vllm: &Vllm,
    program: &Path,
    context: Option<u32>,
    entry: ModelEntry,
) {
    flags.push("--vllm", program.display());
    flags.push_some("--context", context);
    flags.push_some("--kv-cache", vllm.kv_cache);
    flags.push_some("--tensor-parallel", vllm.tensor_parallel);
    flags.push_some("--pipeline-parallel", vllm.pipeline_parallel);
    flags.rest.extend(vllm.args.iter().cloned().chain(entry.args));
    if let Some(template) = entry.chat_template {
        let named = match template {
            ChatTemplate::File(path) => path.display().to_string(),
            ChatTemplate::Named(name) => name,
        };
        flags.rest.extend(["--chat-template".to_owned(), named]);
    }
}

fn part_flags(flags: &mut Flags, part: &Part) {
    flags.push("--rank", part.rank);
    flags.push("--parts", part.parts);
    flags.push("--meet", part.meet);
    flags.push("--address", part.address);
    flags.push_some("--interface", part.interface.as_ref());
}

fn external_flags(flags: &mut Flags, name: &str, external: &External, args: Vec<String>) {
    flags.push("--title", name);
    flags.push("--ready", &external.ready);
    flags.push_some("--upstream-model", external.model.as_ref());
    for pair in &external.env {
        flags.push("--env", pair);
    }
    flags.rest.extend(external.command.iter().cloned().chain(args));
}

fn patience(limits: EngineLimits) -> [String; 4] {
    let seconds = |duration: std::time::Duration| duration.as_secs().max(1).to_string();
    [
        "--load-timeout".to_owned(),
        seconds(limits.load_timeout),
        "--silence".to_owned(),
        seconds(limits.silence_timeout),
    ]
}

/// The program `vllm`, or, as an error, where it is expected.
pub(crate) fn vllm(rbee: &RbeeConfig) -> Result<PathBuf, PathBuf> {
    let program = rbee.vllm().unwrap_or_else(|| PathBuf::from("vllm"));
    if program.is_file() { Ok(program) } else { Err(program) }
}

/// Names the engine: by what it is started with, by the program and what that is installed with, and
/// by the model's files. While all of them are what they were, one engine goes from worker to worker.
fn id(config: &WorkerConfig, flags: &Flags, program: &Path) -> String {
    let mut hash = blake3::Hasher::new();
    let mut add = |text: &str| {
        hash.update(&(text.len() as u64).to_le_bytes());
        hash.update(text.as_bytes());
    };
    add(&config.hive);
    add(&config.model);
    add(&config.parallel().to_string());
    for argument in flags.flags.iter().chain(&flags.rest) {
        add(argument);
    }
    for fact in installed(program).into_iter().chain(files(&config.model_path)) {
        add(&fact);
    }
    let entry = config.rbee.model.get(&config.model);
    if let Some(ChatTemplate::File(template)) = entry.and_then(|entry| entry.chat_template.as_ref())
    {
        add(&stamp(template));
    }
    hash.finalize().to_hex()[..12].to_owned()
}

/// What a program is, and the packages of the virtual environment that it lies in, wherever links to
/// it lie.
fn installed(program: &Path) -> Vec<String> {
    let mut facts = vec![stamp(program)];
    let program = program.canonicalize().unwrap_or_else(|_| program.to_owned());
    let Some(environment) = program.parent().and_then(Path::parent) else { return facts };
    if let Ok(text) = fs::read_to_string(environment.join("pyvenv.cfg")) {
        facts.push(text);
        let mut packages: Vec<String> = below(&environment.join("lib"))
            .into_iter()
            .flat_map(|python| below(&python.join("site-packages")))
            .filter(|path| path.extension().is_some_and(|extension| extension == "dist-info"))
            .map(|path| path.display().to_string())
            .collect();
        packages.sort_unstable();
        facts.extend(packages);
    }
    facts
}

/// What a model's files are.
fn files(model: &Path) -> Vec<String> {
    if !model.is_dir() {
        return vec![stamp(model)];
    }
    let mut paths = below(model);
    paths.sort_unstable();
    paths.iter().filter(|path| path.is_file()).map(|path| stamp(path)).collect()
}

fn stamp(path: &Path) -> String {
    let Ok(metadata) = fs::metadata(path) else { return path.display().to_string() };
    if metadata.len() <= READ_BYTES
        && let Ok(content) = fs::read(path)
    {
        return format!("{} {}", path.display(), blake3::hash(&content));
    }
    let (size, seconds, nanoseconds) = (metadata.len(), metadata.mtime(), metadata.mtime_nsec());
    format!("{} {size} {seconds} {nanoseconds}", path.display())
}

fn below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

fn folder(rbee: &RbeeConfig, id: &str) -> PathBuf {
    rbee.paths.run.join("engines").join(id)
}

/// Where an engine writes down its processes, in its own folder and beside its worker's socket.
const RECORD: &str = "engine.json";

/// Whether the engine that a worker of `config` would use runs already.
pub fn shares_engine(config: &WorkerConfig) -> bool {
    folder_of(config).is_some_and(|folder| runs(&folder))
}

/// The folder of the engine that a worker of `config` would have to start.
pub(crate) fn to_be_started(config: &WorkerConfig) -> Option<PathBuf> {
    folder_of(config).filter(|folder| !runs(folder))
}

fn folder_of(config: &WorkerConfig) -> Option<PathBuf> {
    let kind = WorkerType::of(&config.rbee, &config.model, &config.model_path);
    // The first of the flags, see there.
    kind.has_engine().then(|| PathBuf::from(&flags(kind, config)[1]))
}

fn runs(folder: &Path) -> bool {
    #[derive(Deserialize)]
    struct Record {
        program: Program,
    }
    let record: Option<Record> = read(&folder.join(RECORD));
    record.is_some_and(|record| record.program.is_alive())
}

/// Memory of the worker and of the engine that it uses, in bytes.
pub fn memory_bytes(worker: &Identity) -> Option<u64> {
    let own = daemon_lifecycle::memory_bytes(worker.pid)?;
    let engine: Option<Program> = read(&Path::new(&worker.address).with_file_name(RECORD));
    Some(own + engine.map_or(0, |engine| engine.memory_bytes()))
}

/// Memory that a worker is taken to need beside its model's files, where that is not little.
pub fn overhead_bytes(config: &WorkerConfig) -> Option<u64> {
    match WorkerType::of(&config.rbee, &config.model, &config.model_path) {
        WorkerType::VLlm => {
            let cache = config.rbee.worker.vllm.kv_cache.unwrap_or(VLLM_CACHE_GIB);
            Some(VLLM_BYTES + (u64::from(cache) << 30))
        }
        WorkerType::LlamaCpp | WorkerType::External => None,
    }
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::symlink, sync::Arc};

    use daemon_lifecycle::Waits;
    use rbee_api::Sampling;
    use rbee_config::{Environment, Overrides};

    use super::*;

    struct World(tempfile::TempDir);

    impl World {
        fn new() -> Self {
            let home = tempfile::tempdir().unwrap();
            let write = |path: &str, text: &str| {
                let path = home.path().join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            };
            write("venv/pyvenv.cfg", "version = 3.12\n");
            write("venv/bin/vllm", "#!/bin/sh\n");
            write("venv/lib/python3.12/site-packages/vllm-0.32.0.dist-info/METADATA", "");
            write("model/config.json", "{}");
            write("model/model.safetensors", &"x".repeat(100_000));
            Self(home)
        }

        fn flags(&self, toml: &str, slot: u8) -> Vec<String> {
            self.flags_of(toml, slot, None)
        }

        fn flags_of(&self, toml: &str, slot: u8, part: Option<Part>) -> Vec<String> {
            let home = self.0.path();
            let venv = home.join("venv");
            let toml = format!("[worker.vllm]\ncommand = \"{}\"\n{toml}", venv.display());
            fs::write(home.join("config.toml"), toml).unwrap();
            let environment = Environment::from_iter([("RBEE_HOME", home)]);
            let rbee = RbeeConfig::resolve(&Overrides::default(), &environment, None).unwrap();
            let config = WorkerConfig {
                rbee: Arc::new(rbee),
                hive: "h".to_owned(),
                model: "m".to_owned(),
                model_path: home.join("model"),
                sampling: Sampling::default(),
                device: "cpu".to_owned(),
                slot,
                part,
                goes_on: false,
                waits: Waits::Nobody,
            };
            flags(WorkerType::of(&config.rbee, "m", &config.model_path), &config)
        }

        fn engine(&self, toml: &str) -> String {
            let flags = self.flags(toml, 0);
            assert_eq!(flags[0], "--engine");
            flags[1].clone()
        }
    }

    #[test]
    fn a_model_s_table_overrides_and_adds_to_that_of_the_worker() {
        let world = World::new();
        let toml = "args = [\"--dtype\", \"float32\"]\nkv_cache = 2\ntensor_parallel = 2\n\
                    [worker]\ncontext = 4096\n\
                    [model.m]\ncontext = 2048\nargs = [\"--enforce-eager\"]\n";
        let flags = world.flags(toml, 0).join(" ");
        for wanted in [
            "--context 2048",
            "--kv-cache 2 --tensor-parallel 2 -- --dtype float32 --enforce-eager",
            "venv/bin/vllm --context",
            "--load-timeout 1800 --silence 300",
        ] {
            assert!(flags.contains(wanted), "{wanted}: {flags}");
        }
    }

    #[test]
    fn each_start_of_a_part_is_an_engine_of_its_own() {
        let world = World::new();
        let part = |port: u16| Part {
            rank: 1,
            parts: 2,
            meet: ([10, 0, 0, 1], port).into(),
            address: [10, 0, 0, 2].into(),
            interface: Some("eth1".to_owned()),
        };
        let flags = world.flags_of("", 0, Some(part(20_001)));
        let wanted = "--rank 1 --parts 2 --meet 10.0.0.1:20001 --address 10.0.0.2 --interface eth1";
        assert!(flags.join(" ").contains(wanted), "{flags:?}");
        assert_eq!(world.flags_of("", 1, Some(part(20_001)))[1], flags[1], "another worker");
        assert_ne!(world.flags_of("", 0, Some(part(20_002)))[1], flags[1]);
        assert_ne!(world.engine(""), flags[1]);
    }

    #[test]
    fn a_vllm_that_is_not_there_is_named() {
        let world = World::new();
        let home = world.0.path();
        let program = |toml: &str| {
            fs::write(home.join("config.toml"), toml).unwrap();
            let environment = Environment::from_iter([("RBEE_HOME", home)]);
            vllm(&RbeeConfig::resolve(&Overrides::default(), &environment, None).unwrap())
        };
        let venv = home.join("venv");
        assert_eq!(program(&format!("worker.vllm.command = {venv:?}")), Ok(venv.join("bin/vllm")));
        assert_eq!(program(""), Err(PathBuf::from("vllm")));
        let gone = program("worker.vllm.command = \"/not/there\"");
        assert_eq!(gone, Err(PathBuf::from("/not/there")));
    }

    #[test]
    fn an_external_server_gets_its_command_and_the_model_s_arguments() {
        let world = World::new();
        let toml = "[worker.external.s]\ncommand = [\"server\", \"-m\", \"{model}\", \"--port={port}\"]\n\
                    model = \"its-name\"\nenv = [\"A=b\"]\n[model.m]\nworker = \"s\"\nargs = [\"-v\"]\n";
        let flags = world.flags(toml, 0).join(" ");
        let wanted = "--title s --ready /health --upstream-model its-name --env A=b -- server -m \
                      {model} --port={port} -v";
        assert!(flags.ends_with(wanted), "{flags}");
    }

    #[test]
    fn an_engine_stays_the_same_until_something_changes_that_it_is_started_with() {
        let world = World::new();
        let engine = world.engine("");
        assert_eq!(world.engine("load_timeout = \"1h\"\n"), engine, "it is the worker's");
        assert_eq!(world.flags("", 1)[1], engine, "one goes from worker to worker");
        assert_ne!(world.engine("args = [\"--enforce-eager\"]\n"), engine);
        assert_ne!(world.engine("kv_cache = 2\n"), engine);
        assert_ne!(world.engine("[worker]\nparallel = 2\n"), engine);

        let changes: [(&str, &str); 4] = [
            ("model/config.json", "{ }"),
            ("model/model.safetensors", "shorter"),
            ("venv/lib/python3.12/site-packages/vllm-0.33.0.dist-info/METADATA", ""),
            ("venv/bin/vllm", "#!/bin/bash\n"),
        ];
        let mut before = engine;
        for (path, text) in changes {
            let path = world.0.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            let after = world.engine("");
            assert_ne!(after, before, "{}", path.display());
            before = after;
        }
        fs::rename(world.0.path().join("venv"), world.0.path().join("venv-1")).unwrap();
        symlink("venv-1", world.0.path().join("venv")).unwrap();
        assert_ne!(world.engine(""), before, "a link to another environment");
        let before = world.engine("");
        let touched = world.0.path().join("model/config.json");
        fs::write(&touched, fs::read(&touched).unwrap()).unwrap();
        assert_eq!(world.engine(""), before);
    }
}
