use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use cargo_metadata::{MetadataCommand, PackageId};

use crate::{
    llama_cpp::{FOLDERS, PACKAGE, READ, Read, UNITS, copy, entries, is_of, lock},
    tasks::setup::output_of,
};

/// How many builds are kept; each takes some 300 MB.
const KEPT: usize = 2;

/// Copies what cargo has made of llama.cpp in `target`, the folder of a profile, into the cache, where
/// that is not there yet.
pub(super) fn keep(root: &Path, target: &Path, cache: &Path) -> anyhow::Result<()> {
    let Some(script) = script_run(target) else { return Ok(()) };
    let name = script.file_name().context("a folder has a name")?;
    let place = cache.join(name);
    if place.exists() {
        return Ok(());
    }
    // Whoever builds there may be about to change it.
    let Some(_lock) = lock(target)? else { return Ok(()) };
    let packages = below(root)?;
    fs::create_dir_all(cache).with_context(|| format!("cannot make `{}`", cache.display()))?;
    let draft = cache.join(format!(".{}", std::process::id()));
    let kept = copy_all(target, &draft, &packages).and_then(|()| {
        let read = Read::by(root, &script)?;
        fs::write(draft.join(READ), serde_json::to_vec(&read)?)?;
        fs::rename(&draft, &place)?;
        Ok(())
    });
    if let Err(error) = kept {
        fs::remove_dir_all(&draft).ok();
        // Another has been faster.
        return if place.exists() { Ok(()) } else { Err(error) };
    }
    eprintln!(
        "rbee: what llama.cpp was compiled to is kept in `{}`, for other checkouts",
        place.display()
    );
    forget_old(cache);
    Ok(())
}

/// Where the build script of llama.cpp has run to its end, the last time.
fn script_run(target: &Path) -> Option<PathBuf> {
    let runs = entries(&target.join("build")).into_iter();
    let runs =
        runs.filter(|path| is_of(path, |name| name == PACKAGE) && path.join("output").is_file());
    runs.max_by_key(|path| fs::metadata(path.join("output")).and_then(|meta| meta.modified()).ok())
}

/// The names of the package and of all that it is compiled from and with.
fn below(root: &Path) -> anyhow::Result<BTreeSet<String>> {
    // Of other systems' packages nothing may have been downloaded.
    let rustc = output_of("rustc", &["-vV"]).context("`rustc -vV` says nothing")?;
    let host = rustc.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.context("`rustc -vV` names no host")?;
    let metadata = MetadataCommand::new()
        .manifest_path(root.join("Cargo.toml"))
        .current_dir(root)
        .other_options(["--locked", "--offline", "--filter-platform", host].map(str::to_owned))
        .exec()
        .context("cargo does not understand the manifests")?;
    let resolve = metadata.resolve.as_ref().context("cargo resolved no dependencies")?;
    let nodes: BTreeMap<&PackageId, _> =
        resolve.nodes.iter().map(|node| (&node.id, node)).collect();
    let first = metadata.packages.iter().find(|package| package.name == PACKAGE);
    let mut left = vec![&first.with_context(|| format!("nothing uses `{PACKAGE}`"))?.id];
    let mut seen = BTreeSet::new();
    while let Some(id) = left.pop() {
        if seen.insert(id) {
            let used = nodes.get(id).map(|node| node.dependencies.iter());
            left.extend(used.into_iter().flatten());
        }
    }
    let packages = metadata.packages.iter().filter(|package| seen.contains(&package.id));
    Ok(packages.map(|package| package.name.replace('_', "-")).collect())
}

fn copy_all(target: &Path, draft: &Path, packages: &BTreeSet<String>) -> anyhow::Result<()> {
    for folder in FOLDERS {
        for path in entries(&target.join(folder)) {
            if is_of(&path, |name| packages.contains(name)) {
                let to = draft.join(UNITS).join(folder).join(path.file_name().unwrap_or_default());
                copy(&path, &to, &mut |_| Ok(()))
                    .with_context(|| format!("cannot copy `{}`", path.display()))?;
            }
        }
    }
    Ok(())
}

/// Leaves the newest few. What cannot be removed stays.
fn forget_old(cache: &Path) {
    let mut all = entries(cache);
    all.sort_by_key(|path| fs::metadata(path).and_then(|meta| meta.modified()).ok());
    for old in all.iter().rev().skip(KEPT) {
        fs::remove_dir_all(old).ok();
    }
}
