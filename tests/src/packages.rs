use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::checkout::target_dir;

/// A Python with these packages, kept between runs in a folder of that name.
pub fn python_with(name: &str, packages: &[&str]) -> PathBuf {
    let folder = kept(name, packages, |folder| {
        succeed(Command::new("python3").args(["-m", "venv", "--clear"]).arg(folder));
        let pip = ["-m", "pip", "install", "-q"];
        succeed(Command::new(folder.join("bin/python")).args(pip).args(packages));
    });
    folder.join("bin/python")
}

/// A folder with these packages of npm, kept between runs under that name. What they would run to
/// install themselves is not run.
pub fn node_with(name: &str, packages: &[&str]) -> PathBuf {
    kept(name, packages, |folder| {
        fs::write(folder.join("package.json"), "{\"private\":true}").expect("it can be written");
        let npm = ["install", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"];
        succeed(Command::new("npm").args(npm).args(packages).current_dir(folder));
    })
}

/// A folder that `make` has made for these packages; one test at a time makes it.
fn kept(name: &str, packages: &[&str], make: impl FnOnce(&Path)) -> PathBuf {
    let folder = target_dir().join("chain-tests").join(name);
    fs::create_dir_all(&folder).expect("the target directory can be written");
    let lock = fs::File::create(folder.with_extension("lock")).expect("it can be written");
    lock.lock().expect("the file system has locks");
    let (ready, wanted) = (folder.join("ready"), packages.join("\n"));
    if !fs::read_to_string(&ready).is_ok_and(|made| made == wanted) {
        fs::remove_dir_all(&folder).expect("the target directory can be written");
        fs::create_dir_all(&folder).expect("the target directory can be written");
        make(&folder);
        fs::write(ready, wanted).expect("the target directory can be written");
    }
    folder
}

#[track_caller]
fn succeed(command: &mut Command) {
    let output = command.output().expect("the program can be run");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
