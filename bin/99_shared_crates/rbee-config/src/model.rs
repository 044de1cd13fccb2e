//! What is set for single models, `[model."NAME"]`.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    engines::{BUILT_IN_WORKERS, External, Vllm},
    error::Error,
    file::Named,
    hives::HiveEntry,
    layers::Layers,
    nodes,
    request::{Count, Effort, Guesses, Number, Speculative, Stops},
    setting::Stay,
    table::Table,
};

/// `[model."NAME"]`
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ModelEntry {
    /// Where it is: a path, or another name of a model; `None`: its own name says it.
    pub source: Option<String>,
    /// `llamacpp`, `vllm`, or the name of a `[worker.external."NAME"]`; `None`: by the format of its
    /// files.
    pub worker: Option<String>,
    /// The hives that may have it; where there are several, they compute it together, and the first of
    /// them answers.
    pub hives: Vec<String>,
    /// Further arguments of the engine, for this model.
    pub args: Vec<String>,
    /// Instead of `worker.context`.
    pub context: Option<u32>,
    /// Instead of `worker.parallel`.
    pub parallel: Option<u32>,
    /// Instead of `worker.threads`.
    pub threads: Option<u32>,
    /// Other names that requests may use for it.
    pub aliases: Vec<String>,
    /// Instead of `worker.idle_timeout`; [`Duration::MAX`] is for ever.
    pub keep_alive: Option<Duration>,
    /// Whether it is never stopped to make room, nor because nobody uses it.
    pub pinned: bool,
    /// Whether it is loaded when the hive starts.
    pub preload: bool,
    /// Layers that a GPU computes, where the worker has one.
    pub gpu_layers: Option<u32>,
    /// Where guesses come from of what an answer says next.
    pub speculative: Option<Speculative>,
    /// How a chat is written down, instead of as the model's file says.
    pub chat_template: Option<ChatTemplate>,
    /// What a chat begins with that has no system message.
    pub system: Option<String>,
    pub request: RequestDefaults,
}

impl ModelEntry {
    /// Whether several hives compute it together.
    pub fn is_shared(&self) -> bool {
        self.hives.len() > 1
    }
}

/// How a chat becomes a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChatTemplate {
    /// A file of Jinja text.
    File(PathBuf),
    /// One that the worker or the model's file has by that name.
    Named(String),
}

/// What a request has where it says nothing of it; what is empty here is as the worker has it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RequestDefaults {
    pub temperature: Option<f64>,
    pub top_p: Option<f64>,
    pub top_k: Option<u32>,
    pub min_p: Option<f64>,
    pub repeat_penalty: Option<f64>,
    pub max_tokens: Option<u32>,
    pub stop: Vec<String>,
    pub seed: Option<u32>,
    /// How much the model is to think, as `reasoning_effort` says it.
    pub reasoning: Option<String>,
}

pub(crate) fn models(
    layers: &mut Layers<'_>,
    hives: &[HiveEntry],
    vllm: &Vllm,
    external: &BTreeMap<String, External>,
) -> Result<BTreeMap<String, ModelEntry>, Error> {
    let mut all = BTreeMap::new();
    let tables = layers.file.take_named("model");
    let beside = layers.file.source().path.parent().unwrap_or(Path::new("/")).to_owned();
    let own = |named: &Named<'_>| (named.name.to_ascii_lowercase(), named.name.clone());
    let mut names: BTreeMap<String, String> = tables.iter().map(own).collect();
    for named in tables {
        let mut table = Table::new(layers, "model", named);
        let entry = entry(&mut table, &beside)?;
        for alias in &entry.aliases {
            let other = names.insert(alias.to_ascii_lowercase(), table.name.clone());
            if let Some(other) = other.filter(|other| *other != table.name) {
                return Err(Error::Invalid {
                    key: table.key("aliases"),
                    expected: "names that no other model has".into(),
                    found: format!("`{alias}`, which is `{other}` too"),
                    origin: table.origin,
                });
            }
        }
        let is_known = |worker: &String| {
            BUILT_IN_WORKERS.contains(&worker.as_str()) || external.contains_key(worker)
        };
        if let Some(worker) = entry.worker.as_ref().filter(|worker| !is_known(worker)) {
            return Err(Error::Invalid {
                key: table.key("worker"),
                expected: "`llamacpp`, `vllm`, or the NAME of a `[worker.external.\"NAME\"]`"
                    .into(),
                found: format!("`{worker}`"),
                origin: table.origin,
            });
        }
        let wanted = nodes::Wanted {
            hives: &entry.hives,
            worker: entry.worker.as_deref(),
            args: vllm.args.iter().chain(&entry.args),
            parts: vllm.tensor_parallel.unwrap_or(1) * vllm.pipeline_parallel.unwrap_or(1),
        };
        nodes::check(&table, wanted, hives, &vllm.nodes)?;
        let name = table.end()?;
        all.insert(name, entry);
    }
    Ok(all)
}

