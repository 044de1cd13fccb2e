//! Which program is meant, by cargo's rules.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use toml::{Table, Value};

use crate::{
    error::Error,
    inputs::path_dependencies,
    workspace::{Package, normalized, read_toml, root_of, strings},
};

/// Which program of a workspace is meant, as cargo's flags of the same names say it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Instead of the nearest manifest; relative to the folder.
    pub manifest_path: Option<PathBuf>,
    /// `NAME`, `NAME@VERSION`, or `path+file:///FOLDER#NAME`.
    pub package: Option<String>,
    pub bin: Option<String>,
    pub example: Option<String>,
}

impl Selection {
    /// The package, the program's name, and whether that is an example.
    pub(crate) fn resolve(&self, folder: &Path) -> Result<(Package, String, bool), Error> {
        let manifest = self.manifest(folder)?;
        let dir = manifest.parent().unwrap_or(folder);
        let packages = self.packages(dir)?;
        let (wanted, is_example) = match (&self.bin, &self.example) {
            (Some(name), _) => (Some(name), false),
            (None, Some(name)) => (Some(name), true),
            (None, None) => (None, false),
        };
        let targets = |package: &Package| {
            if is_example { package.examples.clone() } else { package.binaries.clone() }
        };
        let all: Vec<(&Package, String)> = packages
            .iter()
            .flat_map(|package| targets(package).into_iter().map(move |name| (package, name)))
            .collect();
        let mut candidates = all.clone();
        if let Some(wanted) = wanted {
            candidates.retain(|(_, name)| name == wanted);
        } else {
            let defaults: Vec<_> = packages
                .iter()
                .filter_map(|package| Some((package, package.default_run.clone()?)))
                .collect();
            if let [one] = defaults.as_slice() {
                candidates = vec![one.clone()];
            }
        }
        match candidates.as_slice() {
            [(package, name)] => Ok(((*package).clone(), name.clone(), is_example)),
            [] => Err(match wanted {
                Some(name) => Error::NoTarget {
                    kind: if is_example { "example" } else { "bin" },
                    name: name.clone(),
                    available: all.into_iter().map(|(_, name)| name).collect(),
                },
                None => Error::NothingToRun,
            }),
            several => Err(Error::SeveralTargets {
                names: several.iter().map(|(_, name)| name.clone()).collect(),
            }),
        }
    }

    fn manifest(&self, folder: &Path) -> Result<PathBuf, Error> {
        if let Some(path) = &self.manifest_path {
            let path = normalized(&folder.join(path));
            if path.file_name().is_none_or(|name| name != "Cargo.toml") {
                return Err(Error::NotAManifest { path });
            }
            if !path.is_file() {
                return Err(Error::NoSuchManifest { path });
            }
            return Ok(path);
        }
        let mut above = folder.ancestors().map(|dir| dir.join("Cargo.toml"));
        let found = above.find(|path| path.is_file());
        found.ok_or_else(|| Error::NoManifest { folder: folder.to_owned() })
    }

    /// Those that cargo takes a program from.
    fn packages(&self, dir: &Path) -> Result<Vec<Package>, Error> {
        if let Some(spec) = &self.package {
            let members = members(dir)?;
            let matching = members.into_iter().filter(|member| is_meant(spec, member));
            let matching: Vec<Package> = matching.collect();
            if matching.is_empty() {
                return Err(Error::NoSuchPackage { spec: spec.clone() });
            }
            return Ok(matching);
        }
        let manifest = read_toml(&dir.join("Cargo.toml"))?.unwrap_or_default();
        let workspace = manifest.get("workspace").and_then(Value::as_table);
        let defaults = workspace.and_then(|workspace| workspace.get("default-members"));
        match (defaults, manifest.contains_key("package")) {
            (Some(defaults), _) => {
                let dirs: BTreeSet<PathBuf> =
                    strings(Some(defaults)).flat_map(|pattern| folders(dir, pattern)).collect();
                let members = members(dir)?;
                Ok(members.into_iter().filter(|member| dirs.contains(&member.dir)).collect())
            }
            (None, true) => Ok(vec![Package::open(dir)?]),
            (None, false) => members(dir),
        }
    }
}

/// Every package of the workspace that the manifest in `dir` belongs to, by folder.
pub(crate) fn members(dir: &Path) -> Result<Vec<Package>, Error> {
    let manifest = read_toml(&dir.join("Cargo.toml"))?.unwrap_or_default();
    let (root, _) = root_of(dir, &manifest)?;
    let top = read_toml(&root.join("Cargo.toml"))?.unwrap_or_default();
    let workspace = top.get("workspace").and_then(Value::as_table);
    let list = |key: &str| workspace.and_then(|workspace| workspace.get(key));
    let excluded: Vec<PathBuf> = strings(list("exclude")).map(|path| root.join(path)).collect();
    let mut pending = vec![root.clone(), dir.to_owned()];
    pending.extend(strings(list("members")).flat_map(|pattern| folders(&root, pattern)));
    let listed: BTreeSet<PathBuf> = pending.iter().cloned().collect();
    let (mut seen, mut packages) = (BTreeSet::new(), Vec::new());
    while let Some(dir) = pending.pop() {
        let is_excluded = excluded.iter().any(|excluded| dir.starts_with(excluded));
        if (is_excluded && !listed.contains(&dir)) || !seen.insert(dir.clone()) {
            continue;
        }
        let Some(manifest) = read_toml(&dir.join("Cargo.toml"))? else { continue };
        // What members use by its path, within the root's folder, is a member too.
        let used = used_by(&manifest, &dir);
        pending.extend(used.into_iter().filter(|used| used.starts_with(&root)));
        if let Ok(package) = Package::open(&dir)
            && package.workspace_root == root
        {
            packages.push(package);
        }
    }
    packages.sort_by(|a, b| a.dir.cmp(&b.dir));
    Ok(packages)
}

fn used_by(manifest: &Table, dir: &Path) -> Vec<PathBuf> {
    path_dependencies(manifest).into_iter().map(|path| normalized(&dir.join(path))).collect()
}

/// The folders with a manifest that the pattern of a list of members names.
fn folders(root: &Path, pattern: &str) -> Vec<PathBuf> {
    if !pattern.contains(['*', '?', '[']) {
        return vec![normalized(&root.join(pattern))];
    }
    let base = glob::Pattern::escape(&root.display().to_string());
    let found = glob::glob(&format!("{base}/{pattern}")).into_iter().flatten().flatten();
    found.map(|dir| normalized(&dir)).filter(|dir| dir.join("Cargo.toml").is_file()).collect()
}

fn is_meant(spec: &str, package: &Package) -> bool {
    let named = |text: &str| match text.split_once(['@', ':']) {
        Some((name, version)) => {
            let own = package.version.as_deref().unwrap_or_default();
            name == package.name && (own == version || own.starts_with(&format!("{version}.")))
        }
        None => text == package.name,
    };
    let url = spec.strip_prefix("path+").unwrap_or(spec);
    match url.strip_prefix("file://") {
        Some(url) => {
            let (dir, fragment) = url.split_once('#').unwrap_or((url, ""));
            let by_version = package.version.as_deref() == Some(fragment);
            Path::new(dir) == package.dir && (fragment.is_empty() || by_version || named(fragment))
        }
        None => named(spec),
    }
}
