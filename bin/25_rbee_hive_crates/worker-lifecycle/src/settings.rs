//! What a worker is told of its model beside its flags, in a file beside its socket.
//!
//! The file's name says what is in it, and is among the flags: a worker whose settings are others by
//! now has other flags, and is replaced like one from another binary.

use std::{
    collections::BTreeMap,
    fs, io,
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use rbee_api::{ModelSettings, TemplateSetting};
use rbee_config::{ChatTemplate, ModelEntry, RbeeConfig};
use serde_json::Value;

use crate::{Error, WorkerConfig, WorkerType, worker_id};

const PREFIX: &str = "settings-";
const ENDING: &str = ".json";

/// Of a template, which comes with every look at a worker; the largest known have a few ten thousand.
const MAX_TEMPLATE_LEN: u64 = 1 << 20;

/// Hexadecimal digits that tell one state from another.
const DIGITS: usize = 16;

/// The settings of a model, as they are given to its worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) path: PathBuf,
    text: Vec<u8>,
}

impl Settings {
    /// `None` where nothing is set.
    ///
    /// # Errors
    ///
    /// The template's file cannot be read, or the worker has no use for a template.
    pub(crate) fn of(kind: WorkerType, config: &WorkerConfig) -> Result<Option<Self>, Error> {
        let rbee = &config.rbee;
        let unset = ModelEntry::default();
        let entry = rbee.model.get(&config.model).unwrap_or(&unset);
        let settings = model_settings(kind, config, entry)?;
        if settings.is_empty() {
            return Ok(None);
        }
        let text =
            serde_json::to_vec(&settings).expect("it has no maps with other keys than texts");
        let name = format!("{PREFIX}{}{ENDING}", digits(&text));
        Ok(Some(Self { path: folder(rbee, config).join(name), text }))
    }

    /// Writes the file, which nobody else may read.
    fn write(&self) -> io::Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(&self.text)?;
        file.persist(&self.path)?;
        Ok(())
    }
}

/// Writes the settings of the worker that is to be started, and removes those of the ones before it,
/// which have read theirs.
///
/// # Errors
///
/// The file cannot be written.
pub(crate) fn put(settings: Option<&Settings>, config: &WorkerConfig) -> Result<(), Error> {
    if let Some(settings) = settings {
        let path = settings.path.clone();
        settings.write().map_err(|source| Error::WriteSettings { path, source })?;
    }
    let entries = fs::read_dir(folder(&config.rbee, config)).into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name();
        let is_settings =
            name.to_str().is_some_and(|name| name.starts_with(PREFIX) && name.ends_with(ENDING));
        let is_wanted = settings.is_some_and(|settings| settings.path == entry.path());
        if is_settings
            && !is_wanted
            && let Err(error) = fs::remove_file(entry.path())
        {
            tracing::debug!(%error, "settings of an earlier worker stay");
        }
    }
    Ok(())
}

/// Tells one state of a model's file from another. What it is replaced by, or touched, is another one:
/// to read all of it would take as long as to load it.
pub(crate) fn file_state(model: &Path) -> Option<String> {
    let metadata = fs::metadata(model).ok().filter(fs::Metadata::is_file)?;
    let facts = [
        metadata.dev(),
        metadata.ino(),
        metadata.size(),
        metadata.mtime().cast_unsigned(),
        metadata.mtime_nsec().cast_unsigned(),
        metadata.ctime().cast_unsigned(),
        metadata.ctime_nsec().cast_unsigned(),
    ];
    Some(digits(&facts.map(u64::to_le_bytes).concat()))
}

fn digits(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex()[..DIGITS].to_owned()
}

fn folder(rbee: &RbeeConfig, config: &WorkerConfig) -> PathBuf {
    rbee.paths.run.join(worker_id(config))
}

