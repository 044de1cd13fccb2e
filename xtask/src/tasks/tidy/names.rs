use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::tasks::tidy::{Tree, Violation};

/// Folders whose crate has another name.
const NAMED_OTHERWISE: &[(&str, &str)] =
    &[("tests", "chain-tests"), ("xtask/bench", "chain-bench"), ("xtask/dist", "chain-dist")];

pub(super) fn check(tree: &Tree) -> anyhow::Result<Vec<Violation>> {
    let architecture = tree.text("ARCHITECTURE.md")?;
    let mut violations = Vec::new();
    for package in tree.members() {
        let folder = tree.folder(package);
        let expected = crate_name(folder);
        if expected != package.name.as_str() {
            violations.push(Violation::new(
                folder,
                format!("the crate here is named `{}` instead of `{expected}`", package.name),
            ));
        }
        if !architecture.contains(&format!("`{}/`", folder.display())) {
            violations.push(Violation::new(
                "ARCHITECTURE.md",
                format!("there is no row for `{}/`", folder.display()),
            ));
        }
    }
    let members: Vec<_> = tree.members().map(|package| tree.manifest(package)).collect();
    for manifest in crates_below(&tree.root.join("bin")) {
        let manifest = manifest.strip_prefix(&tree.root).unwrap_or(&manifest);
        if !members.contains(&manifest) {
            violations.push(Violation::new(manifest, "this crate is no member of the workspace"));
        }
    }
    Ok(violations)
}

/// `bin/10_queen_rbee` holds `queen-rbee`; folders without a number are named as their crate.
fn crate_name(folder: &Path) -> String {
    if let Some((_, name)) = NAMED_OTHERWISE.iter().find(|(path, _)| Path::new(path) == folder) {
        return (*name).to_owned();
    }
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    match name.split_once('_') {
        Some((number, rest)) if number.bytes().all(|byte| byte.is_ascii_digit()) => {
            rest.replace('_', "-")
        }
        _ => name.into_owned(),
    }
}

/// The manifests of the crates below `folder`; a crate's own folder is not searched for more.
fn crates_below(folder: &Path) -> Vec<PathBuf> {
    let manifest = folder.join("Cargo.toml");
    if manifest.is_file() {
        return vec![manifest];
    }
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let folders = entries.filter_map(Result::ok).map(|entry| entry.path());
    folders.filter(|path| path.is_dir()).flat_map(|path| crates_below(&path)).collect()
}
