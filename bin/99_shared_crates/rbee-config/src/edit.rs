use std::{
    fs,
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use toml_edit::{ArrayOfTables, DocumentMut, Item, Table, Value, value};

use crate::{Environment, HiveEntry, Overrides, RbeeConfig, error::Error, file::Source};

const HIVE: &str = "hive";

/// The configuration file, for changes of single keys: comments, order and spaces stay as they are.
#[derive(Debug)]
pub struct ConfigFile {
    path: PathBuf,
    environment: Environment,
    document: DocumentMut,
}

impl ConfigFile {
    /// Opens the file that `config` was read from, which need not exist.
    ///
    /// # Errors
    ///
    /// It cannot be read, or is not right as it is.
    pub fn open(config: &RbeeConfig) -> Result<Self, Error> {
        let (path, environment) = (config.paths.config_file.clone(), config.environment.clone());
        let text = Source::read(&path)?.text;
        let mut file = Self { path, environment, document: DocumentMut::new() };
        // What is wrong already is told as such.
        file.check(&text)?;
        file.document = text.parse().expect("it was just read as TOML");
        Ok(file)
    }

    /// Sets `key` in `[model."NAME"]`. `value` is TOML, or else text.
    pub fn set(&mut self, model: &str, key: &str, value: &str) {
        let value = value.parse::<Value>().unwrap_or_else(|_| Value::from(value));
        let table = self.table(model);
        match table.get_mut(key).and_then(Item::as_value_mut) {
            // With what is written around it.
            Some(old) => {
                let decor = old.decor().clone();
                *old = value;
                *old.decor_mut() = decor;
            }
            None => drop(table.insert(key, self::value(value))),
        }
    }

    /// Removes `key` from `[model."NAME"]`; says whether it was there.
    pub fn unset(&mut self, model: &str, key: &str) -> bool {
        let models = self.document.get_mut("model").and_then(Item::as_table_like_mut);
        let table = models.and_then(|models| models.get_mut(model)?.as_table_like_mut());
        table.is_some_and(|table| table.remove(key).is_some())
    }

    /// Removes `[model."NAME"]`; says whether it was there.
    pub fn remove(&mut self, model: &str) -> bool {
        let models = self.document.get_mut("model").and_then(Item::as_table_like_mut);
        models.is_some_and(|models| models.remove(model).is_some())
    }

    /// Makes `to` another name of what `from` is, with what is set for that.
    pub fn copy(&mut self, from: &str, to: &str) {
        let models = self.document.get("model").and_then(Item::as_table_like);
        let settings: Vec<(String, String)> = models
            .and_then(|models| models.get(from)?.as_table_like())
            .into_iter()
            .flat_map(|table| table.iter())
            // Two models cannot have one name.
            .filter(|(key, _)| *key != "aliases")
            .filter_map(|(key, item)| {
                let mut value = item.as_value()?.clone();
                // A comment stays where it is.
                value.decor_mut().clear();
                Some((key.to_owned(), value.to_string()))
            })
            .collect();
        self.set(to, "source", &Value::from(from).to_string());
        for (key, value) in settings {
            self.set(to, &key, &value);
        }
    }

    /// Whether it names any hive; without one there is one all the same.
    pub fn has_hives(&self) -> bool {
        self.document.contains_key(HIVE)
    }

    /// Adds hives after those that it has.
    pub fn add_hives(&mut self, added: &[HiveEntry]) {
        let none = || Item::ArrayOfTables(ArrayOfTables::new());
        match self.document.entry(HIVE).or_insert_with(none) {
            Item::ArrayOfTables(hives) => hives.extend(added.iter().map(hive_table)),
            // On one line.
            hives => {
                let hives = hives.as_array_mut().expect("it was read as a list");
                hives.extend(added.iter().map(|hive| hive_table(hive).into_inline_table()));
            }
        }
    }

    /// Removes the hive of that alias; says whether it was there.
    pub fn remove_hive(&mut self, alias: &str) -> bool {
        let is_it = |found: Option<&str>| found == Some(alias);
        match self.document.get_mut(HIVE) {
            Some(Item::ArrayOfTables(hives)) => {
                let before = hives.len();
                hives.retain(|hive| !is_it(hive.get("alias").and_then(Item::as_str)));
                hives.len() < before
            }
            Some(Item::Value(Value::Array(hives))) => {
                let before = hives.len();
                hives.retain(|hive| {
                    let hive = hive.as_inline_table();
                    !is_it(hive.and_then(|hive| hive.get("alias")?.as_str()))
                });
                hives.len() < before
            }
            _ => false,
        }
    }

    /// Writes the file if every key in it is known and every value right; else it stays as it was.
    ///
    /// # Errors
    ///
    /// As reading the configuration, and that it cannot be written.
    pub fn save(self) -> Result<(), Error> {
        let text = self.document.to_string();
        self.check(&text)?;
        write(&self.path, &text).map_err(|source| Error::Write { path: self.path, source })
    }

    fn check(&self, text: &str) -> Result<(), Error> {
        let read = |path: &Path| Ok(Source { path: path.to_owned(), text: text.to_owned() });
        RbeeConfig::resolve_with(&Overrides::default(), &self.environment, None, read).map(drop)
    }

    fn table(&mut self, model: &str) -> &mut dyn toml_edit::TableLike {
        let models = self.document.entry("model").or_insert_with(|| {
            let mut models = Table::new();
            // Only the tables in it are written.
            models.set_implicit(true);
            Item::Table(models)
        });
        let models = models.as_table_like_mut().expect("it was read as a table");
        let table = models.entry(model).or_insert(Item::Table(Table::new()));
        table.as_table_like_mut().expect("it was read as a table")
    }
}

/// The lines of a configuration file that make a hive.
pub fn hive_lines(hive: &HiveEntry) -> String {
    let mut hives = ArrayOfTables::new();
    hives.push(hive_table(hive));
    let mut document = DocumentMut::new();
    document.insert(HIVE, Item::ArrayOfTables(hives));
    document.to_string()
}

fn hive_table(hive: &HiveEntry) -> Table {
    let mut table = Table::new();
    table.insert("alias", value(&hive.alias));
    match hive.ssh_destination() {
        Some(host) => table.insert("host", value(host)),
        None => table.insert("port", value(i64::from(hive.port))),
    };
    table
}

/// Whole or not at all; what a link leads to is written, and not the link.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    let mode = fs::metadata(&path).map_or(0o600, |metadata| metadata.permissions().mode() & 0o777);
    file.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(&path)?;
    Ok(())
}
