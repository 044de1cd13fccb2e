use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Command,
};

use anyhow::{Context as _, bail};

use crate::tasks::tidy::{Tree, Violation};

/// The packages that are built one at a time, by whoever starts the binary.
const BUILT_ALONE: &[&str] =
    &["xtask", "rbee-keeper", "queen-rbee", "rbee-hive", "llm-worker-rbee"];

/// What is compared: everything that a build of one package compiles with everything that tests of
/// all compile, and then once more without what runs during the build, since a crate may be there
/// twice, for the build and for the binary, with different features.
const EDGES: &[(&str, &str)] =
    &[("normal,build", "normal,build,dev"), ("normal,no-proc-macro", "normal,dev,no-proc-macro")];

/// Checks that a package built alone gets the same variant of each dependency as in a build of the
/// whole workspace with its tests; feature-pins says why.
pub(super) fn check(tree: &Tree) -> anyhow::Result<Vec<Violation>> {
    let mut violations = BTreeSet::new();
    for (of_one, of_all) in EDGES {
        let all = variants(&tree.root, &["--workspace"], of_all)?;
        for package in tree.members() {
            let name = package.name.as_str();
            if !BUILT_ALONE.contains(&name) {
                continue;
            }
            for (dependency, features) in variants(&tree.root, &["--package", name], of_one)? {
                let Some(wanted) = all.get(&dependency) else { continue };
                if let Some(other) = features.difference(wanted).next() {
                    let wanted: Vec<_> = wanted.iter().map(String::as_str).collect();
                    let message = format!(
                        "`{dependency}` has the features [{other}] in a build of `{name}` alone, \
                         and [{}] in one of the whole workspace: name it in feature-pins",
                        wanted.join("] or [")
                    );
                    violations.insert(Violation::new(tree.manifest(package), message));
                }
            }
        }
    }
    Ok(violations.into_iter().collect())
}

/// The features of each package that the selection compiles: one set of them, or two where build
/// scripts and the binary get different ones.
fn variants(
    root: &Path,
    selection: &[&str],
    edges: &str,
) -> anyhow::Result<BTreeMap<String, BTreeSet<String>>> {
    const SEPARATOR: char = '\t';
    let output = Command::new("cargo")
        .args(["tree", "--locked", "--prefix", "none", "--edges", edges])
        .args(["--format", &format!("{{p}}{SEPARATOR}{{f}}")])
        .args(selection)
        .current_dir(root)
        .output()
        .context("cannot run `cargo tree`")?;
    if !output.status.success() {
        bail!("`cargo tree` failed:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    let text = String::from_utf8(output.stdout).context("`cargo tree` did not write text")?;
    let mut variants: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (package, features) in text.lines().filter_map(|line| line.split_once(SEPARATOR)) {
        // Name and version; what follows is the folder, or that it is a macro.
        let package = package.splitn(3, ' ').take(2).collect::<Vec<_>>().join(" ");
        // The mark of a package whose own dependencies were listed before.
        let features = features.trim_end_matches(" (*)");
        variants.entry(package).or_default().insert(features.to_owned());
    }
    Ok(variants)
}
