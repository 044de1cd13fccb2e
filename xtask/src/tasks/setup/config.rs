use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use toml::{Table, Value};

use crate::tasks::setup::{TOOLS, need::Look};

/// Variables whose value is a path, and what stands before it.
const PATHS: &[(&str, &str)] = &[
    ("CMAKE", ""),
    ("CMAKE_MAKE_PROGRAM", ""),
    ("LIBCLANG_PATH", ""),
    ("BINDGEN_EXTRA_CLANG_ARGS", "-I"),
];

fn path(root: &Path) -> PathBuf {
    root.join(TOOLS).join("config.toml")
}

/// Whether the file is there and what it names still exists: it does not after a system's upgrade,
/// or in a copy of the checkout.
pub(super) fn is_valid(root: &Path) -> bool {
    let Ok(text) = fs::read_to_string(path(root)) else { return false };
    let Ok(config) = text.parse::<Table>() else { return false };
    let Some(environment) = config.get("env").and_then(Value::as_table) else { return false };
    PATHS.iter().all(|(name, prefix)| {
        let Some(value) = environment.get(*name).and_then(Value::as_str) else { return true };
        value.strip_prefix(prefix).is_some_and(|path| Path::new(path).exists())
    })
}

/// Writes the file, by rename; one that says the same already is left alone, since cargo and
/// auto-update look at it.
pub(super) fn write(root: &Path, look: &Look) -> anyhow::Result<()> {
    let path = path(root);
    let content = content(look);
    if fs::read_to_string(&path).is_ok_and(|present| present == content) {
        return Ok(());
    }
    let partial = path.with_extension("partial");
    fs::write(&partial, &content)
        .and_then(|()| fs::rename(&partial, &path))
        .with_context(|| format!("cannot write `{}`", path.display()))
}

fn content(look: &Look) -> String {
    let environment = look.found.iter().flat_map(|tool| &tool.environment);
    let lines = environment.map(|(name, value)| {
        // TOML's own way of quoting.
        format!("{name} = {}\n", Value::String(value.clone()))
    });
    format!("# Written by `./rbee setup`.\n[env]\n{}", lines.collect::<String>())
}