fn entry(table: &mut Table<'_, '_>, beside: &Path) -> Result<ModelEntry, Error> {
    Ok(ModelEntry {
        source: table.get("source", None)?.map(|source: String| placed(source, beside)),
        worker: table.get("worker", None)?,
        hives: table.get("hives", Vec::new())?,
        args: table.get("args", Vec::new())?,
        context: table.get("context", None)?,
        parallel: table.get("parallel", None)?,
        threads: table.get("threads", None)?,
        aliases: table.get("aliases", Vec::new())?,
        keep_alive: table.get("keep_alive", Stay(None))?.0,
        pinned: table.get("pinned", false)?,
        preload: table.get("preload", false)?,
        gpu_layers: table.get("gpu_layers", Count(None))?.0,
        speculative: table.get("speculative", Guesses(None))?.0,
        chat_template: table
            .get("chat_template", None)?
            .map(|named| ChatTemplate::of(named, beside)),
        system: table.get("system", None)?,
        request: request(table)?,
    })
}

/// A path in `folder` if it does not say where, as a hive tells paths from other names.
fn placed(source: String, folder: &Path) -> String {
    let is_path = source.contains('/') || source.ends_with(".gguf");
    let is_other = ["hf:", "http://", "https://", "file:"];
    if !is_path || is_other.iter().any(|begin| source.starts_with(begin)) {
        return source;
    }
    let whole = std::path::absolute(folder.join(&source));
    whole.map_or(source, |whole| whole.display().to_string())
}

fn request(table: &mut Table<'_, '_>) -> Result<RequestDefaults, Error> {
    Ok(RequestDefaults {
        temperature: table.get("temperature", Number::<0, 200>(None))?.0,
        top_p: table.get("top_p", Number::<0, 100>(None))?.0,
        top_k: table.get("top_k", Count(None))?.0,
        min_p: table.get("min_p", Number::<0, 100>(None))?.0,
        repeat_penalty: table.get("repeat_penalty", Number::<1, 10_000>(None))?.0,
        max_tokens: table.get("max_tokens", None)?,
        stop: table.get("stop", Stops::default())?.0,
        seed: table.get("seed", Count(None))?.0,
        reasoning: table.get("reasoning", Effort(None))?.0,
    })
}

impl ChatTemplate {
    /// What has a slash or is called like a file of Jinja is one, in `folder` if it does not say where.
    pub fn of(text: String, folder: &Path) -> Self {
        const ENDINGS: [&str; 3] = [".jinja", ".jinja2", ".j2"];
        if text.contains('/') || ENDINGS.iter().any(|ending| text.ends_with(ending)) {
            return Self::File(folder.join(text));
        }
        Self::Named(text)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{
        environment::Environment,
        file::{Entries, Source},
    };

    #[test]
    fn a_path_is_looked_for_from_the_configuration_s_folder_and_other_names_stay() {
        let placed = |source: &str| placed(source.to_owned(), Path::new("/etc/rbee"));
        for (written, meant) in [
            ("m.gguf", "/etc/rbee/m.gguf"),
            ("./models/m.gguf", "/etc/rbee/models/m.gguf"),
            ("models/folder", "/etc/rbee/models/folder"),
            ("/m.gguf", "/m.gguf"),
            ("qwen3:8b", "qwen3:8b"),
            ("hf:org/repo/m.gguf", "hf:org/repo/m.gguf"),
            ("https://host/m.gguf", "https://host/m.gguf"),
        ] {
            assert_eq!(placed(written), meant);
        }
    }

    #[test]
    fn the_document_has_every_key_with_an_example_that_is_one() {
        let paper = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../docs/models.md");
        let paper = fs::read_to_string(paper).unwrap();
        let rows = paper.lines().filter_map(|line| line.strip_prefix("| `"));
        let rows = rows.filter_map(|row| {
            let (key, rest) = row.split_once("` | `")?;
            Some((key, rest.split_once("` |")?.0))
        });
        let (told, examples): (Vec<_>, Vec<_>) =
            rows.map(|(key, value)| (key, format!("{key} = {value}\n"))).unzip();
        let text = format!("[model.m]\n{}", examples.concat());
        let source = Source { path: "/config.toml".into(), text };
        let environment = Environment::from_iter([("HOME", "/")]);
        let mut layers = Layers::new(&environment, Entries::parse(&source).unwrap());
        let named = layers.file.take_named("model").pop().unwrap();
        let mut table = Table::new(&mut layers, "model", named);
        entry(&mut table, Path::new("/")).unwrap();
        let mut known = table.known().to_vec();
        table.end().unwrap();
        let mut told = told;
        known.sort_unstable();
        told.sort_unstable();
        assert_eq!(told, known);
    }
}
