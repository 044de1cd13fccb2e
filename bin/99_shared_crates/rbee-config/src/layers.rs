use std::collections::BTreeSet;

use crate::{
    environment::Environment,
    error::Error,
    file::{Entries, describe},
    origin::Origin,
    setting::Setting,
};

/// One value as `./rbee config` lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigValue {
    /// Such as `auto_update.check_interval`.
    pub key: String,
    pub value: String,
    pub origin: Origin,
}

/// Looks each key up in flag, environment, file and default, in this order, and keeps the list
/// of the keys that were asked for: nothing else is known.
pub(crate) struct Layers<'a> {
    environment: &'a Environment,
    pub(crate) file: Entries<'a>,
    pub(crate) values: Vec<ConfigValue>,
    variables: BTreeSet<String>,
}

impl<'a> Layers<'a> {
    pub(crate) fn new(environment: &'a Environment, file: Entries<'a>) -> Self {
        Self { environment, file, values: Vec::new(), variables: BTreeSet::new() }
    }

    pub(crate) fn get<T: Setting>(&mut self, key: &str, default: T) -> Result<T, Error> {
        self.get_flagged(key, None, None, default)
    }

    /// As [`Self::get`], where another program's variable `alias` counts after rbee's own.
    pub(crate) fn get_aliased<T: Setting>(
        &mut self,
        key: &str,
        alias: &str,
        default: T,
    ) -> Result<T, Error> {
        self.get_flagged(key, None, Some(alias), default)
    }

    /// As [`Self::get`], where a flag of that name was given or not.
    pub(crate) fn get_or_flag<T: Setting>(
        &mut self,
        key: &str,
        (flag, given): (&str, Option<T>),
        default: T,
    ) -> Result<T, Error> {
        self.get_flagged(key, given.map(|value| (flag, value)), None, default)
    }

    /// A value that no key sets, listed with the others.
    pub(crate) fn list(&mut self, key: &str, value: String, origin: Origin) {
        self.values.push(ConfigValue { key: key.to_owned(), value, origin });
    }

    /// Where the value of `key` was set, if it was.
    pub(crate) fn origin(&self, key: &str) -> Option<Origin> {
        let value = self.values.iter().find(|value| value.key == key)?;
        Some(value.origin.clone()).filter(|origin| *origin != Origin::Default)
    }

    /// The variables of rbee's that set nothing.
    pub(crate) fn unknown_variables(&self) -> impl Iterator<Item = &str> {
        self.environment.names().filter(|name| {
            let foreign = !name.starts_with("RBEE_")
                || matches!(*name, "RBEE_HOME" | "RBEE_SOURCE_ROOT")
                // Set by rbee's tests, and by a starter for the daemon that it starts.
                || name.starts_with("RBEE_TEST_")
                || name.starts_with("RBEE_DAEMON");
            !foreign && !self.variables.contains(*name)
        })
    }

    pub(crate) fn known_variables(&self) -> impl Iterator<Item = &str> {
        self.variables.iter().map(String::as_str)
    }

    fn get_flagged<T: Setting>(
        &mut self,
        key: &str,
        flag: Option<(&str, T)>,
        alias: Option<&str>,
        default: T,
    ) -> Result<T, Error> {
        let variable = variable(key);
        // Every layer is read even when a higher one decides: what is wrong is refused always.
        let in_file = self.file.take(key).map(|entry| {
            let origin = self.file.source().origin(entry.span);
            match T::from_toml(&entry.value) {
                Some(value) => Ok((value, origin)),
                None => Err(invalid::<T>(key, describe(&entry.value), origin)),
            }
        });
        let in_file = in_file.transpose()?;
        let of_alias = alias.map(|alias| self.variable(key, alias)).transpose()?.flatten();
        let of_variable = self.variable(key, &variable)?;
        let of_flag = flag.map(|(name, value)| (value, Origin::Flag(name.to_owned())));
        let (value, origin) =
            of_flag.or(of_variable).or(of_alias).or(in_file).unwrap_or((default, Origin::Default));
        self.variables.insert(variable);
        self.list(key, value.show(), origin);
        Ok(value)
    }

    fn variable<T: Setting>(&self, key: &str, name: &str) -> Result<Option<(T, Origin)>, Error> {
        let Some(text) = self.environment.text(name)? else { return Ok(None) };
        let origin = Origin::Environment(name.to_owned());
        match T::from_text(text) {
            Some(value) => Ok(Some((value, origin))),
            None => Err(invalid::<T>(key, format!("`{text}`"), origin)),
        }
    }
}

/// `auto_update.check_interval` is set by `RBEE_AUTO_UPDATE_CHECK_INTERVAL`.
fn variable(key: &str) -> String {
    format!("RBEE_{}", key.replace('.', "_").to_ascii_uppercase())
}

pub(crate) fn invalid<T: Setting>(key: &str, found: String, origin: Origin) -> Error {
    Error::Invalid { key: key.to_owned(), expected: T::expected(), found, origin }
}
