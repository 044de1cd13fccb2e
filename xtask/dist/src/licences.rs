//! The licences of everything that is linked into the programs, from the packages themselves.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use cargo_metadata::{DependencyKind, Metadata, Package, PackageId};

/// The packages whose programs are packed.
const PACKED: [&str; 5] =
    ["rbee-keeper", "queen-rbee", "rbee-hive", "llm-worker-rbee", "engine-adapter"];

/// How files that hold a licence begin, in whichever case.
const NAMES: [&str; 5] = ["license", "licence", "copying", "notice", "unlicense"];

/// Deep enough for what packages bring of others.
const DEPTH: usize = 6;

/// Every package with its licence, then every text once.
pub(crate) fn texts(metadata: &Metadata) -> anyhow::Result<String> {
    let mut list = String::from("What rbee's programs are linked with, and its licences.\n\n");
    let mut texts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in linked(metadata)? {
        let called = format!("{} {}", package.name, package.version);
        let files = licence_files(package)?;
        let Some(licence) = &package.license else {
            if files.is_empty() {
                bail!("`{called}` says nothing of its licence");
            }
            writeln!(list, "{called}: see below")?;
            continue;
        };
        let without = if files.is_empty() { " (brings no text of it)" } else { "" };
        writeln!(list, "{called}: {licence}{without}")?;
        let by = package.authors.join(", ");
        if files.is_empty() && !by.is_empty() {
            writeln!(list, "    by {by}")?;
        }
        for (name, text) in files {
            texts.entry(text).or_default().insert(format!("{called}: {name}"));
        }
    }
    for (text, of) in texts {
        writeln!(list, "\n{}", "=".repeat(80))?;
        for one in of {
            writeln!(list, "{one}")?;
        }
        writeln!(list, "{}\n\n{}", "-".repeat(80), text.trim_end())?;
    }
    Ok(list)
}

/// The packages from elsewhere of which there is code in a program: no tests, and nothing that only
/// runs during the build.
fn linked(metadata: &Metadata) -> anyhow::Result<Vec<&Package>> {
    let resolve = metadata.resolve.as_ref().context("cargo resolved no dependencies")?;
    let nodes: HashMap<&PackageId, _> = resolve.nodes.iter().map(|node| (&node.id, node)).collect();
    let packed = |package: &&Package| PACKED.contains(&package.name.as_str());
    let mut left: Vec<&PackageId> = metadata
        .workspace_packages()
        .into_iter()
        .filter(packed)
        .map(|package| &package.id)
        .collect();
    if left.len() != PACKED.len() {
        bail!("not all of {} are members", PACKED.join(", "));
    }
    let mut seen: BTreeSet<&PackageId> = BTreeSet::new();
    while let Some(id) = left.pop() {
        if !seen.insert(id) {
            continue;
        }
        let node = nodes.get(id).with_context(|| format!("cargo did not resolve `{id}`"))?;
        let used = node.deps.iter().filter(|dependency| {
            dependency.dep_kinds.iter().any(|info| info.kind == DependencyKind::Normal)
        });
        left.extend(used.map(|dependency| &dependency.pkg));
    }
    let mut packages: Vec<&Package> = metadata
        .packages
        .iter()
        .filter(|package| package.source.is_some() && seen.contains(&package.id))
        .collect();
    packages.sort_by_key(|package| (package.name.as_str(), &package.version));
    Ok(packages)
}

/// The package's files with a licence, by their paths in it.
fn licence_files(package: &Package) -> anyhow::Result<Vec<(String, String)>> {
    let folder = package.manifest_path.as_std_path().parent().unwrap_or_else(|| Path::new("/"));
    let mut found = Vec::new();
    look(folder, DEPTH, &mut found);
    found.extend(package.license_file().map(|path| path.into_std_path_buf()));
    found.sort();
    found.dedup();
    let read = |path: PathBuf| {
        let bytes = fs::read(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
        let name = path.strip_prefix(folder).unwrap_or(&path).display().to_string();
        Ok((name, String::from_utf8_lossy(&bytes).into_owned()))
    };
    found.into_iter().map(read).collect()
}

fn look(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            if depth > 0 {
                look(&path, depth - 1, found);
            }
        } else if kind.is_file() && is_licence(&path) {
            found.push(path);
        }
    }
}

fn is_licence(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let is_text = match path.extension().and_then(|end| end.to_str()) {
        None => true,
        Some("rs" | "cmake" | "toml" | "py" | "c" | "cpp" | "h" | "hpp") => false,
        Some(_) => true,
    };
    is_text && NAMES.iter().any(|begin| name.starts_with(begin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_linked_is_listed_with_its_texts_and_what_only_builds_is_not() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let texts = texts(&crate::metadata(&root).unwrap()).unwrap();
        for linked in ["\ntokio 1.", "\nllama-cpp-sys-2 0.", "\nclap 4."] {
            assert!(texts.contains(linked), "{linked:?}");
        }
        // Of llama.cpp itself, which is no package of cargo's.
        assert!(texts.contains("llama.cpp/LICENSE\n"));
        for other in ["\nbindgen ", "\ninsta ", "\nrbee-config "] {
            assert!(!texts.contains(other), "{other:?}");
        }
    }
}
