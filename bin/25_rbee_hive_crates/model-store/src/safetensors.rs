//! Folders as Hugging Face's libraries keep models: `config.json` and weights as safetensors.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::Read as _,
    path::{Path, PathBuf},
};

use gguf_file::{Pooling, Purpose, Template};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::error::Error;

/// The file by which such a folder is known.
pub(crate) const CONFIG: &str = "config.json";

const INDEX: &str = "model.safetensors.index.json";

/// Of JSON beside the weights.
const MAX_JSON_BYTES: u64 = 64 << 20;

/// The format's own bound.
const MAX_HEADER_BYTES: u64 = 100_000_000;

/// By which sentence transformers say how they make vectors of texts.
const POOLS: &str = "modules.json";

const TOKENIZER: &str = "tokenizer_config.json";

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    architectures: Vec<String>,
    id2label: Option<Map<String, Value>>,
    num_labels: Option<usize>,
}

#[derive(Deserialize)]
struct Tokenizer {
    chat_template: Option<Templates>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Templates {
    One(String),
    Named(Vec<NamedTemplate>),
}

#[derive(Deserialize)]
struct NamedTemplate {
    name: String,
    template: String,
}

impl Config {
    /// How many classes there are; two, as Hugging Face's library has it, where nothing is said.
    fn labels(&self) -> usize {
        self.id2label.as_ref().map(Map::len).or(self.num_labels).unwrap_or(2)
    }
}

#[derive(Deserialize)]
struct Index {
    weight_map: Map<String, Value>,
}

#[derive(Deserialize)]
struct Tensor {
    data_offsets: (u64, u64),
}

/// Whether the folder holds a model in this format.
pub fn is_folder(path: &Path) -> bool {
    path.join(CONFIG).is_file()
}

/// The bytes of the weights, where all of them are there, whole.
///
/// Weights in Python's own format are not looked for: reading them would run what they say.
///
/// # Errors
///
/// [`Error::Folder`] says which file is missing, or is not what it should be.
pub fn inspect(folder: &Path) -> Result<u64, Error> {
    let problem = |why: String| Error::Folder { path: folder.to_owned(), why };
    let config: Value = json(&folder.join(CONFIG)).map_err(problem)?;
    if !config.is_object() {
        return Err(problem(format!("`{CONFIG}` is no JSON object")));
    }
    let weights = weights(folder).map_err(problem)?;
    let mut bytes = 0;
    for path in weights {
        bytes += whole(&path).map_err(|why| problem(format!("`{}` {why}", name(&path))))?;
    }
    Ok(bytes)
}

/// What the folder says its model was made for, and what its templates for chats show, the usual one
/// without a name; `None` where that is not known.
pub(crate) fn made_for(folder: &Path) -> Option<(Purpose, BTreeMap<String, Template>)> {
    let config: Config = json(&folder.join(CONFIG)).ok()?;
    let architecture = config.architectures.first()?;
    let is = |ends: &[&str]| ends.iter().any(|end| architecture.ends_with(end));
    let purpose = if is(&["ForSequenceClassification"]) {
        match config.labels() {
            1 => Purpose::Ranking,
            _ => Purpose::Classes,
        }
    } else if folder.join(POOLS).is_file() {
        // Sentence transformers pool by default so.
        Purpose::Vectors(Pooling::Mean)
    } else if is(&["ForCausalLM", "ForConditionalGeneration", "LMHeadModel"]) {
        Purpose::Text
    } else if is(&["Model", "ForMaskedLM"]) {
        Purpose::Tokens
    } else {
        return None;
    };
    Some((purpose, templates(folder)))
}

/// What the templates show that the folder has for chats.
fn templates(folder: &Path) -> BTreeMap<String, Template> {
    let named = |name: &str, text: &str| (name.to_owned(), Template::of(text));
    let text = |file: &str| {
        let file = File::open(folder.join(file)).ok()?;
        let mut text = String::new();
        file.take(MAX_JSON_BYTES).read_to_string(&mut text).ok()?;
        Some(text)
    };
    let tokenizer = json::<Tokenizer>(&folder.join(TOKENIZER)).ok();
    let mut all = match tokenizer.and_then(|tokenizer| tokenizer.chat_template) {
        Some(Templates::One(text)) => BTreeMap::from([named("", &text)]),
        Some(Templates::Named(all)) => {
            let name = |name: &str| if name == "default" { String::new() } else { name.to_owned() };
            all.iter().map(|one| named(&name(&one.name), &one.template)).collect()
        }
        None => BTreeMap::new(),
    };
    all.extend(text("chat_template.jinja").map(|text| named("", &text)));
    all
}

/// The files that hold the weights: those that the index names, else every one in the format.
fn weights(folder: &Path) -> Result<BTreeSet<PathBuf>, String> {
    let index = folder.join(INDEX);
    if index.is_file() {
        let Index { weight_map } = json(&index)?;
        let names = weight_map.values().map(|file| file.as_str().unwrap_or_default());
        return names
            .map(|name| match Path::new(name).file_name() {
                Some(plain) if plain == name => Ok(folder.join(name)),
                _ => Err(format!("`{INDEX}` names `{name}`, which is no file of the folder")),
            })
            .collect();
    }
    let entries = fs::read_dir(folder).map_err(|error| error.to_string())?;
    let paths = entries.flatten().map(|entry| entry.path());
    let is_weights = |path: &PathBuf| path.extension().is_some_and(|end| end == "safetensors");
    let weights: BTreeSet<PathBuf> = paths.filter(is_weights).collect();
    if weights.is_empty() {
        return Err("it has no `*.safetensors` file".to_owned());
    }
    Ok(weights)
}

/// The file's size, where its header is one and covers it to the last byte.
fn whole(path: &Path) -> Result<u64, String> {
    let missing = |error: std::io::Error| format!("cannot be read: {error}");
    let mut file = File::open(path).map_err(missing)?;
    let size = file.metadata().map_err(missing)?.len();
    let mut length = [0; 8];
    file.read_exact(&mut length).map_err(missing)?;
    let length = u64::from_le_bytes(length);
    if length > MAX_HEADER_BYTES || length > size.saturating_sub(8) {
        return Err(format!("has a header of {length} bytes, more than there can be"));
    }
    let mut header = Vec::new();
    file.take(length).read_to_end(&mut header).map_err(missing)?;
    let header: Map<String, Value> = serde_json::from_slice(&header)
        .map_err(|error| format!("has a header that cannot be read: {error}"))?;
    let mut end = 0;
    for (name, tensor) in header.into_iter().filter(|(name, _)| name != "__metadata__") {
        let tensor: Tensor = serde_json::from_value(tensor)
            .map_err(|error| format!("has no place for `{name}`: {error}"))?;
        end = end.max(tensor.data_offsets.1);
    }
    match size - 8 - length {
        data if data == end => Ok(size),
        data => Err(format!("holds {data} bytes of weights and should hold {end}")),
    }
}

fn json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, String> {
    let failed =
        |error: &dyn std::fmt::Display| format!("`{}` cannot be read: {error}", name(path));
    let file = File::open(path).map_err(|error| failed(&error))?;
    let mut text = Vec::new();
    file.take(MAX_JSON_BYTES).read_to_end(&mut text).map_err(|error| failed(&error))?;
    serde_json::from_slice(&text).map_err(|error| failed(&error))
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with one tensor of four bytes, of which `data` are there.
    fn file(data: usize) -> Vec<u8> {
        let header = br#"{"__metadata__":{"format":"pt"},"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
        [&(header.len() as u64).to_le_bytes()[..], header, &vec![0; data]].concat()
    }

    fn told(files: &[(&str, &[u8])]) -> Result<u64, String> {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            fs::write(folder.path().join(name), content).unwrap();
        }
        let folder = folder.path();
        inspect(folder)
            .map_err(|error| error.to_string().replace(&folder.display().to_string(), "F"))
    }

