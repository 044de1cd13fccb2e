use anyhow::Context as _;
use cargo_metadata::Package;
use toml::{Table, Value};

use crate::tasks::tidy::{Tree, Violation};

/// Fields of a member's `[package]` that the root says for all.
const INHERITED: &[&str] = &["version", "edition", "rust-version", "license"];

/// What a member may say of a dependency besides that it has it.
const ALLOWED_OF_A_DEPENDENCY: &[&str] = &["workspace", "optional"];

pub(super) fn check(tree: &Tree) -> anyhow::Result<Vec<Violation>> {
    let mut violations = Vec::new();
    for package in tree.members() {
        let path = tree.manifest(package);
        let manifest: Table = tree
            .text(path)?
            .parse()
            .with_context(|| format!("cannot parse `{}`", path.display()))?;
        let mut wrong = Vec::new();
        package_section(&manifest, &mut wrong);
        if !is_inherited(manifest.get("lints")) {
            wrong
                .push("the lints are not the workspace's: write `[lints] workspace = true`".into());
        }
        for section in dependency_sections(&manifest) {
            for (name, value) in section {
                dependency(name, value, &mut wrong);
            }
        }
        features(&manifest, &mut wrong);
        violations.extend(wrong.into_iter().map(|message| Violation::new(path, message)));
        violations.extend(root_file(tree, package)?);
    }
    Ok(violations)
}

fn package_section(manifest: &Table, wrong: &mut Vec<String>) {
    let package = manifest.get("package").and_then(Value::as_table);
    let field = |name: &str| package.and_then(|package| package.get(name));
    for name in INHERITED {
        if !is_inherited(field(name)) {
            wrong.push(format!("`{name}` is not the workspace's: write `{name}.workspace = true`"));
        }
    }
    // Said outright by the few crates that are of use without rbee.
    let is_published = field("publish").and_then(Value::as_bool) == Some(true);
    if !is_inherited(field("publish")) && !is_published {
        wrong.push("`publish` is not the workspace's: write `publish.workspace = true`".into());
    }
    let description = field("description").and_then(Value::as_str).unwrap_or_default();
    if description.trim().is_empty() {
        wrong.push("the crate has no description".into());
    }
}

/// The tables of dependencies of all kinds, those for some targets only included.
fn dependency_sections(manifest: &Table) -> Vec<&Table> {
    const KINDS: &[&str] = &["dependencies", "dev-dependencies", "build-dependencies"];
    let for_targets = manifest.get("target").and_then(Value::as_table);
    let for_targets = for_targets.into_iter().flat_map(Table::values).filter_map(Value::as_table);
    let mut sections = Vec::new();
    for table in for_targets.chain([manifest]) {
        sections.extend(KINDS.iter().filter_map(|kind| table.get(*kind)?.as_table()));
    }
    sections
}

fn dependency(name: &str, value: &Value, wrong: &mut Vec<String>) {
    if !is_inherited(Some(value)) {
        wrong.push(format!(
            "`{name}` does not come from the workspace: write `{name}.workspace = true`, and its \
             version and features into the root manifest"
        ));
        return;
    }
    let keys = value.as_table().into_iter().flat_map(Table::keys);
    for key in keys.filter(|key| !ALLOWED_OF_A_DEPENDENCY.contains(&key.as_str())) {
        wrong.push(format!("`{name}` names `{key}` here: that belongs into the root manifest"));
    }
}

/// A feature of the crate's own must not switch on one of a dependency: that is the root's part.
fn features(manifest: &Table, wrong: &mut Vec<String>) {
    let features = manifest.get("features").and_then(Value::as_table);
    for (name, enabled) in features.into_iter().flatten() {
        let enabled = enabled.as_array().into_iter().flatten().filter_map(Value::as_str);
        for other in enabled.filter(|other| other.contains('/')) {
            wrong.push(format!(
                "the feature `{name}` enables `{other}`: name it in the root manifest"
            ));
        }
    }
}

/// The crate explains itself at its top.
fn root_file(tree: &Tree, package: &Package) -> anyhow::Result<Option<Violation>> {
    let folder = tree.folder(package);
    let candidates = ["src/lib.rs", "src/main.rs"].map(|name| folder.join(name));
    let Some(path) = candidates.into_iter().find(|path| tree.root.join(path).is_file()) else {
        return Ok(Some(Violation::new(folder, "there is neither src/lib.rs nor src/main.rs")));
    };
    let text = tree.text(&path)?;
    let says = text.lines().next().and_then(|line| line.strip_prefix("//!"));
    let explained = says.is_some_and(|says| !says.trim().is_empty());
    let message = "the file does not begin with `//!` and what the crate is for";
    Ok((!explained).then(|| Violation::at(path, 1, message)))
}

/// `x.workspace = true`
fn is_inherited(value: Option<&Value>) -> bool {
    let inherited = value.and_then(Value::as_table).and_then(|table| table.get("workspace"));
    inherited.and_then(Value::as_bool) == Some(true)
}
