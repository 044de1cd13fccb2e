use std::path::{Path, PathBuf};

use crate::{
    environment::BuildEnvironment,
    files::{Files, read},
};

/// Files that include each other are read this deep.
const MAX_DEPTH: usize = 10;

/// The file with a person's own rules: `core.excludesFile` names it, or it lies where git looks.
pub(super) fn excludes_file(
    common: &Path,
    environment: &BuildEnvironment,
    files: &mut Files,
) -> Option<PathBuf> {
    let home = environment.home();
    let xdg = environment.get("XDG_CONFIG_HOME").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let xdg = xdg.or_else(|| Some(home.as_ref()?.join(".config")));
    let variable = |name: &str| environment.get(name).map(PathBuf::from);
    let mut places: Vec<PathBuf> = Vec::new();
    if environment.get("GIT_CONFIG_NOSYSTEM").is_none() {
        places.push(variable("GIT_CONFIG_SYSTEM").unwrap_or_else(|| "/etc/gitconfig".into()));
    }
    match variable("GIT_CONFIG_GLOBAL") {
        Some(place) => places.push(place),
        None => {
            places.extend(xdg.as_ref().map(|dir| dir.join("git/config")));
            places.extend(home.as_ref().map(|dir| dir.join(".gitconfig")));
        }
    }
    places.push(common.join("config"));
    let mut found = None;
    for place in places {
        read_settings(&place, home.as_deref(), files, MAX_DEPTH, &mut found);
    }
    found.or_else(|| Some(xdg?.join("git/ignore")))
}

/// Looks for the setting in `place` and in what that includes; the last one found counts.
fn read_settings(
    place: &Path,
    home: Option<&Path>,
    files: &mut Files,
    depth: usize,
    found: &mut Option<PathBuf>,
) {
    files.decide(place.to_owned());
    let Ok(Some(bytes)) = read(place) else { return };
    let text = String::from_utf8_lossy(&bytes);
    let mut section = String::new();
    for line in text.lines().map(str::trim) {
        let mut rest = line;
        if let Some(header) = line.strip_prefix('[') {
            let Some((name, after)) = header.split_once(']') else { continue };
            section = name.trim().to_ascii_lowercase();
            rest = after.trim();
        }
        let Some((key, value)) = rest.split_once('=') else { continue };
        let Some(path) = path_of(value, place, home) else { continue };
        match (section.as_str(), key.trim().to_ascii_lowercase().as_str()) {
            ("core", "excludesfile") => *found = Some(path),
            ("include", "path") if depth > 0 => {
                read_settings(&path, home, files, depth - 1, found);
            }
            _ => {}
        }
    }
}

fn path_of(value: &str, place: &Path, home: Option<&Path>) -> Option<PathBuf> {
    let value = value.trim();
    let value = match value.strip_prefix('"') {
        Some(quoted) => quoted.split_once('"')?.0,
        None => value.split([';', '#']).next()?.trim_end(),
    };
    match value.strip_prefix("~/") {
        Some(below) => Some(home?.join(below)),
        None if value.is_empty() => None,
        None => Some(place.parent()?.join(value)),
    }
}
