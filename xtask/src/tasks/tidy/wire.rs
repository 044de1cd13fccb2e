//! What the wire has once: paths and error codes are written in rbee-api, and used by name elsewhere.

use std::{fs, path::Path};

use anyhow::Context as _;

use crate::tasks::tidy::{
    Tree, Violation,
    rust::{Kind, Token, tokens},
};

/// Where they are written.
const API: &str = "rbee-api";
const CODES: &str = "src/code.rs";

/// Crates that are clients of the whole chain, or of any server: what they ask is what a client asks.
const CLIENTS: &[&str] = &["chain-bench", "chain-tests", "router-client"];

/// How each path begins. In two pieces, so that this file is not what it describes.
const PATH: &str = concat!("/v1", "/");

pub(super) fn check(tree: &Tree) -> anyhow::Result<Vec<Violation>> {
    let Some(api) = tree.members().find(|package| package.name.as_str() == API) else {
        return Ok(Vec::new());
    };
    let codes = tree.root.join(tree.folder(api)).join(CODES);
    let codes = fs::read_to_string(codes).unwrap_or_default();
    // A code stands between its name and its status; and words of English are no codes to be sure of.
    let is_one = |window: &&[Token<'_>]| {
        let [equals, code, comma, status] = window else { return false };
        equals.text == "="
            && code.kind == Kind::Text
            && is_code(code.text)
            && comma.text == ","
            && status.text.parse::<u16>().is_ok()
    };
    let codes: Vec<&str> =
        tokens(&codes).windows(4).filter(is_one).map(|window| window[1].text).collect();
    let mut violations = Vec::new();
    for package in tree.members() {
        if package.name.as_str() != API && !CLIENTS.contains(&package.name.as_str()) {
            walk(tree, &tree.folder(package).join("src"), &codes, &mut violations)?;
        }
    }
    Ok(violations)
}

fn is_code(text: &str) -> bool {
    text.contains('_') && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

fn walk(
    tree: &Tree,
    folder: &Path,
    codes: &[&str],
    violations: &mut Vec<Violation>,
) -> anyhow::Result<()> {
    let Ok(entries) = fs::read_dir(tree.root.join(folder)) else { return Ok(()) };
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot list `{}`", folder.display()))?;
        let path = folder.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            walk(tree, &path, codes, violations)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = tree.text(&path)?;
            for token in tokens(&text).iter().filter(|token| token.kind == Kind::Text) {
                if token.text.starts_with(PATH) {
                    let message = format!("a path of the wire: name it from `{API}`");
                    violations.push(Violation::at(&path, token.line, message));
                } else if codes.contains(&token.text) {
                    let message = format!("an error code: name it from `{API}`");
                    violations.push(Violation::at(&path, token.line, message));
                }
            }
        }
    }
    Ok(())
}
