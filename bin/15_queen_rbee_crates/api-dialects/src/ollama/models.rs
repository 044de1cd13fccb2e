use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use rbee_api::{Ability, ErrorBody, Model, Progress, Sampling, Worker, WorkerState};
use serde::{Serialize, de::IgnoredAny};

use super::request::keep_alive;
use crate::fields::Fields;

/// What Ollama's own server says where it knows no time.
const NO_TIME: &str = "0001-01-01T00:00:00Z";

/// A request that names a model.
#[derive(Debug)]
pub struct Named {
    pub model: String,
    pub ignored: Vec<String>,
}

/// A request of `/api/pull`.
#[derive(Debug)]
pub struct Pull {
    pub model: String,
    /// Whether its progress is to be told.
    pub stream: bool,
    pub ignored: Vec<String>,
}

impl Named {
    /// # Errors
    ///
    /// It names no model.
    pub fn read(body: &[u8]) -> Result<Self, ErrorBody> {
        let mut fields = Fields::parse(body)?;
        let model = name(&mut fields)?;
        fields.hints(&["verbose"]);
        Ok(Self { model, ignored: fields.rest() })
    }
}

impl Pull {
    /// # Errors
    ///
    /// It names no model, or asks for what is not done.
    pub fn read(body: &[u8]) -> Result<Self, ErrorBody> {
        let mut fields = Fields::parse(body)?;
        let model = name(&mut fields)?;
        fields.refuse("insecure", &["false"], "connections are verified")?;
        let stream = fields.flag("stream")?.unwrap_or(true);
        Ok(Self { model, stream, ignored: fields.rest() })
    }
}

/// A request of `/api/copy`.
#[derive(Debug)]
pub struct Copy {
    pub source: String,
    pub destination: String,
    pub ignored: Vec<String>,
}

impl Copy {
    /// # Errors
    ///
    /// It does not name both.
    pub fn read(body: &[u8]) -> Result<Self, ErrorBody> {
        let mut fields = Fields::parse(body)?;
        let (source, destination) = (fields.require("source")?, fields.require("destination")?);
        Ok(Self { source, destination, ignored: fields.rest() })
    }
}

/// A request of `/api/chat` or `/api/generate` that only has a model unloaded.
#[derive(Debug)]
pub struct Unload {
    pub model: String,
    of_chat: bool,
}

impl Unload {
    /// `None` for a request that asks for anything else, whatever is wrong with it.
    pub fn read(body: &[u8], of_chat: bool) -> Option<Self> {
        let mut fields = Fields::parse(body).ok()?;
        let says_nothing = match of_chat {
            true => {
                fields.take::<Vec<IgnoredAny>>("messages").ok()?.is_none_or(|all| all.is_empty())
            }
            false => fields.take::<String>("prompt").ok()?.is_none_or(|prompt| prompt.is_empty()),
        };
        let has_images = fields.peek("images").is_some_and(|images| images.get() != "[]");
        let keep_alive = keep_alive(&mut fields).ok()??;
        let is_unload = says_nothing && !has_images && keep_alive.0.is_zero();
        let model = fields.require("model").ok()?;
        is_unload.then_some(Self { model, of_chat })
    }

    /// The answer once that is done.
    pub fn done(&self, now: Timestamp) -> impl Serialize {
        let (message, response) = match self.of_chat {
            true => (Some(Empty { role: "assistant", content: "" }), None),
            false => (None, Some("")),
        };
        Unloaded {
            model: self.model.clone(),
            created_at: now.to_string(),
            message,
            response,
            done: true,
            done_reason: "unload",
        }
    }
}

#[derive(Debug, Serialize)]
struct Unloaded {
    model: String,
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Empty>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<&'static str>,
    done: bool,
    done_reason: &'static str,
}

#[derive(Debug, Serialize)]
struct Empty {
    role: &'static str,
    content: &'static str,
}

/// By the member's older name too.
fn name(fields: &mut Fields) -> Result<String, ErrorBody> {
    match fields.take("name")? {
        Some(name) => fields.take("model").map(|model| model.unwrap_or(name)),
        None => fields.require("model"),
    }
}

#[derive(Debug, Serialize)]
struct Listed<T> {
    models: Vec<T>,
}

#[derive(Debug, Serialize)]
struct Tag<'a> {
    name: &'a str,
    model: &'a str,
    modified_at: &'static str,
    size: u64,
    digest: &'a str,
    details: Details,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    capabilities: &'a [Ability],
}

