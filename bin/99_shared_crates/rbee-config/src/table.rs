//! A table whose name is the user's: its fields, each taken out by the one who knows it.

use crate::{
    error::Error,
    file::{Entries, Named, describe},
    layers::{Layers, invalid},
    origin::Origin,
    setting::Setting,
};

/// One table whose name is the user's.
pub(crate) struct Table<'l, 'a> {
    layers: &'l mut Layers<'a>,
    section: &'static str,
    pub(crate) name: String,
    pub(crate) origin: Origin,
    entries: Entries<'a>,
    known: Vec<&'static str>,
}

impl<'l, 'a> Table<'l, 'a> {
    pub(crate) fn new(layers: &'l mut Layers<'a>, section: &'static str, named: Named<'a>) -> Self {
        let source = layers.file.source();
        let Named { name, span, table } = named;
        let origin = source.origin(span);
        Self {
            layers,
            section,
            name,
            origin,
            entries: Entries::of_table(source, table),
            known: Vec::new(),
        }
    }

    pub(crate) fn get<T: Setting>(&mut self, field: &'static str, default: T) -> Result<T, Error> {
        self.known.push(field);
        let key = self.key(field);
        let Some(entry) = self.entries.take(field) else { return Ok(default) };
        let origin = self.entries.source().origin(entry.span);
        match T::from_toml(&entry.value) {
            Some(value) => {
                self.layers.list(&key, value.show(), origin);
                Ok(value)
            }
            None => Err(invalid::<T>(&key, describe(&entry.value), origin)),
        }
    }

    /// Refuses fields that nobody asked for; gives the table's name.
    pub(crate) fn end(self) -> Result<String, Error> {
        self.entries.refuse_rest(&self.key(""), self.known)?;
        Ok(self.name)
    }

    /// The fields that somebody has asked for.
    #[cfg(test)]
    pub(crate) fn known(&self) -> &[&'static str] {
        &self.known
    }

    pub(crate) fn key(&self, field: &str) -> String {
        format!("{}.\"{}\".{field}", self.section, self.name)
    }
}