fn model_settings(
    kind: WorkerType,
    config: &WorkerConfig,
    entry: &ModelEntry,
) -> Result<ModelSettings, Error> {
    let (request, recommended) = (&entry.request, &config.sampling);
    // The same thing by the name that the engine knows.
    let repeat = match kind {
        WorkerType::VLlm => "repetition_penalty",
        WorkerType::LlamaCpp | WorkerType::External => "repeat_penalty",
    };
    let stop = Some(&request.stop).filter(|stop| !stop.is_empty());
    let members: [(&str, Option<Value>); 9] = [
        ("temperature", request.temperature.or(recommended.temperature).map(Value::from)),
        ("top_p", request.top_p.or(recommended.top_p).map(Value::from)),
        ("top_k", request.top_k.or(recommended.top_k).map(Value::from)),
        ("min_p", request.min_p.or(recommended.min_p).map(Value::from)),
        (repeat, request.repeat_penalty.or(recommended.repeat_penalty).map(Value::from)),
        ("max_tokens", request.max_tokens.map(Value::from)),
        ("stop", stop.map(|stop| Value::from(stop.clone()))),
        ("seed", request.seed.map(Value::from)),
        ("reasoning_effort", request.reasoning.clone().map(Value::from)),
    ];
    let members = members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Ok(ModelSettings {
        system: entry.system.clone(),
        chat_template: match (&entry.chat_template, kind) {
            (None, _) | (_, WorkerType::VLlm) => None,
            (Some(_), WorkerType::External) => {
                return Err(Error::NotForThisWorker {
                    key: format!("model.\"{}\".chat_template", config.model),
                    instead: "it is for llama.cpp and vLLM: give the program its own flag in `args`",
                });
            }
            (Some(template), WorkerType::LlamaCpp) => Some(read_template(template)?),
        },
        members: members.collect::<BTreeMap<_, _>>(),
    })
}