#[derive(Debug, Serialize)]
struct Running<'a> {
    name: &'a str,
    model: &'a str,
    size: u64,
    digest: &'static str,
    details: Details,
    expires_at: String,
    size_vram: u64,
}

/// What a file's name does not tell is empty.
#[derive(Debug, Default, Serialize)]
struct Details {
    parent_model: &'static str,
    format: &'static str,
    family: &'static str,
    families: Option<Vec<String>>,
    parameter_size: &'static str,
    quantization_level: &'static str,
}

/// The answer to `/api/show`.
#[derive(Debug, Serialize)]
pub struct Show<'a> {
    license: &'a str,
    modelfile: String,
    parameters: String,
    template: &'static str,
    details: Details,
    model_info: ModelInfo<'a>,
    /// Left out where nobody can tell, as Ollama's own server does where it has none.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    capabilities: &'a [Ability],
    modified_at: &'static str,
}

#[derive(Debug, Serialize)]
struct ModelInfo<'a> {
    #[serde(rename = "general.name")]
    name: &'a str,
    #[serde(rename = "general.description", skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
}

/// The models that are on a disk, as `/api/tags` lists them.
pub fn tags(models: &[Model]) -> impl Serialize + '_ {
    Listed { models: models.iter().filter(|model| model.local).map(tag).collect() }
}

/// The models that are loaded, as `/api/ps` lists them.
pub fn running(workers: &[Worker], now: Timestamp) -> impl Serialize + '_ {
    let loaded = workers.iter().filter(|worker| worker.state == WorkerState::Ready);
    Listed { models: loaded.map(|worker| of_worker(worker, now)).collect() }
}

/// What `/api/show` tells of a model.
pub fn show(model: &Model) -> Show<'_> {
    Show {
        license: model.license.as_deref().unwrap_or_default(),
        modelfile: format!("FROM {}\n", model.name),
        parameters: parameters(&model.sampling),
        template: "",
        details: details(model),
        model_info: ModelInfo { name: &model.name, description: model.description.as_deref() },
        capabilities: &model.abilities,
        modified_at: NO_TIME,
    }
}

/// As a Modelfile has them.
fn parameters(sampling: &Sampling) -> String {
    let lines = sampling.members().map(|(name, value)| format!("{name:<30} {value}"));
    lines.collect::<Vec<_>>().join("\n")
}

fn tag(model: &Model) -> Tag<'_> {
    let Model { name, size_bytes, sha256, abilities, .. } = model;
    Tag {
        name,
        model: name,
        modified_at: NO_TIME,
        size: *size_bytes,
        digest: sha256.as_deref().unwrap_or_default(),
        details: details(model),
        capabilities: abilities,
    }
}

fn of_worker(worker: &Worker, now: Timestamp) -> Running<'_> {
    let size = worker.memory_bytes.unwrap_or_default();
    Running {
        name: &worker.model,
        model: &worker.model,
        size,
        digest: "",
        details: Details::default(),
        expires_at: expiry(worker.unloads_in_s, now),
        size_vram: if worker.device == "cpu" { 0 } else { size },
    }
}

/// Of one that stays, a time that is far enough.
fn expiry(unloads_in_s: Option<u64>, now: Timestamp) -> String {
    const FAR: SignedDuration = SignedDuration::from_hours(100 * 365 * 24);
    let left = unloads_in_s.and_then(|seconds| i64::try_from(seconds).ok());
    let left = left.map_or(FAR, |seconds| SignedDuration::from_secs(seconds).min(FAR));
    now.checked_add(left).unwrap_or(now).to_string()
}

fn details(model: &Model) -> Details {
    let format = match model.path.as_deref().map(|path| Path::new(path).extension()) {
        Some(Some(extension)) if extension == "gguf" => "gguf",
        Some(_) => "safetensors",
        None => "",
    };
    Details { format, ..Details::default() }
}

/// A line of the answer to `/api/pull`.
#[derive(Debug, Serialize)]
pub struct Pulled<'a> {
    status: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    completed: Option<u64>,
}

impl<'a> Pulled<'a> {
    pub const SUCCESS: Self =
        Self { status: "success", digest: None, total: None, completed: None };

    pub fn status(status: &'a str) -> Self {
        Self { status, ..Self::SUCCESS }
    }

    pub fn progress(status: &'a str, progress: &'a Progress) -> Self {
        let Progress { target, done_bytes, total_bytes } = progress;
        Self { status, digest: Some(target), total: *total_bytes, completed: Some(*done_bytes) }
    }
}
