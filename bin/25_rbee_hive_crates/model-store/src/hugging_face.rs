use serde::Deserialize;
use url::Url;

use crate::{error::Error, http::Client, name::HuggingFaceName, report::Report};

/// A listing of the largest repositories stays far below it.
const MAX_LISTING_LEN: usize = 8 * 1024 * 1024;

/// A file of a repository.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RemoteFile {
    pub(crate) path: String,
    pub(crate) size: Option<u64>,
    pub(crate) sha256: Option<String>,
}

/// The files of one revision that make a model together.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RemoteSet {
    pub(crate) repository: String,
    /// The commit.
    pub(crate) revision: String,
    pub(crate) files: Vec<RemoteFile>,
}

/// What a name means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Remote {
    File(RemoteFile),
    Set(RemoteSet),
}

/// Beside the weights, what says how they are used. Nothing else of a repository is brought: code and
/// weights as Python's pickles, which are code too, stay where they are.
const SET: [&str; 14] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "preprocessor_config.json",
    "processor_config.json",
    "model.safetensors.index.json",
];

/// Of one set.
const MAX_FILES: usize = 512;

/// Of an answer that names a commit, with everything else that it says.
const MAX_INFO_LEN: usize = 8 * 1024 * 1024;

#[derive(Deserialize)]
struct Info {
    sha: String,
}

#[derive(Deserialize)]
struct Item {
    #[serde(rename = "type")]
    kind: String,
    path: String,
    #[serde(default)]
    size: Option<u64>,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    oid: String,
    size: u64,
}

/// Where a file of a repository is downloaded from.
pub(crate) fn file_url(endpoint: &Url, repository: &str, file: &str) -> Url {
    file_url_at(endpoint, repository, "main", file)
}

/// The same at a revision.
pub(crate) fn file_url_at(endpoint: &Url, repository: &str, revision: &str, file: &str) -> Url {
    let segments = repository.split('/').chain(["resolve", revision]).chain(file.split('/'));
    below(endpoint, segments)
}

/// The file that `name` means, or the files where the repository's model is several; asks the
/// repository for its files unless the name says it.
pub(crate) fn choose(
    client: &Client,
    endpoint: &Url,
    name: &HuggingFaceName,
    report: &Report<'_>,
) -> Result<Remote, Error> {
    if let Some(path) = &name.file {
        return Ok(Remote::File(RemoteFile { path: path.clone(), size: None, sha256: None }));
    }
    let items = listing(client, endpoint, &name.repository, "main", report)?;
    let is_set = name.quantisation.is_none() && holds_set(&items);
    match one_of(items, &name.repository, name.quantisation.as_deref()) {
        Err(Error::NoFile { .. }) if is_set => {
            set(client, endpoint, &name.repository, report).map(Remote::Set)
        }
        chosen => chosen.map(Remote::File),
    }
}

fn holds_set(items: &[Item]) -> bool {
    let has = |wanted: fn(&str) -> bool| items.iter().any(|item| wanted(&item.path));
    has(|path| path == "config.json") && has(is_weights)
}

fn is_weights(path: &str) -> bool {
    // Mistral's own form of the weights that are there a second time.
    path.ends_with(".safetensors") && !path.contains('/') && !path.starts_with("consolidated")
}

/// The set as it is now: its commit first, then that commit's files.
fn set(
    client: &Client,
    endpoint: &Url,
    repository: &str,
    report: &Report<'_>,
) -> Result<RemoteSet, Error> {
    let nonsense = |why: String| Error::Answer {
        host: endpoint.host_str().unwrap_or_default().to_owned(),
        why,
    };
    let segments = ["api", "models"].into_iter().chain(repository.split('/'));
    let url = below(endpoint, segments.chain(["revision", "main"]));
    let body = client.bytes(&url, MAX_INFO_LEN, report)?;
    let Info { sha: revision } = serde_json::from_slice(&body)
        .map_err(|error| nonsense(format!("its commit cannot be read: {error}")))?;
    let is_commit = revision.len() >= 7 && revision.chars().all(|c| c.is_ascii_hexdigit());
    if !is_commit {
        return Err(nonsense("what it calls a commit is none".to_owned()));
    }
    let items = listing(client, endpoint, repository, &revision, report)?;
    let is_wanted = |item: &Item| {
        item.kind == "file" && (is_weights(&item.path) || SET.contains(&item.path.as_str()))
    };
    let files: Vec<RemoteFile> = items.into_iter().filter(is_wanted).map(remote).collect();
    if files.len() > MAX_FILES {
        return Err(nonsense(format!("its model has {} files", files.len())));
    }
    Ok(RemoteSet { repository: repository.to_owned(), revision, files })
}

