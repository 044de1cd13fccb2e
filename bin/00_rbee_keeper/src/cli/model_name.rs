//! The name of a model as it is typed: a hive, which has another working directory, is to understand it.

use std::path::{self, Path};

/// A file or folder that is named from where the person is, by its whole path; every other name as it is.
pub(crate) fn model_name(text: &str) -> Result<String, String> {
    let here = path::absolute(".").map_err(|error| error.to_string())?;
    from(&here, text)
}

fn from(here: &Path, text: &str) -> Result<String, String> {
    // As a hive tells paths from other names.
    let is_path = text.contains('/') || text.ends_with(".gguf");
    let is_other = ["/", "hf:", "http://", "https://", "file:"];
    if !is_path || is_other.iter().any(|begin| text.starts_with(begin)) {
        return Ok(text.to_owned());
    }
    let whole = path::absolute(here.join(text)).map_err(|error| error.to_string())?;
    if whole.exists() {
        return whole
            .canonicalize()
            .map(|path| path.display().to_string())
            .map_err(|error| error.to_string());
    }
    // A name of somebody's own may hold slashes too.
    match text.starts_with('.') || text.ends_with(".gguf") {
        true => Err(format!("there is no file `{}`", whole.display())),
        false => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::from;

    #[test]
    fn what_lies_where_the_person_is_gets_its_whole_path() {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path().canonicalize().unwrap();
        fs::create_dir(here.join("models")).unwrap();
        fs::write(here.join("m.gguf"), "").unwrap();
        let whole = |name: &str| here.join(name).display().to_string();
        for (typed, meant) in [
            ("m.gguf", whole("m.gguf")),
            ("./m.gguf", whole("m.gguf")),
            ("models/../m.gguf", whole("m.gguf")),
            ("./models", whole("models")),
            ("/not/there.gguf", "/not/there.gguf".to_owned()),
            ("smollm2:135m", "smollm2:135m".to_owned()),
            ("mine/writer", "mine/writer".to_owned()),
            ("hf:a/b/c.gguf", "hf:a/b/c.gguf".to_owned()),
            ("https://h/m.gguf", "https://h/m.gguf".to_owned()),
        ] {
            assert_eq!(from(&here, typed), Ok(meant), "{typed}");
        }
        for typed in ["./n.gguf", "n.gguf", "../no-such-folder", "models/n.gguf"] {
            assert!(from(&here, typed).unwrap_err().starts_with("there is no file `"), "{typed}");
        }
    }
}
