use std::path::{Path, PathBuf};

use crate::Error;

/// Cargo's mark in every target directory.
const TARGET_MARK: &str = ".rustc_info.json";

pub(crate) fn find_in_target(name: &str) -> Result<PathBuf, Error> {
    let exe = std::env::current_exe()
        .map_err(|source| Error::io("locate", Path::new("the running executable"), source))?;
    // One that was removed holds no workspace.
    let cwd = std::env::current_dir().ok();
    locate(name, &exe, cwd.as_deref())
}

/// Decides from where the running executable and the working directory are.
fn locate(name: &str, exe: &Path, cwd: Option<&Path>) -> Result<PathBuf, Error> {
    let mut looked = Vec::new();
    let beside = exe.with_file_name(name);
    if beside.is_file() {
        return Ok(beside);
    }
    looked.push(beside);
    if let Some(target) = exe.ancestors().skip(1).find(|dir| dir.join(TARGET_MARK).is_file()) {
        return Ok(target.join(profile_dir(exe, target)).join(name));
    }
    for start in std::iter::once(exe).chain(cwd) {
        if let Some(root) = start.ancestors().find(|dir| dir.join("Cargo.lock").is_file()) {
            return Ok(root.join("target/debug").join(name));
        }
        looked.push(start.to_owned());
    }
    Err(Error::BinaryNotFound { name: name.to_owned(), looked })
}

/// Whether the running executable was installed: cargo's target directories are for programs under
/// development.
pub(crate) fn is_installed() -> bool {
    let exe = std::env::current_exe().unwrap_or_default();
    !exe.ancestors().any(|dir| dir.join(TARGET_MARK).is_file())
}

/// The folder of the profile that the running executable was built with. An artifact that was
/// copied into a folder of its own in the target directory does not say, and counts as `dev`.
fn profile_dir(exe: &Path, target: &Path) -> PathBuf {
    let within = exe.strip_prefix(target).unwrap_or(exe);
    let mut dir = within.parent().unwrap_or(Path::new("debug"));
    // Tests and examples stand a level below.
    if dir.ends_with("deps") || dir.ends_with("examples") {
        dir = dir.parent().unwrap_or(dir);
    }
    let is_hidden = dir.to_str().is_none_or(|dir| dir.is_empty() || dir.starts_with('.'));
    if is_hidden { "debug".into() } else { dir.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_binary_beside_the_running_one_wins() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("d"), "").unwrap();
        let found = locate("d", &dir.path().join("self"), Some(dir.path())).unwrap();
        assert_eq!(found, dir.path().join("d"));
    }

    #[test]
    fn a_binary_not_built_yet_is_where_cargo_will_put_it() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("target");
        fs::create_dir_all(target.join("release/deps")).unwrap();
        fs::write(target.join(TARGET_MARK), "").unwrap();
        let of = |exe: &str| locate("d", &target.join(exe), None).unwrap();
        assert_eq!(of("release/deps/test-1"), target.join("release/d"));
        assert_eq!(of("release/keeper"), target.join("release/d"));
        assert_eq!(
            of("x86_64-unknown-linux-gnu/debug/k"),
            target.join("x86_64-unknown-linux-gnu/debug/d")
        );
        assert_eq!(of(".store/d/abc/keeper"), target.join("debug/d"));
    }

    #[test]
    fn the_working_directory_is_the_last_resort() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("Cargo.lock"), "").unwrap();
        let found = locate("d", Path::new("/nowhere/k"), Some(&dir.path().join("a"))).unwrap();
        assert_eq!(found, dir.path().join("target/debug/d"));
    }

    #[test]
    fn what_is_not_found_says_where_it_was_looked_for() {
        let error = locate("d", Path::new("/nowhere/k"), Some(Path::new("/nowhere"))).unwrap_err();
        assert!(error.to_string().contains("`/nowhere/d`"), "{error}");
    }
}