    fn said(files: &[(&str, &str)]) -> Option<(Purpose, BTreeMap<String, Template>)> {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            fs::write(folder.path().join(name), content).unwrap();
        }
        made_for(folder.path())
    }

    #[test]
    fn a_folder_says_what_its_model_was_made_for() {
        for (config, purpose) in [
            (r#"{"architectures":["Qwen3ForCausalLM"]}"#, Some(Purpose::Text)),
            (r#"{"architectures":["BertModel"]}"#, Some(Purpose::Tokens)),
            (r#"{"architectures":["BertForSequenceClassification"]}"#, Some(Purpose::Classes)),
            (
                r#"{"architectures":["BertForSequenceClassification"],"id2label":{"0":"LABEL_0"}}"#,
                Some(Purpose::Ranking),
            ),
            (r#"{"architectures":["SomethingElse"]}"#, None),
            ("{}", None),
        ] {
            let found = said(&[("config.json", config)]).map(|(purpose, _)| purpose);
            assert_eq!(found, purpose, "{config}");
        }
        let config = ("config.json", r#"{"architectures":["Qwen3ForCausalLM"]}"#);
        let pooled = said(&[config, ("modules.json", "[]")]).unwrap();
        assert_eq!(pooled.0, Purpose::Vectors(Pooling::Mean));
    }

    #[test]
    fn a_folder_has_its_templates_in_one_of_three_places() {
        let config = ("config.json", r#"{"architectures":["Qwen3ForCausalLM"]}"#);
        let tools = "{{ tools }}{{ tool_calls }}";
        let one = format!(r#"{{"chat_template":"{tools}"}}"#);
        let named = format!(
            r#"{{"chat_template":[{{"name":"default","template":"x"}},{{"name":"tool_use","template":"{tools}"}}]}}"#
        );
        let shown = |files: &[(&str, &str)]| -> Vec<(String, bool)> {
            let (_, templates) = said(files).unwrap();
            templates.into_iter().map(|(name, template)| (name, template.tools)).collect()
        };
        let usual = |tools| (String::new(), tools);
        assert_eq!(shown(&[config, (TOKENIZER, &one)]), [usual(true)]);
        assert_eq!(
            shown(&[config, (TOKENIZER, &named)]),
            [usual(false), ("tool_use".to_owned(), true)]
        );
        assert_eq!(shown(&[config, ("chat_template.jinja", tools)]), [usual(true)]);
        assert_eq!(shown(&[config]), []);
    }

    #[test]
    fn a_folder_is_whole_with_its_configuration_and_every_byte_of_its_weights() {
        let (one, index) =
            (file(4), br#"{"weight_map":{"a":"a.safetensors","b":"b.safetensors"}}"#);
        let size = one.len() as u64;
        let config: (&str, &[u8]) = ("config.json", b"{}");
        assert_eq!(told(&[config, ("model.safetensors", &one)]), Ok(size));
        let both = [config, (INDEX, index), ("a.safetensors", &one), ("b.safetensors", &one)];
        assert_eq!(told(&both), Ok(2 * size));

        for (files, wanted) in [
            (&[config][..], "it has no `*.safetensors` file"),
            (&[config, ("pytorch_model.bin", b"pickle")], "it has no `*.safetensors` file"),
            (&[("model.safetensors", &one)], "`config.json` cannot be read"),
            (
                &[("config.json", b"[]"), ("model.safetensors", &one)],
                "`config.json` is no JSON object",
            ),
            (
                &[config, ("model.safetensors", &file(3))],
                "holds 3 bytes of weights and should hold 4",
            ),
            (&[config, ("model.safetensors", &file(5))], "holds 5 bytes of weights"),
            (&[config, ("model.safetensors", &one[..20])], "more than there can be"),
            (&[config, ("model.safetensors", b"12")], "cannot be read"),
            (&both[..3], "`b.safetensors` cannot be read"),
            (
                &[config, (INDEX, br#"{"weight_map":{"a":"../a.safetensors"}}"#)],
                "no file of the folder",
            ),
        ] {
            let told = told(files).unwrap_err();
            assert!(told.contains(wanted), "{told}");
        }
    }
}