fn remote(Item { path, size, lfs, .. }: Item) -> RemoteFile {
    let size = lfs.as_ref().map(|lfs| lfs.size).or(size);
    RemoteFile { path, size, sha256: lfs.map(|lfs| lfs.oid.to_ascii_lowercase()) }
}

fn listing(
    client: &Client,
    endpoint: &Url,
    repository: &str,
    revision: &str,
    report: &Report<'_>,
) -> Result<Vec<Item>, Error> {
    let segments = ["api", "models"].into_iter().chain(repository.split('/'));
    let mut url = below(endpoint, segments.chain(["tree", revision]));
    url.set_query(Some("recursive=true"));
    let body = client.bytes(&url, MAX_LISTING_LEN, report)?;
    serde_json::from_slice(&body).map_err(|error| Error::Answer {
        host: endpoint.host_str().unwrap_or_default().to_owned(),
        why: format!("its list of files cannot be read: {error}"),
    })
}

fn one_of(
    items: Vec<Item>,
    repository: &str,
    quantisation: Option<&str>,
) -> Result<RemoteFile, Error> {
    let is_model = |item: &Item| {
        let name = item.path.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
        item.kind == "file"
            && name.ends_with(".gguf")
            // Parts of a split model, and the eyes of one that sees.
            && !name.contains("-of-0")
            && !name.starts_with("mmproj")
    };
    let is_wanted =
        |item: &Item| quantisation.is_none_or(|wanted| has_quantisation(&item.path, wanted));
    let mut found: Vec<_> =
        items.into_iter().filter(|item| is_model(item) && is_wanted(item)).collect();
    let one = match found.len() {
        1 => found.pop(),
        _ => None,
    };
    match one {
        Some(Item { path, lfs, .. }) => {
            let size = lfs.as_ref().map(|lfs| lfs.size);
            Ok(RemoteFile { path, size, sha256: lfs.map(|lfs| lfs.oid.to_ascii_lowercase()) })
        }
        None if found.is_empty() => Err(Error::NoFile {
            repository: repository.to_owned(),
            quantisation: quantisation.map(str::to_owned),
        }),
        None => {
            let choices = found.iter().map(|item| format!("hf:{repository}/{}", item.path));
            Err(Error::Ambiguous { repository: repository.to_owned(), choices: choices.collect() })
        }
    }
}

/// Whether the file's name has `wanted` as a word: `Q4_K` is not `Q4_K_M`.
fn has_quantisation(path: &str, wanted: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    path.split(|c| !is_word(c)).any(|word| word.eq_ignore_ascii_case(wanted))
}

fn below<'a>(endpoint: &Url, segments: impl Iterator<Item = &'a str>) -> Url {
    let mut url = endpoint.clone();
    url.path_segments_mut()
        .expect("an endpoint is an http or https URL")
        .pop_if_empty()
        .extend(segments);
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantisations_are_compared_as_whole_words() {
        let items = |names: &[&str]| {
            let item = |name: &&str| Item {
                kind: "file".into(),
                path: (*name).into(),
                size: None,
                lfs: None,
            };
            names.iter().map(item).collect()
        };
        let names = ["m.Q4_K.gguf", "m.Q4_K_M.gguf", "x/m-q8_0.gguf", "m-f16-00001-of-00002.gguf"];
        let chosen =
            |quantisation| one_of(items(&names), "a/b", Some(quantisation)).map(|file| file.path);
        assert_eq!(chosen("Q4_K").unwrap(), "m.Q4_K.gguf");
        assert_eq!(chosen("Q8_0").unwrap(), "x/m-q8_0.gguf");
        assert_eq!(
            chosen("F16").unwrap_err().to_string(),
            "`a/b` has no GGUF file of the quantisation `F16`"
        );
        assert_eq!(
            one_of(items(&names[..2]), "a/b", None).unwrap_err().to_string(),
            "`a/b` has several models; add one of: `hf:a/b/m.Q4_K.gguf`, `hf:a/b/m.Q4_K_M.gguf`"
        );
    }

    #[test]
    fn the_parts_of_a_url_are_escaped() {
        let endpoint = Url::parse("https://mirror.example/hf/").unwrap();
        let url = file_url(&endpoint, "a/b", "c d/e?f.gguf");
        assert_eq!(url.as_str(), "https://mirror.example/hf/a/b/resolve/main/c%20d/e%3Ff.gguf");
    }
}
