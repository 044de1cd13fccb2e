use std::{
    collections::BTreeMap,
    fs, io,
    ops::Range,
    path::{Path, PathBuf},
};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::{error::Error, nearest::nearest, origin::Origin};

/// The text of the configuration file, which [`Entries`] borrows.
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

impl Source {
    /// A file that does not exist reads as an empty one.
    pub(crate) fn read(path: &Path) -> Result<Self, Error> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(source) => return Err(Error::Read { path: path.to_owned(), source }),
        };
        Ok(Self { path: path.to_owned(), text })
    }

    pub(crate) fn origin(&self, span: Range<usize>) -> Origin {
        Origin::File { path: self.path.clone(), line: self.position(span.start).0 }
    }

    /// Line and column of a byte, both from 1.
    fn position(&self, offset: usize) -> (usize, usize) {
        let before = &self.text.as_bytes()[..offset.min(self.text.len())];
        let line_start = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        (before.iter().filter(|&&byte| byte == b'\n').count() + 1, before.len() - line_start + 1)
    }
}

/// What one key of the file holds.
pub(crate) struct Entry<'a> {
    pub(crate) value: DeValue<'a>,
    /// Of the key.
    pub(crate) span: Range<usize>,
}

/// A table whose name is the user's own.
pub(crate) struct Named<'a> {
    pub(crate) name: String,
    /// Of the name.
    pub(crate) span: Range<usize>,
    pub(crate) table: DeTable<'a>,
}

/// The tables whose tables have names of the user's own, which may hold dots.
const NAMED: [&str; 3] = ["model", "worker.external", "worker.vllm.nodes"];

/// The file as dotted keys; each is taken out by the one who knows it, and what is left over is
/// unknown.
pub(crate) struct Entries<'a> {
    source: &'a Source,
    entries: BTreeMap<String, Entry<'a>>,
    /// Of every table that is none of the user's own names, where that is.
    tables: BTreeMap<String, Range<usize>>,
    named: Vec<(&'static str, Named<'a>)>,
}

impl<'a> Entries<'a> {
    pub(crate) fn parse(source: &'a Source) -> Result<Self, Error> {
        let table = DeTable::parse(&source.text).map_err(|error| {
            let (line, column) = source.position(error.span().map_or(0, |span| span.start));
            let message = error.message().trim_end().replace('\n', ", ");
            Error::Syntax { path: source.path.clone(), line, column, message }
        })?;
        Ok(Self::of_table(source, table.into_inner()))
    }

    pub(crate) fn of_table(source: &'a Source, table: DeTable<'a>) -> Self {
        let (entries, tables) = (BTreeMap::new(), BTreeMap::new());
        let mut file = Self { source, entries, tables, named: Vec::new() };
        file.flatten("", table);
        file
    }

    /// The tables of the user's own names in the table `section`, in the order of their names.
    pub(crate) fn take_named(&mut self, section: &str) -> Vec<Named<'a>> {
        let named = std::mem::take(&mut self.named);
        let (taken, rest): (Vec<_>, Vec<_>) = named.into_iter().partition(|(of, _)| *of == section);
        self.named = rest;
        taken.into_iter().map(|(_, named)| named).collect()
    }

    pub(crate) fn take(&mut self, key: &str) -> Option<Entry<'a>> {
        self.entries.remove(key)
    }

    /// Where the table `name` is, if it is one.
    pub(crate) fn table(&self, name: &str) -> Option<Range<usize>> {
        self.tables.get(name).cloned()
    }

    pub(crate) fn source(&self) -> &'a Source {
        self.source
    }

    /// Refuses what nobody took, the earliest first; `prefix` completes its name in the message.
    pub(crate) fn refuse_rest<'k>(
        &self,
        prefix: &str,
        known: impl IntoIterator<Item = &'k str>,
    ) -> Result<(), Error> {
        let Some((key, entry)) = self.entries.iter().min_by_key(|(_, entry)| entry.span.start)
        else {
            return Ok(());
        };
        let known: Vec<_> = known.into_iter().collect();
        if known.contains(&key.as_str()) {
            return Err(Error::Invalid {
                key: format!("{prefix}{key}"),
                expected: format!("a table, `[{key}]`"),
                found: describe(&entry.value),
                origin: self.source.origin(entry.span.clone()),
            });
        }
        let (key, span, nearest) = match self.unknown_table(key, &known) {
            Some((table, span)) => (table, span, nearest(table, tables_like(table, &known))),
            None => (key.as_str(), &entry.span, nearest(key, known)),
        };
        Err(Error::UnknownKey {
            path: self.source.path.clone(),
            line: self.source.position(span.start).0,
            key: format!("{prefix}{key}"),
            nearest: nearest.map(|name| format!("{prefix}{name}")),
        })
    }

    /// The outermost table around `key` in which there is no known key.
    fn unknown_table<'k>(&self, key: &'k str, known: &[&str]) -> Option<(&'k str, &Range<usize>)> {
        let around = key.match_indices('.').map(|(dot, _)| &key[..dot]);
        let mut tables = around.filter_map(|name| Some((name, self.tables.get(name)?)));
        tables.find(|(table, _)| {
            let is_it = |name: &&str| {
                name.strip_prefix(table)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            };
            !NAMED.iter().chain(known).any(is_it)
        })
    }

    /// Names every leaf of `table`; an empty table has none and means nothing.
    fn flatten(&mut self, prefix: &str, table: DeTable<'a>) {
        for (name, value) in table {
            let span = name.span();
            let key = format!("{prefix}{}", name.get_ref());
            let named = NAMED.into_iter().find(|named| prefix.strip_suffix('.') == Some(named));
            match (named, Spanned::into_inner(value)) {
                (Some(section), DeValue::Table(table)) => {
                    let name = name.get_ref().to_string();
                    self.named.push((section, Named { name, span, table }));
                }
                (None, DeValue::Table(inner)) => {
                    self.tables.insert(key.clone(), span);
                    self.flatten(&format!("{key}."), inner);
                }
                (_, value) => {
                    self.entries.insert(key, Entry { value, span });
                }
            }
        }
    }
}

/// The tables of `known` keys that are as deep as `table`.
fn tables_like<'k>(table: &str, known: &[&'k str]) -> impl Iterator<Item = &'k str> {
    let depth = table.matches('.').count();
    known
        .iter()
        .map(move |name| name.match_indices('.').nth(depth).map_or(*name, |(dot, _)| &name[..dot]))
}

/// Completes "not ..." in a refusal.
pub(crate) fn describe(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("the text \"{text}\""),
        DeValue::Integer(number) => format!("the number {number}"),
        DeValue::Float(number) => format!("the number {number}"),
        DeValue::Boolean(flag) => format!("`{flag}`"),
        DeValue::Datetime(time) => format!("the time {time}"),
        DeValue::Array(_) => "a list".into(),
        DeValue::Table(_) => "a table".into(),
    }
}
