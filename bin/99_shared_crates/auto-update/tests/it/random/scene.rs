use std::{
    collections::BTreeMap,
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use auto_update::{ArtifactHash, AutoUpdater};
use tempfile::TempDir;

use crate::world::{World, printed};

/// A small workspace in which every class of input reaches what the binary prints.
pub(crate) struct Scene {
    pub(crate) world: World,
    outside: TempDir,
    /// Where another checkout of the same workspace builds too.
    shared: TempDir,
    /// The workspace is a checkout, so that hidden files count and ignored ones do not.
    pub(crate) in_git: bool,
    earlier: Vec<Tree>,
    /// Cargo's own target directory, in which nobody helps it.
    cargo_target: TempDir,
    pub(crate) release: bool,
    /// What a person's own cargo has built, and nobody but a person may remove.
    pub(crate) programs_of_tests: Vec<PathBuf>,
}

/// The files and links of the workspace, by path.
type Tree = BTreeMap<PathBuf, Node>;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    File(Vec<u8>),
    Link(PathBuf),
}

/// What cargo by itself makes of the workspace.
#[derive(Debug)]
pub(crate) struct ByCargo {
    pub(crate) compiled: bool,
    pub(crate) hash: Option<ArtifactHash>,
    pub(crate) prints: Option<String>,
}

const MAIN: &str = r#"mod m;
fn main() {
    print!("{} {} {} {}", m::V, leaf::text(), scripted::V, silent::V);
    print!(" {} {} {}", outside::V, option_env!("FLAVOUR").unwrap_or("-"), include_str!("../text.txt"));
    print!(" {} {} {}", cfg!(loud), cfg!(debug_assertions), vendored::V);
    print!(" {} {} {}", option_env!("CHOSEN").unwrap_or("-"), cfg!(extra), cfg!(second));
}
"#;

const SCRIPTED: &str = r#"fn main() {
    println!("cargo::rerun-if-changed=in.txt");
    println!("cargo::rerun-if-changed=dir");
    println!("cargo::rerun-if-env-changed=SPICE");
    let text = std::fs::read_to_string("in.txt").unwrap();
    let count = std::fs::read_dir("dir").unwrap().count();
    let spice = std::env::var("SPICE").unwrap_or("-".into());
    let linked = std::fs::read_to_string("dir/linked/x").unwrap_or("-".into());
    println!("cargo::rustc-env=MADE={}/{count}/{spice}/{linked}", text.trim());
}
"#;

const SILENT: &str = r#"fn main() {
    let mut all: Vec<String> = std::fs::read_dir("data").unwrap().map(|entry| {
        let path = entry.unwrap().path();
        format!("{}={}", path.file_name().unwrap().to_str().unwrap(), std::fs::read_to_string(&path).unwrap().trim())
    }).collect();
    all.sort();
    if std::path::Path::new("../.gitignore").exists() {
        all.push(std::fs::read_to_string(".hidden").unwrap());
    }
    println!("cargo::rustc-env=LISTED={}", all.join(","));
}
"#;

impl Scene {
    pub(crate) fn new(in_git: bool) -> Self {
        let world = World::empty();
        let outside = tempfile::tempdir().unwrap();
        let cargo_target = tempfile::tempdir().unwrap();
        let shared = tempfile::tempdir().unwrap();
        let scene = Self {
            world,
            outside,
            shared,
            in_git,
            earlier: Vec::new(),
            cargo_target,
            release: false,
            programs_of_tests: Vec::new(),
        };
        let world = &scene.world;
        world.write("Cargo.toml", ROOT);
        world.package(
            "app",
            &format!(
                "[dependencies]\nleaf = {{ path = \"../leaf\" }}\nscripted = {{ path = \"../scripted\" }}\n\
                 silent = {{ path = \"../silent\" }}\nvendored = \"0.1\"\noutside = {{ path = {:?} }}\n",
                scene.outside.path()
            ),
        );
        world.write("app/src/main.rs", MAIN);
        world.write("app/text.txt", "text0");
        world.write("app/m0.rs", "pub const V: &str = \"m0\";\n");
        world.write("app/m1.rs", "pub const V: &str = \"m1\";\n");
        std::os::unix::fs::symlink("../m0.rs", world.path("app/src/m.rs")).unwrap();
        world.package("leaf", "[features]\nextra = []\n");
        for (dir, word) in [("leaf/src", "one"), ("leaf/other", "two")] {
            world.write(&format!("{dir}/lib.rs"), &leaf(word));
            world.write(&format!("{dir}/deep.rs"), "pub const V: &str = \"d0\";\n");
        }
        world.package("scripted", "");
        world.write("scripted/build.rs", SCRIPTED);
        world.write("scripted/src/lib.rs", "pub const V: &str = env!(\"MADE\");\n");
        world.write("scripted/in.txt", "in0");
        world.write("scripted/dir/a", "");
        world.package("silent", "");
        world.write("silent/build.rs", SILENT);
        world.write("silent/src/lib.rs", "pub const V: &str = env!(\"LISTED\");\n");
        world.write("silent/data/a", "a0");
        let manifest = "[package]\nname = \"outside\"\nversion = \"0.1.0\"\nedition = \"2024\"\n";
        fs::write(scene.outside.path().join("Cargo.toml"), manifest).unwrap();
        fs::create_dir(scene.outside.path().join("src")).unwrap();
        scene.outside_says("o0");
        world.write(".cargo/config.toml", CONFIGURATION);
        world.write("more/README.md", "where members may appear");
        for dir in ["vendor/vendored", "fixed"] {
            world.package(dir, "");
            world.replace(&format!("{dir}/Cargo.toml"), dir, "vendored");
            world.write(&format!("{dir}/src/lib.rs"), &constant("w0"));
        }
        world.write("vendor/vendored/.cargo-checksum.json", "{\"files\":{}}");
        // By its whole path, since it may stand before the usual one.
        world.another_compiler("second/rustc");
        let usual = Command::new("rustup").args(["which", "rustc"]).output().unwrap();
        let usual = String::from_utf8(usual.stdout).unwrap();
        let script =
            world.read("second/rustc").replace("rustc \"$@\"", &format!("{} \"$@\"", usual.trim()));
        world.program(
            "second/rustc",
            &script.replace("rustc --cfg", &format!("{} --cfg", usual.trim())),
        );
        for n in 0..2 {
            world.write(&format!("linked{n}/x"), &format!("l{n}"));
        }
        std::os::unix::fs::symlink("../../linked0", world.path("scripted/dir/linked")).unwrap();
        world.write("silent/.hidden", "h0");
        world.write("homes/a/config.toml", "[build]\nrustflags = [\"--cfg\", \"loud\"]\n");
        world.write("homes/b/.cargo/config.toml", "[env]\nCHOSEN = \"home\"\n");
        if in_git {
            world.write(".gitignore", "target\n*.log\n");
            scene.git(&["init", "-q"]);
            scene.git(&["add", "-A"]);
        }
        scene
    }

