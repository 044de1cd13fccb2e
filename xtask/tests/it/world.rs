use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// A folder for one test: a checkout with the files that it needs, a `PATH` with the programs that
/// it needs, and a home of its own.
pub(crate) struct World {
    folder: tempfile::TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        let world = Self { folder: tempfile::tempdir().unwrap() };
        // What makes a folder a checkout of rbee.
        world.write("Cargo.toml", "");
        world.write("xtask/Cargo.toml", "");
        world.write("bin/10_queen_rbee/Cargo.toml", "");
        // What shell scripts need.
        for name in ["bash", "sh", "env", "cat", "chmod", "cp", "dirname", "ln", "mkdir", "mv"]
            .into_iter()
            .chain(["readlink", "sed", "setsid", "sleep", "tail"])
        {
            world.link(name);
        }
        world
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join("checkout")
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    fn programs(&self) -> PathBuf {
        self.folder.path().join("path")
    }

    /// Writes a file of the checkout.
    pub(crate) fn write(&self, path: impl AsRef<Path>, content: &str) {
        let path = self.folder.path().join("checkout").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub(crate) fn read(&self, path: impl AsRef<Path>) -> String {
        fs::read_to_string(self.root().join(path)).unwrap()
    }

    /// Puts the machine's own program of that name on `PATH`.
    pub(crate) fn link(&self, name: &str) {
        fs::create_dir_all(self.programs()).unwrap();
        let folders = ["/usr/bin", "/bin", "/usr/local/bin"];
        let found = folders.iter().map(|folder| Path::new(folder).join(name));
        let found = found.into_iter().find(|path| path.exists());
        symlink(found.unwrap_or_else(|| panic!("no {name} here")), self.programs().join(name))
            .unwrap();
    }

    /// Puts a shell script on `PATH`, which notes each of its calls in [`Self::calls`] first.
    pub(crate) fn program(&self, name: &str, script: &str) {
        let log = self.folder.path().join("calls");
        let path = self.programs().join(name);
        let text = format!("#!/bin/sh\necho \"{name} $*\" >> '{}'\n{script}\n", log.display());
        executable(&path, &text);
    }

    pub(crate) fn remove_program(&self, name: &str) {
        fs::remove_file(self.programs().join(name)).unwrap();
    }

    /// The calls of the programs so far, a line each.
    pub(crate) fn calls(&self) -> Vec<String> {
        let log = fs::read_to_string(self.folder.path().join("calls")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }

    /// A command that knows nothing of the machine but this world.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", self.programs())
            .env("HOME", self.home())
            .env("RBEE_HOME", self.folder.path().join("rbee"))
            .current_dir(self.folder.path());
        command
    }

    /// xtask as the script starts it, which takes it for fresh.
    pub(crate) fn xtask(&self, args: &[&str]) -> Ended {
        let mut command = self.command(env!("CARGO_BIN_EXE_xtask"));
        command.env("RBEE_SOURCE_ROOT", self.root()).env("RBEE_AUTO_UPDATE_ENABLED", "false");
        Ended::of(command.args(args))
    }
}

/// Writes an executable file.
pub(crate) fn executable(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// How a program ended and what it said.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    pub(crate) fn of(command: &mut Command) -> Self {
        let Output { status, stdout, stderr } = command.output().unwrap();
        Self {
            code: status.code(),
            stdout: String::from_utf8(stdout).unwrap(),
            stderr: String::from_utf8(stderr).unwrap(),
        }
    }

    /// Panics with everything that was said unless it ended with `code`.
    #[track_caller]
    pub(crate) fn with(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}\n{}", self.stdout, self.stderr);
        self
    }

    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "`{text}` is missing in:\n{}", self.stderr);
        self
    }
}
