//! Changes of config.toml that leave its comments and its order as they are.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    process,
};

use anyhow::Context as _;
use rbee_config::HiveEntry;
use toml_edit::{ArrayOfTables, DocumentMut, Item, Table, value};

/// What a file is that was not there before: nobody else's.
const MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;

const HIVE: &str = "hive";

/// The lines that make a hive.
pub(crate) fn hive_lines(hive: &HiveEntry) -> String {
    let mut hives = ArrayOfTables::new();
    hives.push(table(hive));
    let mut document = DocumentMut::new();
    document.insert(HIVE, Item::ArrayOfTables(hives));
    document.to_string()
}

/// Whether the configuration's text names any hive; without one there is one all the same.
pub(crate) fn has_hives(text: &str) -> anyhow::Result<bool> {
    Ok(text.parse::<DocumentMut>()?.contains_key(HIVE))
}

/// Adds hives to the configuration's text, after those that it has.
pub(crate) fn with_hives(text: &str, added: &[HiveEntry]) -> anyhow::Result<String> {
    let mut document: DocumentMut = text.parse()?;
    let hives = document.entry(HIVE).or_insert_with(|| Item::ArrayOfTables(ArrayOfTables::new()));
    match hives {
        Item::ArrayOfTables(hives) => hives.extend(added.iter().map(table)),
        Item::Value(toml_edit::Value::Array(hives)) => {
            hives.extend(added.iter().map(|hive| table(hive).into_inline_table()));
        }
        _ => anyhow::bail!("`hive` is no list of tables"),
    }
    Ok(document.to_string())
}

/// The text without a hive; `None` where it has none of that alias.
pub(crate) fn without_hive(text: &str, alias: &str) -> anyhow::Result<Option<String>> {
    let mut document: DocumentMut = text.parse()?;
    let is_it = |found: Option<&str>| found == Some(alias);
    let found = match document.get_mut(HIVE) {
        Some(Item::ArrayOfTables(hives)) => {
            let before = hives.len();
            hives.retain(|hive| !is_it(hive.get("alias").and_then(Item::as_str)));
            hives.len() < before
        }
        Some(Item::Value(toml_edit::Value::Array(hives))) => {
            let before = hives.len();
            let alias_of = |hive: &toml_edit::Value| {
                let table = hive.as_inline_table()?;
                table.get("alias")?.as_str().map(str::to_owned)
            };
            hives.retain(|hive| !is_it(alias_of(hive).as_deref()));
            hives.len() < before
        }
        _ => false,
    };
    Ok(found.then(|| document.to_string()))
}

/// The file's text; none where there is no file.
pub(crate) fn read(path: &Path) -> anyhow::Result<String> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error).with_context(|| format!("cannot read `{}`", path.display())),
    }
}

/// Puts `text` in the file's place at once: whoever reads it sees the one or the other.
pub(crate) fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    // A link stays one: dotfiles are kept elsewhere.
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    replace(&path, text).with_context(|| format!("cannot write `{}`", path.display()))
}

fn replace(path: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder)?;
    }
    let draft = PathBuf::from(format!("{}.{}", path.display(), process::id()));
    let written = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(MODE)
        .open(&draft)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            if let Ok(metadata) = fs::metadata(path) {
                file.set_permissions(metadata.permissions())?;
            }
            file.sync_all()
        })
        .and_then(|()| fs::rename(&draft, path));
    if written.is_err() {
        fs::remove_file(&draft).ok();
    }
    written
}

fn table(hive: &HiveEntry) -> Table {
    let mut table = Table::new();
    table.insert("alias", value(&hive.alias));
    table.insert("port", value(i64::from(hive.port)));
    table
}

#[cfg(test)]
mod tests {
    use rbee_config::HiveEntry;

    use super::{hive_lines, with_hives, without_hive};

    fn hive(alias: &str, port: u16) -> HiveEntry {
        HiveEntry { alias: alias.into(), host: "localhost".into(), port }
    }

    #[test]
    fn a_hive_is_three_lines() {
        assert_eq!(hive_lines(&hive("a", 8600)), "[[hive]]\nalias = \"a\"\nport = 8600\n");
    }

    #[test]
    fn what_is_added_and_removed_leaves_comments_and_order() {
        let text = "# mine\n[queen]\nport = 1 # odd\n\n# the first\n[[hive]]\nalias = \"a\"\n";
        let added = with_hives(text, &[hive("b", 9)]).unwrap();
        assert_eq!(added, format!("{text}\n[[hive]]\nalias = \"b\"\nport = 9\n"));
        let removed = without_hive(&added, "b").unwrap().unwrap();
        assert_eq!(removed.trim_end(), text.trim_end());
        assert_eq!(without_hive(&added, "c").unwrap(), None);
    }

    #[test]
    fn hives_on_one_line_stay_there() {
        let text = "hive = [{ alias = \"a\" }] # both\n";
        let added = with_hives(text, &[hive("b", 9)]).unwrap();
        assert_eq!(added, "hive = [{ alias = \"a\" }, { alias = \"b\", port = 9 }] # both\n");
        assert_eq!(without_hive(&added, "b").unwrap().unwrap(), text);
    }

    #[test]
    fn an_empty_file_gets_its_first_hive() {
        let added = with_hives("", &[hive("a", 1)]).unwrap();
        assert_eq!(added, "[[hive]]\nalias = \"a\"\nport = 1\n");
    }
}