/// A template that is set, as a worker is told of it.
///
/// # Errors
///
/// Its file cannot be read, or is too large.
pub fn read_template(template: &ChatTemplate) -> Result<TemplateSetting, Error> {
    let path = match template {
        ChatTemplate::Named(name) => return Ok(TemplateSetting::Named(name.clone())),
        ChatTemplate::File(path) => path,
    };
    let read = || {
        if fs::metadata(path)?.len() > MAX_TEMPLATE_LEN {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("a template may have {MAX_TEMPLATE_LEN} bytes"),
            ));
        }
        fs::read_to_string(path)
    };
    let text = read().map_err(|source| Error::ReadTemplate { path: path.clone(), source })?;
    Ok(TemplateSetting::Text(text))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use daemon_lifecycle::Waits;
    use rbee_api::Sampling;
    use rbee_config::{Environment, Overrides};

    use super::*;

    struct World(tempfile::TempDir);

    impl World {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn config(&self, table: &str) -> WorkerConfig {
            let home = self.0.path();
            let toml = format!(
                "[worker.external.s]\ncommand = [\"s\", \"{{port}}\"]\n[model.m]\n{table}\n"
            );
            fs::write(home.join("config.toml"), toml).unwrap();
            let environment = Environment::from_iter([("RBEE_HOME", home)]);
            let rbee = RbeeConfig::resolve(&Overrides::default(), &environment, None).unwrap();
            WorkerConfig {
                rbee: Arc::new(rbee),
                hive: "h".to_owned(),
                model: "m".to_owned(),
                model_path: home.join("m.gguf"),
                sampling: Sampling::default(),
                device: "cpu".to_owned(),
                slot: 0,
                part: None,
                goes_on: false,
                waits: Waits::Nobody,
            }
        }

        fn settings(&self, kind: WorkerType, table: &str) -> Option<Settings> {
            Settings::of(kind, &self.config(table)).unwrap()
        }

        fn text(&self, kind: WorkerType, table: &str) -> String {
            String::from_utf8(self.settings(kind, table).unwrap().text).unwrap()
        }
    }

    #[test]
    fn what_is_set_for_a_model_is_told_to_its_worker() {
        let world = World::new();
        let table = "temperature = 0.2\ntop_p = 1\ntop_k = 0\nmin_p = 0.1\nrepeat_penalty = 1.1\n\
                     max_tokens = 64\nstop = \"###\"\nseed = 7\nreasoning = \"none\"\n\
                     system = \"Be brief.\"\nchat_template = \"chatml\"\n";
        let told = r####"{"system":"Be brief.","chat_template":{"named":"chatml"},"members":{"max_tokens":64,"min_p":0.1,"reasoning_effort":"none","repeat_penalty":1.1,"seed":7,"stop":["###"],"temperature":0.2,"top_k":0,"top_p":1.0}}"####;
        assert_eq!(world.text(WorkerType::LlamaCpp, table), told);
        let vllm = world.text(WorkerType::VLlm, table);
        assert!(vllm.contains("repetition_penalty") && !vllm.contains("chatml"), "{vllm}");
        let refused = Settings::of(WorkerType::External, &world.config(table)).unwrap_err();
        assert!(refused.to_string().contains("`model.\"m\".chat_template`"), "{refused}");
    }

    #[test]
    fn what_a_model_s_makers_recommend_holds_where_nothing_is_set() {
        let config = |table| {
            let sampling =
                Sampling { temperature: Some(0.6), top_k: Some(20), ..Sampling::default() };
            WorkerConfig { sampling, ..World::new().config(table) }
        };
        let told = |config: &WorkerConfig| {
            String::from_utf8(Settings::of(WorkerType::LlamaCpp, config).unwrap().unwrap().text)
                .unwrap()
        };
        assert_eq!(told(&config("")), r#"{"members":{"temperature":0.6,"top_k":20}}"#);
        let own = told(&config("temperature = 0\nmin_p = 0.1\n"));
        assert_eq!(own, r#"{"members":{"min_p":0.1,"temperature":0.0,"top_k":20}}"#);
        let unnamed = WorkerConfig { model: "n".to_owned(), ..config("") };
        assert_eq!(told(&unnamed), told(&config("")));
    }

    #[test]
    fn what_does_not_concern_the_worker_s_answers_is_no_setting() {
        let world = World::new();
        let nothing = "pinned = true\npreload = true\nkeep_alive = \"1h\"\naliases = [\"a\"]\n";
        for kind in [WorkerType::LlamaCpp, WorkerType::VLlm, WorkerType::External] {
            assert_eq!(world.settings(kind, nothing), None);
            let set = world.settings(kind, "temperature = 0.2\n");
            assert_eq!(world.settings(kind, &format!("{nothing}temperature = 0.2\n")), set);
        }
    }

    #[test]
    fn an_edit_of_a_template_s_file_makes_other_settings() {
        let world = World::new();
        let table = "chat_template = \"t.jinja\"";
        let config = world.config(table);
        let refused = Settings::of(WorkerType::LlamaCpp, &config).unwrap_err().to_string();
        assert!(refused.contains("t.jinja"), "{refused}");
        let mut before = None;
        for text in ["{{ messages }}", "{{ messages[0] }}"] {
            fs::write(world.0.path().join("t.jinja"), text).unwrap();
            let settings = Settings::of(WorkerType::LlamaCpp, &config).unwrap().unwrap();
            assert_ne!(Some(&settings.path), before.as_ref());
            before = Some(settings.path);
        }
        fs::write(world.0.path().join("t.jinja"), "{{ messages[0] }}").unwrap();
        let settings = Settings::of(WorkerType::LlamaCpp, &config).unwrap().unwrap();
        assert_eq!(Some(settings.path), before, "it says the same");
    }

    #[test]
    fn the_settings_of_one_worker_lie_beside_its_socket() {
        use std::os::unix::fs::PermissionsExt as _;
        let world = World::new();
        let [first, second] = ["seed = 1", "seed = 2"].map(|table| {
            let config = world.config(table);
            let settings = Settings::of(WorkerType::LlamaCpp, &config).unwrap();
            put(settings.as_ref(), &config).unwrap();
            settings.unwrap().path
        });
        assert!(!first.exists());
        assert_eq!(fs::read(&second).unwrap(), br#"{"members":{"seed":2}}"#);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&second), mode(second.parent().unwrap())), (0o600, 0o700));
        put(None, &world.config("")).unwrap();
        assert!(!second.exists());
    }

    #[test]
    fn another_file_at_a_model_s_path_is_another_state() {
        let world = World::new();
        let path = |name: &str| world.0.path().join(name);
        assert_eq!(file_state(&path("m.gguf")), None);
        fs::write(path("m.gguf"), "one").unwrap();
        let before = file_state(&path("m.gguf"));
        assert_eq!(file_state(&path("m.gguf")), before);
        fs::write(path("new"), "two").unwrap();
        fs::rename(path("new"), path("m.gguf")).unwrap();
        assert_ne!(file_state(&path("m.gguf")), before);
        let before = file_state(&path("m.gguf"));
        std::os::unix::fs::symlink("m.gguf", path("link.gguf")).unwrap();
        assert_eq!(file_state(&path("link.gguf")), before, "what a link leads to");
        assert_eq!(file_state(world.0.path()), None, "an engine's folder has a name of its own");
    }
}
