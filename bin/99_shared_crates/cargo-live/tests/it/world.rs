use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use auto_update::BuildEnvironment;
use tempfile::TempDir;

/// A folder of a test's own, and the programs that are run in it.
pub(crate) struct World {
    dir: TempDir,
}

impl World {
    pub(crate) fn empty() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    /// A workspace with the binary `app` in `app`, which uses the library `mid`, which uses `leaf`.
    /// It prints what `leaf::text()` says.
    pub(crate) fn chain() -> Self {
        let world = Self::empty();
        world.write(
            "Cargo.toml",
            "[workspace]\nmembers = [\"app\", \"mid\", \"leaf\"]\nresolver = \"3\"\n",
        );
        world.package("app", "[dependencies]\nmid = { path = \"../mid\" }\n");
        world.write("app/src/main.rs", "fn main() { print!(\"{}\", mid::text()); }\n");
        world.package("mid", "[dependencies]\nleaf = { path = \"../leaf\" }\n");
        world.write("mid/src/lib.rs", "pub fn text() -> String { leaf::text() }\n");
        world.package("leaf", "");
        world.leaf_says("one");
        world
    }

    /// A workspace with one package, `app`, and `main` as its binary's source.
    pub(crate) fn single(main: &str) -> Self {
        let world = Self::empty();
        world.write("Cargo.toml", "[workspace]\nmembers = [\"app\"]\nresolver = \"3\"\n");
        world.package("app", "");
        world.write("app/src/main.rs", main);
        world
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap()
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A manifest with `rest` after the usual beginning.
    pub(crate) fn package(&self, name: &str, rest: &str) {
        let text = format!(
            "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n{rest}"
        );
        self.write(&format!("{name}/Cargo.toml"), &text);
    }

    pub(crate) fn leaf_says(&self, text: &str) {
        self.write(
            "leaf/src/lib.rs",
            &format!("pub fn text() -> String {{ {text:?}.to_owned() }}\n"),
        );
    }

    /// A program in a folder of this world, with nothing of the tests' own surroundings.
    pub(crate) fn command(&self, program: impl AsRef<Path>, folder: &str) -> Command {
        let mut command = Command::new(program.as_ref());
        command.current_dir(self.path(folder)).env_clear();
        let kept = ["PATH", "HOME", "CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN"];
        let environment = BuildEnvironment::capture();
        command.envs(kept.iter().filter_map(|name| Some((name, environment.get(name)?))));
        command
            .env("CARGO_INCREMENTAL", "0")
            .env("CARGO_PROFILE_DEV_DEBUG", "0")
            .env("CARGO_NET_OFFLINE", "true");
        command
    }

    /// `cargo live` in a folder of this world.
    pub(crate) fn live(&self, folder: &str, arguments: &[&str]) -> Output {
        let mut command = self.command(env!("CARGO_BIN_EXE_cargo-live"), folder);
        command.arg("live").args(arguments).output().unwrap()
    }

    /// Builds the binary of `app`.
    #[track_caller]
    pub(crate) fn build(&self) {
        let output = self.live("app", &["build"]);
        assert!(output.status.success(), "{output:?}");
    }
}
