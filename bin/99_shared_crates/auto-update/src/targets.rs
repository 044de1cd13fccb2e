//! Which programs a package has, by cargo's rules of where they are looked for.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use toml::{Table, Value};

/// The names of the package's binaries, in order.
pub(crate) fn binaries(dir: &Path, package: &str, manifest: &Table) -> Vec<String> {
    let mut found = found_in(&dir.join("src/bin"));
    let main = dir.join("src/main.rs");
    if main.is_file() {
        found.push((package.to_owned(), main));
    }
    targets(dir, manifest, "bin", "autobins", found)
}

/// The names of the package's examples, in order.
pub(crate) fn examples(dir: &Path, manifest: &Table) -> Vec<String> {
    let found = found_in(&dir.join("examples"));
    targets(dir, manifest, "example", "autoexamples", found)
}

/// What the manifest lists, and what is `found` unless that is listed under some name already or is
/// not to be looked for.
fn targets(
    dir: &Path,
    manifest: &Table,
    kind: &str,
    switch: &str,
    found: Vec<(String, PathBuf)>,
) -> Vec<String> {
    let listed = manifest.get(kind).and_then(Value::as_array);
    let listed: Vec<(&str, Option<PathBuf>)> = listed
        .into_iter()
        .flatten()
        .filter_map(|target| {
            let name = target.get("name")?.as_str()?;
            let named = target.get("path").and_then(Value::as_str).map(|path| dir.join(path));
            let usual = || Some(found.iter().find(|(found, _)| found == name)?.1.clone());
            Some((name, named.or_else(usual)))
        })
        .collect();
    let package = manifest.get("package");
    let switch = package.and_then(|package| package.get(switch)).and_then(Value::as_bool);
    // The first edition looks for nothing where something is listed.
    let edition = package.and_then(|package| package.get("edition"));
    let is_first = edition.is_none_or(|edition| edition.as_str() == Some("2015"));
    let discovers = switch.unwrap_or(listed.is_empty() || !is_first);
    let mut names: BTreeSet<String> = listed.iter().map(|(name, _)| (*name).to_owned()).collect();
    if discovers {
        let is_taken = |path: &PathBuf| listed.iter().any(|(_, at)| at.as_ref() == Some(path));
        let rest = found.iter().filter(|(_, path)| !is_taken(path));
        names.extend(rest.map(|(name, _)| name.clone()));
    }
    names.into_iter().collect()
}

/// Each file `NAME.rs` in the folder, and each folder `NAME` with a `main.rs`.
fn found_in(folder: &Path) -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let target = |entry: fs::DirEntry| {
        let path = entry.path();
        let name = |path: &Path| Some(path.file_stem()?.to_str()?.to_owned());
        if path.extension().is_some_and(|extension| extension == "rs") && path.is_file() {
            return Some((name(&path)?, path));
        }
        let main = path.join("main.rs");
        let name = path.file_name()?.to_str()?.to_owned();
        main.is_file().then_some((name, main))
    };
    entries.filter_map(target).collect()
}