    pub(crate) fn outside(&self) -> &Path {
        self.outside.path()
    }

    pub(crate) fn outside_says(&self, word: &str) {
        let path = self.outside.path().join("src/lib.rs");
        fs::write(path, constant(word)).unwrap();
    }

    /// A target directory that lies outside the workspace.
    pub(crate) fn shared_target(&self) -> PathBuf {
        self.shared.path().join("target")
    }

    pub(crate) fn git(&self, arguments: &[&str]) {
        let mut command = Command::new("git");
        command.args(arguments).current_dir(self.world.root());
        assert!(command.output().unwrap().status.success());
    }

    /// Lets plain cargo build another checkout in the target directory that both share.
    pub(crate) fn another_checkout_builds(&self) {
        let elsewhere = tempfile::tempdir().unwrap();
        for (path, node) in self.tree() {
            let Ok(within) = path.strip_prefix(self.world.root()) else { continue };
            let copy = elsewhere.path().join(within);
            fs::create_dir_all(copy.parent().unwrap()).unwrap();
            match node {
                Node::File(bytes) => fs::write(copy, bytes).unwrap(),
                Node::Link(target) => std::os::unix::fs::symlink(target, copy).unwrap(),
            }
        }
        let script = elsewhere.path().join("second/rustc");
        fs::set_permissions(script, Permissions::from_mode(0o755)).unwrap();
        fs::write(elsewhere.path().join("leaf/src/lib.rs"), leaf("foreign")).unwrap();
        let mut command = Command::new("cargo");
        command.args(["build", "-q", "-p", "app"]).current_dir(elsewhere.path());
        command.env_clear().envs(self.world.environment.vars());
        command.env("CARGO_TARGET_DIR", self.shared_target()).output().unwrap();
    }

    /// The binary under the options of the moment.
    pub(crate) fn updater(&self) -> AutoUpdater {
        let updater = self.world.updater();
        if self.release { updater.profile("release") } else { updater }
    }

    /// Cargo's target directory of the moment.
    pub(crate) fn target(&self) -> PathBuf {
        self.updater().target_dir().unwrap()
    }

    /// Cargo, in the workspace and under its environment. What it does may well fail: there may be
    /// an error in the sources.
    pub(crate) fn cargo(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("cargo");
        command.args(arguments).current_dir(self.world.root());
        command.env_clear().envs(self.world.environment.vars()).output().unwrap()
    }

    /// Lets plain cargo compile every test, and keeps in mind which programs those are.
    pub(crate) fn test_by_hand(&mut self) {
        let profile: &[&str] = if self.release { &["--release"] } else { &[] };
        let options = ["test", "-q", "--workspace", "--no-run", "--message-format=json"];
        let output = self.cargo(&[&options, profile].concat());
        let text = String::from_utf8(output.stdout).unwrap();
        let named = text.lines().filter_map(|line| line.split_once("\"executable\":\""));
        let programs = named.filter_map(|(_, rest)| rest.split_once('"'));
        self.programs_of_tests.extend(programs.map(|(path, _)| PathBuf::from(path)));
    }

