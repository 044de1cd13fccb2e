//! Links between documents: to files that are there, and to headings that they have. `docs` has an index of all
//! its pages.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

use crate::tasks::tidy::{Tree, Violation};

/// Folders that hold no document of ours.
const SKIPPED: [&str; 3] = [".git", ".tools", "target"];

/// Names each page beside it.
const INDEX: &str = "docs/README.md";

pub(super) fn check(tree: &Tree) -> anyhow::Result<Vec<Violation>> {
    let mut documents = Vec::new();
    find(&tree.root, &mut documents)?;
    let mut violations = unlisted(&tree.root, &documents)?;
    for document in documents {
        let text = fs::read_to_string(&document)
            .with_context(|| format!("cannot read `{}`", document.display()))?;
        let shown = document.strip_prefix(&tree.root).unwrap_or(&document);
        for (line, target) in links(&text) {
            if let Some(wrong) = broken(&document, &text, &target) {
                violations.push(Violation::at(shown, line, wrong));
            }
        }
    }
    Ok(violations)
}

/// Pages beside the index that it does not lead to.
fn unlisted(root: &Path, documents: &[PathBuf]) -> anyhow::Result<Vec<Violation>> {
    let index = root.join(INDEX);
    if !index.is_file() {
        return Ok(Vec::new());
    }
    let text = fs::read_to_string(&index);
    let text = text.with_context(|| format!("cannot read `{}`", index.display()))?;
    let listed: BTreeSet<PathBuf> = links(&text)
        .into_iter()
        .map(|(_, target)| index.with_file_name(target.split('#').next().unwrap_or_default()))
        .collect();
    let pages = documents.iter().filter(|page| page.parent() == index.parent() && **page != index);
    let missing = pages.filter(|page| !listed.contains(*page));
    let shown = missing.map(|page| page.strip_prefix(root).unwrap_or(page).to_owned());
    Ok(shown.map(|page| Violation::new(page, format!("`{INDEX}` does not lead to it"))).collect())
}

fn find(folder: &Path, documents: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let entries = fs::read_dir(folder);
    for entry in entries.with_context(|| format!("cannot list `{}`", folder.display()))? {
        let entry = entry.with_context(|| format!("cannot list `{}`", folder.display()))?;
        let (path, kind) = (entry.path(), entry.file_type());
        let is_skipped = SKIPPED.iter().any(|name| entry.file_name() == *name);
        match kind {
            Ok(kind) if kind.is_dir() && !is_skipped => find(&path, documents)?,
            Ok(kind) if kind.is_file() && path.extension().is_some_and(|end| end == "md") => {
                documents.push(path);
            }
            _ => {}
        }
    }
    Ok(())
}

/// What is wrong with a link of `document`; `None` of one that leads out of the tree.
fn broken(document: &Path, text: &str, target: &str) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (path, heading) = match target.split_once('#') {
        Some((path, heading)) => (path, Some(heading)),
        None => (target, None),
    };
    let folder = document.parent().unwrap_or_else(|| Path::new(""));
    let there = folder.join(path);
    if !path.is_empty() && !there.exists() {
        return Some(format!("the link `{target}` leads to nothing"));
    }
    let heading = heading?;
    let read = if path.is_empty() { Ok(text.to_owned()) } else { fs::read_to_string(&there) };
    let has = read.is_ok_and(|text| headings(&text).contains(heading));
    (!has).then(|| format!("the link `{target}` leads to a heading that is not there"))
}

/// The targets of a document's links, with their lines; code has none.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut is_fenced = false;
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            is_fenced = !is_fenced;
        } else if !is_fenced {
            let prose = without_code(line);
            for rest in prose.split("](").skip(1) {
                if let Some((target, _)) = rest.split_once(')') {
                    let target = target.split(' ').next().unwrap_or_default();
                    found.push((number + 1, target.to_owned()));
                }
            }
        }
    }
    found
}

/// The line with nothing between single backticks.
fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect()
}

/// What a document's headings are linked by.
fn headings(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut is_fenced = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            is_fenced = !is_fenced;
        } else if !is_fenced && line.starts_with('#') {
            let heading = line.trim_start_matches('#').trim().to_lowercase();
            let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            found.insert(kept.map(|c| if c == ' ' { '-' } else { c }).collect());
        }
    }
    found
}
