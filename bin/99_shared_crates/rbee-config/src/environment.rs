use std::{
    collections::{BTreeMap, btree_map},
    ffi::{OsStr, OsString},
    fmt,
    path::PathBuf,
};

use crate::error::Error;

/// The environment variables that configuration is read from.
///
/// [`Environment::capture`] takes the process's own; tests and tools collect one from pairs.
#[derive(Clone, Default)]
pub struct Environment {
    variables: BTreeMap<OsString, OsString>,
}

impl Environment {
    pub fn capture() -> Self {
        std::env::vars_os().collect()
    }

    /// The value as text; an empty variable counts as one that is not set.
    pub(crate) fn text(&self, name: &str) -> Result<Option<&str>, Error> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let text = value.to_str().ok_or_else(|| Error::NotUnicode { name: name.to_owned() })?;
        Ok(Some(text))
    }

    /// The value as an absolute path.
    ///
    /// A relative one is refused: the daemons that read the same variable run elsewhere.
    pub(crate) fn absolute_path(&self, name: &str) -> Result<Option<PathBuf>, Error> {
        let Some(path) = self.get(name).map(PathBuf::from) else { return Ok(None) };
        if path.is_absolute() {
            Ok(Some(path))
        } else {
            Err(Error::RelativePath { name: name.to_owned(), path })
        }
    }

    /// As [`Self::absolute_path`], but a relative path counts as one that is not set, which is
    /// what the XDG base directory specification asks for.
    pub(crate) fn xdg_path(&self, name: &str) -> Option<PathBuf> {
        self.get(name).map(PathBuf::from).filter(|path| path.is_absolute())
    }

    /// The variables of these names; a `*` at the end of a name stands for any rest.
    pub(crate) fn select(&self, names: &[&str]) -> Self {
        let is_selected = |name: &str| {
            names.iter().any(|pattern| match pattern.strip_suffix('*') {
                Some(prefix) => name.starts_with(prefix),
                None => name == *pattern,
            })
        };
        let variables = self.variables.iter();
        let selected = variables.filter(|(name, _)| name.to_str().is_some_and(is_selected));
        selected.map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.variables.keys().filter_map(|name| name.to_str())
    }

    pub(crate) fn get(&self, name: &str) -> Option<&OsStr> {
        let value = self.variables.get(OsStr::new(name))?;
        (!value.is_empty()).then_some(value)
    }
}

impl<K: Into<OsString>, V: Into<OsString>> FromIterator<(K, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let variables = pairs.into_iter().map(|(name, value)| (name.into(), value.into()));
        Self { variables: variables.collect() }
    }
}

impl IntoIterator for Environment {
    type Item = (OsString, OsString);
    type IntoIter = btree_map::IntoIter<OsString, OsString>;

    fn into_iter(self) -> Self::IntoIter {
        self.variables.into_iter()
    }
}

/// The names only: a value may be a secret.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.variables.keys()).finish()
    }
}
