use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

/// Where cargo puts what `./rbee` and tests build.
const PROFILE: &str = "debug";

/// Gives the copy's target directory what the original's has of packages from registries.
///
/// Cargo tells those apart by version, features and flags, and not by the workspace, so the copy
/// compiles no llama.cpp of its own.
pub(crate) fn lend(workspace: &Path, original: &Path, copy: &Path) {
    let (original, copy) = (original.join(PROFILE), copy.join(PROFILE));
    // As cargo does while it builds: nothing is half written then.
    let building = fs::File::create(original.join(".cargo-lock"));
    let building = building.expect("the target directory can be written");
    building.lock_shared().expect("the file system has locks");
    let packages = from_registries(workspace);
    // What says that the others are whole comes last.
    for folder in ["deps", "build", ".fingerprint"] {
        for path in entries(&original.join(folder)) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let target = copy.join(folder).join(name.as_ref());
            if package(&name).is_some_and(|name| packages.contains(&name)) && !target.exists() {
                duplicate(&path, &target).expect("the target directory can be written");
            }
        }
    }
}

/// Of `libserde_core-0123.rlib`, `serde_core-0123.d` and the folder `serde-core-0123`: `serde_core`.
fn package(name: &str) -> Option<String> {
    let crate_name = name.rsplit_once('-')?.0;
    let is_library = name.ends_with(".rlib") || name.ends_with(".rmeta") || name.ends_with(".so");
    let crate_name = if is_library { crate_name.strip_prefix("lib")? } else { crate_name };
    Some(crate_name.replace('-', "_"))
}

/// The packages of the lock file that are not the workspace's own.
fn from_registries(workspace: &Path) -> BTreeSet<String> {
    let lock = fs::read_to_string(workspace.join("Cargo.lock")).expect("there is a lock file");
    let packages = lock.split("[[package]]").filter(|package| package.contains("\nsource = "));
    let name =
        |package: &str| Some(package.split_once("name = \"")?.1.split_once('"')?.0.to_owned());
    packages.filter_map(name).map(|name| name.replace('-', "_")).collect()
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

/// Copies a file, or a folder with all that is in it, with the times that cargo goes by.
fn duplicate(from: &Path, to: &Path) -> io::Result<()> {
    let meta = fs::metadata(from)?;
    if meta.is_dir() {
        fs::create_dir_all(to)?;
        return entries(from)
            .iter()
            .try_for_each(|path| duplicate(path, &to.join(path.file_name().unwrap_or_default())));
    }
    fs::create_dir_all(to.parent().unwrap_or(to))?;
    fs::copy(from, to)?;
    let times = fs::FileTimes::new().set_modified(meta.modified()?);
    fs::File::options().write(true).open(to)?.set_times(times)
}
