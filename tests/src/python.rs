use std::{fs, path::PathBuf, process::Command};

use crate::checkout::target_dir;

/// A Python with these packages, kept between runs in a folder of that name.
pub fn python_with(name: &str, packages: &[&str]) -> PathBuf {
    let folder = target_dir().join("chain-tests").join(name);
    let (python, ready) = (folder.join("bin/python"), folder.join("ready"));
    if !ready.exists() {
        succeed(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder));
        let pip = ["-m", "pip", "install", "-q"];
        succeed(Command::new(&python).args(pip).args(packages));
        fs::write(ready, "").expect("the target directory can be written");
    }
    python
}

#[track_caller]
fn succeed(command: &mut Command) {
    let output = command.output().expect("Python can be run");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
