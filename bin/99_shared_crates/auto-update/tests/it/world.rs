use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::Mutex,
};

use auto_update::{Artifact, AutoUpdater, BuildEnvironment, BuildEvent, Freshness};
use tempfile::TempDir;

/// A workspace in a temporary directory, with the environment that it is built under.
pub(crate) struct World {
    dir: TempDir,
    pub(crate) environment: BuildEnvironment,
}

/// What making sure of the binary did.
#[derive(Debug)]
pub(crate) struct Ensured {
    pub(crate) artifact: Artifact,
    pub(crate) events: Vec<BuildEvent>,
}

impl Ensured {
    /// Cargo compiled something.
    pub(crate) fn compiled(&self) -> bool {
        self.events.iter().any(
            |event| matches!(event, BuildEvent::Line(line) if line.trim_start().starts_with("Compiling")),
        )
    }

    pub(crate) fn is_fresh(&self) -> bool {
        // Cargo may have had to wait for the lock of what all workspaces share.
        let quiet = |event: &BuildEvent| matches!(event, BuildEvent::Line(line) if line.trim_start().starts_with("Blocking"));
        let mut telling = self.events.iter().filter(|event| !quiet(event));
        telling.next() == Some(&BuildEvent::Fresh) && telling.next().is_none()
    }
}

impl World {
    /// A workspace with the binary `app` in `app`, which uses the library `mid`, which uses `leaf`.
    /// It prints what `leaf::text()` says.
    pub(crate) fn chain() -> Self {
        let world = Self::empty();
        world.write("Cargo.toml", WORKSPACE);
        world.package("app", "[dependencies]\nmid = { path = \"../mid\" }\n");
        world.write("app/src/main.rs", "fn main() { print!(\"{}\", mid::text()); }\n");
        world.package("mid", "[dependencies]\nleaf = { path = \"../leaf\" }\n");
        world.write("mid/src/lib.rs", "pub fn text() -> String { leaf::text() }\n");
        world.package("leaf", "");
        world.leaf_says("one");
        world
    }

    /// A package that is its own workspace, with `main` as its binary's source.
    pub(crate) fn single(main: &str) -> Self {
        let world = Self::empty();
        world.write("Cargo.toml", "[workspace]\nmembers = [\"app\"]\nresolver = \"3\"\n");
        world.package("app", "");
        world.write("app/src/main.rs", main);
        world
    }

