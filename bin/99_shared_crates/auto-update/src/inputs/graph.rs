use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    path::{Path, PathBuf},
};

use toml::{Table, Value};

use crate::{
    cargo::Metadata,
    receipt::PackageOf,
    workspace::{Package, normalized, read_toml, root_of, strings},
};

/// The manifests that cargo reads for a build, and what they say about each other.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    /// Manifests and the lock file, there or not.
    pub(crate) manifests: BTreeSet<PathBuf>,
    /// Directories whose new entries may become members.
    pub(crate) listed: BTreeSet<PathBuf>,
    /// Files that would take part if they appeared.
    pub(crate) autodiscovered: BTreeSet<PathBuf>,
    /// The local packages that are compiled for the binary.
    pub(crate) packages: Vec<PackageOf>,
}

impl Graph {
    /// Reads the manifests of `package`'s workspace and of the packages in `local_dirs`, and of
    /// whatever these name by path.
    pub(crate) fn read(
        package: &Package,
        local_dirs: &[PathBuf],
        metadata: Option<&Metadata>,
    ) -> Self {
        let mut graph = Self::default();
        let root = &package.workspace_root;
        let root_manifest = root.join("Cargo.toml");
        graph.manifests.insert(root.join("Cargo.lock"));
        let mut tables: BTreeMap<PathBuf, Table> = BTreeMap::new();
        let mut pending: Vec<PathBuf> = vec![root_manifest.clone()];
        pending.extend(local_dirs.iter().map(|dir| dir.join("Cargo.toml")));
        let members = metadata.into_iter().flat_map(|metadata| &metadata.packages);
        pending.extend(members.map(|member| member.manifest_path.clone()));
        while let Some(path) = pending.pop() {
            if !graph.manifests.insert(path.clone()) {
                continue;
            }
            let Ok(Some(table)) = read_toml(&path) else { continue };
            let dir = path.parent().unwrap_or(root).to_owned();
            if !dir.starts_with(root)
                && let Ok((other_root, _)) = root_of(&dir, &table)
            {
                pending.push(other_root.join("Cargo.toml"));
            }
            let by_path = path_dependencies(&table).into_iter();
            pending.extend(by_path.map(|path| normalized(&dir.join(path)).join("Cargo.toml")));
            tables.insert(path, table);
        }
        if let Some(table) = tables.get(&root_manifest) {
            graph.listed = listed_dirs(root, table);
        }
        if !package.is_rooted {
            let above = root.ancestors().skip(1);
            graph.autodiscovered.extend(above.map(|dir| dir.join("Cargo.toml")));
        }
        graph.autodiscovered.insert(package.dir.join("src/lib.rs"));
        graph.autodiscovered.insert(package.dir.join("src/main.rs"));
        graph.autodiscovered.extend(local_dirs.iter().map(|dir| dir.join("build.rs")));
        graph.packages = packages(local_dirs, &tables);
        graph
    }
}

/// The packages in `local_dirs`, the binary's first, with the way from each up to the binary's.
fn packages(local_dirs: &[PathBuf], tables: &BTreeMap<PathBuf, Table>) -> Vec<PackageOf> {
    let table = |dir: &Path| tables.get(&dir.join("Cargo.toml"));
    let name = |dir: &Path| {
        let named = table(dir).and_then(|table| table.get("package")?.get("name")?.as_str());
        let fallback = || dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        named.map_or_else(fallback, str::to_owned)
    };
    let names: Vec<String> = local_dirs.iter().map(|dir| name(dir)).collect();
    let mut user_of: Vec<Option<usize>> = vec![None; names.len()];
    let mut queue = VecDeque::from([0]);
    while let Some(user) = queue.pop_front() {
        let Some(table) = local_dirs.get(user).and_then(|dir| table(dir)) else { continue };
        let used = dependency_names(table);
        for (index, name) in names.iter().enumerate().skip(1) {
            if index != user && user_of[index].is_none() && used.contains(name.as_str()) {
                user_of[index] = Some(user);
                queue.push_back(index);
            }
        }
    }
    let via = |index: usize| {
        let users = std::iter::successors(Some(index), |&at| user_of[at]);
        users.take(names.len()).map(|at| names[at].clone()).collect()
    };
    local_dirs
        .iter()
        .enumerate()
        .map(|(index, dir)| PackageOf { dir: dir.clone(), via: via(index) })
        .collect()
}

/// Every table of dependencies that a build of a binary can use.
fn dependency_tables(manifest: &Table) -> Vec<&Table> {
    let kinds = ["dependencies", "build-dependencies"];
    let by_target = manifest.get("target").and_then(Value::as_table);
    let scopes = std::iter::once(manifest).chain(
        by_target.into_iter().flat_map(|targets| targets.values()).filter_map(Value::as_table),
    );
    scopes.flat_map(|scope| kinds.map(|kind| scope.get(kind)?.as_table())).flatten().collect()
}

/// The names of the packages that a manifest depends on, renamed or not.
fn dependency_names(manifest: &Table) -> BTreeSet<&str> {
    let dependencies = dependency_tables(manifest).into_iter().flatten();
    dependencies
        .map(|(name, value)| value.get("package").and_then(Value::as_str).unwrap_or(name))
        .collect()
}

/// The folders that a manifest names: of dependencies of every kind, and of patches.
pub(crate) fn path_dependencies(manifest: &Table) -> Vec<&str> {
    let mut tables = dependency_tables(manifest);
    tables.extend(manifest.get("dev-dependencies").and_then(Value::as_table));
    let workspace = manifest.get("workspace").and_then(|table| table.get("dependencies"));
    tables.extend(workspace.and_then(Value::as_table));
    let patches = manifest.get("patch").and_then(Value::as_table);
    tables.extend(patches.into_iter().flat_map(|patch| patch.values()).filter_map(Value::as_table));
    let mut paths: Vec<&str> = tables
        .into_iter()
        .flat_map(|table| table.values())
        .filter_map(|value| value.get("path")?.as_str())
        .collect();
    paths.extend(strings(manifest.get("paths")));
    paths
}

/// For each pattern among the members, the directory in which it begins to match.
fn listed_dirs(root: &Path, manifest: &Table) -> BTreeSet<PathBuf> {
    let members = manifest.get("workspace").and_then(|workspace| workspace.get("members"));
    let is_pattern = |part: &str| part.contains(['*', '?', '[']);
    strings(members)
        .filter(|member| is_pattern(member))
        .map(|member| {
            let fixed: PathBuf = member.split('/').take_while(|part| !is_pattern(part)).collect();
            normalized(&root.join(fixed))
        })
        .filter(|dir| dir.is_dir())
        .collect()
}
