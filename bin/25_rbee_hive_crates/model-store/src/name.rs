use std::{
    fmt,
    path::{Path, PathBuf},
};

use rbee_api::Sampling;
use sha2::{Digest as _, Sha256};
use url::Url;

use crate::{
    catalogue::{self, Entry},
    error::Error,
};

const MAX_NAME_LEN: usize = 1024;
/// With room below the 255 bytes that file systems take.
const MAX_FOLDER_LEN: usize = 180;
/// Hugging Face's own bound.
const MAX_REPOSITORY_LEN: usize = 96;

/// What a caller may call a model.
#[derive(Debug, Clone)]
pub(crate) enum ModelName {
    Catalogue(&'static Entry),
    HuggingFace(HuggingFaceName),
    Url(Url),
    /// A file of this host, outside of the store; absolute.
    Path(PathBuf),
}

/// How a name says where its model is to be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameKind {
    /// What the catalogue says; some of it is pinned, the rest is what its repository has.
    Catalogue,
    /// Whatever Hugging Face, or a URL, has under it.
    Download,
    /// A file of this host.
    Path,
}

/// The one spelling of a model's name, and its kind. Looks at no file.
///
/// # Errors
///
/// [`Error::InvalidName`] and [`Error::UnknownModel`].
pub fn spelled(name: &str) -> Result<(String, NameKind), Error> {
    let parsed = ModelName::parse(name)?;
    let kind = match &parsed {
        ModelName::Catalogue(_) => NameKind::Catalogue,
        ModelName::HuggingFace(_) | ModelName::Url(_) => NameKind::Download,
        ModelName::Path(_) => NameKind::Path,
    };
    Ok((parsed.to_string(), kind))
}

/// How the makers of the model say that its tokens are to be chosen; empty for one that the catalogue does
/// not have.
pub fn sampling(name: &str) -> Sampling {
    match ModelName::parse(name) {
        Ok(ModelName::Catalogue(entry)) => entry.sampling,
        _ => Sampling::default(),
    }
}

/// `hf:ORG/REPO[/FILE][:QUANT]`
#[derive(Debug, Clone)]
pub(crate) struct HuggingFaceName {
    /// `ORG/REPO`
    pub(crate) repository: String,
    pub(crate) file: Option<String>,
    /// In upper case, such as `Q4_K_M`.
    pub(crate) quantisation: Option<String>,
}

impl ModelName {
    pub(crate) fn parse(name: &str) -> Result<Self, Error> {
        let invalid = |why: &str| Error::InvalidName { name: shown(name), why: why.to_owned() };
        if name.is_empty() {
            return Err(invalid("it is empty"));
        }
        if name.len() > MAX_NAME_LEN || name.chars().any(char::is_control) {
            return Err(invalid("it is too long or holds control characters"));
        }
        if let Some(rest) = name.strip_prefix("hf:") {
            return HuggingFaceName::parse(rest).map(Self::HuggingFace).ok_or_else(|| {
                invalid("names of Hugging Face have the form `hf:ORG/REPO[/FILE.gguf][:QUANT]`")
            });
        }
        if name.starts_with("https://") || name.starts_with("http://") {
            let mut url = Url::parse(name).map_err(|error| invalid(&error.to_string()))?;
            if url.host().is_none() || !url.username().is_empty() || url.password().is_some() {
                return Err(invalid("a URL has a host and neither user name nor password"));
            }
            url.set_fragment(None);
            return Ok(Self::Url(url));
        }
        if let Some(path) = name.strip_prefix("file:") {
            return absolute(path.strip_prefix("//").unwrap_or(path)).map(Self::Path);
        }
        if is_path(name) {
            return absolute(name).map(Self::Path);
        }
        if let Some(entry) = catalogue::find(name) {
            return Ok(Self::Catalogue(entry));
        }
        Err(Error::UnknownModel { name: shown(name), nearest: catalogue::nearest(name) })
    }