    /// What a clean build prints; `None` if there is none.
    pub(crate) fn truth(&self) -> Option<String> {
        let elsewhere = tempfile::tempdir().unwrap();
        self.build_in(elsewhere.path()).1?;
        Some(printed(&self.executable_in(elsewhere.path())))
    }

    /// Cargo by itself, on top of what it built before.
    pub(crate) fn cargo_builds(&self) -> ByCargo {
        let (compiled, built) = self.build_in(self.cargo_target.path());
        let path = self.executable_in(self.cargo_target.path());
        let built = built.and_then(|()| Some((ArtifactHash::of_file(&path).ok()?, printed(&path))));
        let (hash, prints) = built.unzip();
        ByCargo { compiled, hash, prints }
    }

    /// Lets cargo by itself begin anew, from what is there now.
    pub(crate) fn cargo_builds_from_nothing(&mut self) -> ByCargo {
        self.cargo_target = tempfile::tempdir().unwrap();
        self.cargo_builds()
    }

    fn executable_in(&self, target: &Path) -> PathBuf {
        target.join(if self.release { "release/app" } else { "debug/app" })
    }

    /// Whether something was compiled, and whether it could be.
    fn build_in(&self, target: &Path) -> (bool, Option<()>) {
        let target = target.to_str().unwrap();
        let mut arguments = vec!["build", "-p", "app", "--bin", "app", "--message-format=json"];
        arguments.extend(["--target-dir", target]);
        arguments.extend(self.release.then_some("--release"));
        let output = self.cargo(&arguments);
        let text = String::from_utf8_lossy(&output.stdout);
        (text.contains("\"fresh\":false"), output.status.success().then_some(()))
    }

    /// Makes the tree what it was at some earlier call, writing only what differs, and tells what
    /// that was. Remembers what it is now.
    pub(crate) fn go_back(&mut self, n: usize, mut on_edit: impl FnMut(PathBuf)) {
        let now = self.tree();
        if let Some(then) = self.earlier.iter().rev().nth(n) {
            for path in now.keys().filter(|path| !then.contains_key(*path)) {
                fs::remove_file(path).unwrap();
                on_edit(path.clone());
                // A folder that is left empty would be one more way for a module to be there.
                let above = path.ancestors().skip(1);
                above
                    .take_while(|dir| fs::remove_dir(dir).is_ok())
                    .for_each(|dir| on_edit(dir.into()));
            }
            for (path, node) in then.iter().filter(|(path, node)| now.get(*path) != Some(node)) {
                let missing = path.ancestors().skip(1).take_while(|dir| !dir.exists());
                missing.for_each(|dir| on_edit(dir.into()));
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::remove_file(path).unwrap_or(());
                match node {
                    Node::File(bytes) => fs::write(path, bytes).unwrap(),
                    Node::Link(target) => std::os::unix::fs::symlink(target, path).unwrap(),
                }
                on_edit(path.clone());
            }
        }
        self.earlier.push(now);
    }

    /// The content of everything that a build can see.
    pub(crate) fn digest(&self) -> ArtifactHash {
        // Where it is built changes nothing about what is built.
        let environment = self.world.environment.clone().unset("CARGO_TARGET_DIR");
        let all = format!("{} {environment:?} {:?}", self.release, self.tree());
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), all).unwrap();
        ArtifactHash::of_file(file.path()).unwrap()
    }

    fn tree(&self) -> Tree {
        let mut tree = Tree::new();
        collect(self.world.root(), &mut tree);
        collect(self.outside.path(), &mut tree);
        tree
    }
}

pub(crate) const ROOT: &str = "[workspace]\nresolver = \"3\"\nmembers = [\"app\", \"leaf\", \"scripted\", \"silent\", \"more/*\"]\nexclude = [\"vendor\", \"fixed\"]\n";

pub(crate) const PATCH: &str = "[patch.crates-io]\nvendored = { path = \"fixed\" }\n";

/// Every configuration has a registry that is a folder, and room for one more file.
pub(crate) const CONFIGURATION: &str = "include = [{ path = \"extra.toml\", optional = true }]\n\
    [source.crates-io]\nreplace-with = \"vendored\"\n[source.vendored]\ndirectory = \"vendor\"\n";

pub(crate) fn constant(word: &str) -> String {
    format!("pub const V: &str = {word:?};\n")
}

pub(crate) fn leaf(word: &str) -> String {
    format!(
        "mod deep;\npub fn text() -> String {{ format!(\"{word}/{{}}/{{}}/{{}}\", deep::V, cfg!(feature = \"extra\"), env!(\"CARGO_PKG_VERSION\")) }}\n"
    )
}

fn collect(dir: &Path, into: &mut Tree) {
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        let kind = entry.file_type().unwrap();
        if !kind.is_dir() {
            let node = if kind.is_symlink() {
                Node::Link(fs::read_link(&path).unwrap())
            } else {
                Node::File(fs::read(&path).unwrap())
            };
            into.insert(path, node);
        } else if entry.file_name() != "target" && entry.file_name() != ".git" {
            collect(&path, into);
        }
    }
}