    pub(crate) fn empty() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let captured = BuildEnvironment::capture();
        let kept = captured
            .travelling()
            .filter(|(name, _)| {
                let name = name.to_str().unwrap();
                ["PATH", "HOME", "CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN"].contains(&name)
            })
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let environment = BuildEnvironment::from_vars(kept)
            .set("CARGO_INCREMENTAL", "0")
            .set("CARGO_PROFILE_DEV_DEBUG", "0")
            .set("CARGO_NET_OFFLINE", "true");
        Self { dir, environment }
    }

    pub(crate) fn root(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root().join(path)
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap()
    }

    pub(crate) fn replace(&self, path: &str, from: &str, to: &str) {
        let text = self.read(path);
        assert!(text.contains(from), "`{path}` does not contain `{from}`");
        self.write(path, &text.replace(from, to));
    }

    pub(crate) fn remove(&self, path: &str) {
        fs::remove_file(self.path(path)).unwrap();
    }

    /// Puts a compiler at `path` that says it is another one than the usual, and compiles with
    /// `cfg(second)`.
    pub(crate) fn another_compiler(&self, path: &str) {
        let script = "#!/bin/sh\ncase \" $* \" in\n*' -vV '*) rustc \"$@\" | sed 's/^commit-hash: .*/commit-hash: 2/' ;;\n\
             *' --crate-name ___ '*) exec rustc \"$@\" ;;\n*) exec rustc --cfg second \"$@\" ;;\nesac\n";
        self.program(path, script);
    }

    /// An executable file.
    pub(crate) fn program(&self, path: &str, script: &str) {
        self.write(path, script);
        fs::set_permissions(self.path(path), Permissions::from_mode(0o755)).unwrap();
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

    /// Gives a file another content under the mtime that it has, as `rsync -t` may.
    pub(crate) fn write_with_old_mtime(&self, path: &str, text: &str) {
        let modified = fs::metadata(self.path(path)).unwrap().modified().unwrap();
        self.write(path, text);
        let file = fs::File::options().write(true).open(self.path(path)).unwrap();
        file.set_modified(modified).unwrap();
    }

    pub(crate) fn touch(&self, path: &str) {
        let file = fs::File::options().write(true).open(self.path(path)).unwrap();
        file.set_modified(std::time::SystemTime::now()).unwrap();
    }

    pub(crate) fn updater(&self) -> AutoUpdater {
        AutoUpdater::new("app", self.path("app")).unwrap().environment(self.environment.clone())
    }

    #[track_caller]
    pub(crate) fn ensure(&self) -> Ensured {
        self.ensure_with(&self.updater())
    }

    #[track_caller]
    pub(crate) fn ensure_with(&self, updater: &AutoUpdater) -> Ensured {
        let events = Mutex::new(Vec::new());
        let result = updater.ensure_built_with(|event| events.lock().unwrap().push(event));
        match result {
            Ok(artifact) => Ensured { artifact, events: events.into_inner().unwrap() },
            Err(error) => panic!("{error}: {:?}", events.into_inner().unwrap()),
        }
    }

    /// Builds what must be built, and says what the binary prints.
    #[track_caller]
    pub(crate) fn prints(&self) -> String {
        printed(&self.ensure().artifact.path)
    }

    /// What is stale and why, as `change kind input` with inputs relative to the workspace.
    #[track_caller]
    pub(crate) fn stale(&self) -> Vec<String> {
        self.stale_with(&self.updater())
    }

    #[track_caller]
    pub(crate) fn stale_with(&self, updater: &AutoUpdater) -> Vec<String> {
        match updater.check().unwrap() {
            Freshness::Fresh(_) => Vec::new(),
            Freshness::Stale(reasons) => {
                let line = |reason: &auto_update::StaleReason| {
                    let input = reason.input.strip_prefix(self.root()).unwrap_or(&reason.input);
                    format!("{:?} {:?} {}", reason.change, reason.kind, input.display())
                };
                let mut lines: Vec<String> = reasons.iter().map(line).collect();
                lines.sort_unstable();
                lines
            }
            Freshness::Unknown(doubt) => vec![format!("Unknown: {doubt}")],
        }
    }

    /// Fails unless the binary is fresh, and stays so without cargo.
    #[track_caller]
    pub(crate) fn assert_fresh(&self) {
        assert_eq!(self.stale(), Vec::<String>::new());
    }

    /// Cargo as a person runs it, in the workspace and under its environment.
    pub(crate) fn cargo(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("cargo");
        command.args(arguments).current_dir(self.root());
        command.env_clear().envs(self.environment.vars());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output
    }

    /// What the binary prints when it is built elsewhere from nothing: the truth.
    pub(crate) fn truth(&self) -> String {
        let elsewhere = tempfile::tempdir().unwrap();
        let target = elsewhere.path().to_str().unwrap();
        self.cargo(&["build", "-q", "-p", "app", "--bin", "app", "--target-dir", target]);
        printed(&elsewhere.path().join("debug/app"))
    }

    /// Fails unless the change before made the binary stale for `reasons`, a build puts that
    /// right, the result is the truth and stays fresh.
    #[track_caller]
    pub(crate) fn assert_stale_then_prints(&self, reasons: &[&str], text: &str) {
        assert_eq!(self.stale(), reasons);
        assert_eq!(self.prints(), text);
        self.assert_fresh();
    }
}

pub(crate) const WORKSPACE: &str =
    "[workspace]\nmembers = [\"app\", \"mid\", \"leaf\"]\nresolver = \"3\"\n";

pub(crate) fn printed(path: &Path) -> String {
    let output = Command::new(path).env_clear().output().unwrap();
    assert!(output.status.success(), "`{}` failed", path.display());
    String::from_utf8(output.stdout).unwrap()
}