    /// The name of the model's folder in the store.
    ///
    /// Different names have different folders: what is not plain is written as `%` and two
    /// digits, and what is too long ends in a hash of the whole.
    pub(crate) fn folder(&self) -> String {
        let name = self.to_string();
        // A folder that begins with a dot is not a model's.
        let is_plain = |at: usize, byte: u8| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-') || (byte == b'.' && at > 0)
        };
        let escaped = name.bytes().enumerate().map(|(at, byte)| {
            if is_plain(at, byte) { char::from(byte).to_string() } else { format!("%{byte:02x}") }
        });
        let mut folder: String = escaped.collect();
        if folder.len() > MAX_FOLDER_LEN {
            let hash = hex(&Sha256::digest(name.as_bytes()));
            folder.truncate(MAX_FOLDER_LEN - 64);
            folder.push_str(&hash);
        }
        folder
    }
}

/// The one spelling under which the store keeps a model.
impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Catalogue(entry) => f.write_str(&entry.name),
            Self::HuggingFace(name) => {
                write!(f, "hf:{}", name.repository)?;
                if let Some(file) = &name.file {
                    write!(f, "/{file}")?;
                }
                name.quantisation.as_ref().map_or(Ok(()), |quant| write!(f, ":{quant}"))
            }
            Self::Url(url) => write!(f, "{url}"),
            Self::Path(path) => write!(f, "{}", path.display()),
        }
    }
}

impl HuggingFaceName {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (path, quantisation) = match text.split_once(':') {
            Some((path, quantisation)) => (path, Some(quantisation)),
            None => (text, None),
        };
        let mut parts = path.splitn(3, '/');
        let (organisation, name) = (parts.next()?, parts.next()?);
        let file = parts.next();
        let is_part = |part: &&str| {
            part.starts_with(|c: char| c.is_ascii_alphanumeric())
                && part.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
                && part.len() <= MAX_REPOSITORY_LEN
                && !part.contains("..")
        };
        if ![organisation, name].iter().all(is_part) {
            return None;
        }
        let is_file = |file: &str| {
            let segments = file.split('/');
            let plain = |segment: &str| !matches!(segment, "" | "." | "..");
            segments.clone().all(plain) && !file.contains('\\') && file.ends_with(".gguf")
        };
        let is_quantisation = |text: &str| {
            !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        };
        if file.is_some_and(|file| !is_file(file) || quantisation.is_some())
            || quantisation.is_some_and(|text| !is_quantisation(text))
        {
            return None;
        }
        Some(Self {
            repository: format!("{organisation}/{name}"),
            file: file.map(str::to_owned),
            quantisation: quantisation.map(str::to_ascii_uppercase),
        })
    }
}

/// No name of the catalogue has a slash or ends so.
fn is_path(name: &str) -> bool {
    name.contains('/') || name.ends_with(".gguf")
}

fn absolute(path: &str) -> Result<PathBuf, Error> {
    std::path::absolute(Path::new(path))
        .map_err(|error| Error::InvalidName { name: shown(path), why: error.to_string() })
}

/// A name as it may appear in a message: short and without control characters.
pub fn shown(name: &str) -> String {
    const MAX_SHOWN: usize = 120;
    let mut shown: String = name.chars().take(MAX_SHOWN).flat_map(char::escape_debug).collect();
    if name.chars().count() > MAX_SHOWN {
        shown.push_str("...");
    }
    shown
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::HuggingFaceName;
    use crate::catalogue::{Source, entries};

    #[test]
    fn every_entry_of_the_catalogue_names_one_file_of_a_repository() {
        for entry in entries() {
            for source in entry.sources() {
                let Source::HuggingFace(name) = source else { continue };
                let name = HuggingFaceName::parse(name).expect(&entry.name);
                assert!(name.file.is_some() != name.quantisation.is_some(), "{}", entry.name);
            }
        }
    }
}
