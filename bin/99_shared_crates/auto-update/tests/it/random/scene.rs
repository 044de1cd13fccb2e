use std::{fs, path::Path, process::Command};

use auto_update::ArtifactHash;
use tempfile::TempDir;

use crate::world::{World, printed};

/// A small workspace in which every class of input reaches what the binary prints.
pub(crate) struct Scene {
    pub(crate) world: World,
    outside: TempDir,
    /// Cargo's own target directory, in which nobody helps it.
    cargo_target: TempDir,
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
    print!(" {} {}", cfg!(loud), cfg!(debug_assertions));
}
"#;

const SCRIPTED: &str = r#"fn main() {
    println!("cargo::rerun-if-changed=in.txt");
    println!("cargo::rerun-if-changed=dir");
    println!("cargo::rerun-if-env-changed=SPICE");
    let text = std::fs::read_to_string("in.txt").unwrap();
    let count = std::fs::read_dir("dir").unwrap().count();
    let spice = std::env::var("SPICE").unwrap_or("-".into());
    println!("cargo::rustc-env=MADE={}/{count}/{spice}", text.trim());
}
"#;

const SILENT: &str = r#"fn main() {
    let mut all: Vec<String> = std::fs::read_dir("data").unwrap().map(|entry| {
        let path = entry.unwrap().path();
        format!("{}={}", path.file_name().unwrap().to_str().unwrap(), std::fs::read_to_string(&path).unwrap().trim())
    }).collect();
    all.sort();
    println!("cargo::rustc-env=LISTED={}", all.join(","));
}
"#;

impl Scene {
    pub(crate) fn new() -> Self {
        let world = World::empty();
        let outside = tempfile::tempdir().unwrap();
        let scene = Self { world, outside, cargo_target: tempfile::tempdir().unwrap() };
        let world = &scene.world;
        world.write("Cargo.toml", ROOT);
        world.package(
            "app",
            &format!(
                "[dependencies]\nleaf = {{ path = \"../leaf\" }}\nscripted = {{ path = \"../scripted\" }}\n\
                 silent = {{ path = \"../silent\" }}\noutside = {{ path = {:?} }}\n",
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
        scene
    }

    pub(crate) fn outside(&self) -> &Path {
        self.outside.path()
    }

    pub(crate) fn outside_says(&self, word: &str) {
        let path = self.outside.path().join("src/lib.rs");
        fs::write(path, format!("pub const V: &str = {word:?};\n")).unwrap();
    }

    /// What a clean build prints; `None` if there is none.
    pub(crate) fn truth(&self) -> Option<String> {
        let elsewhere = tempfile::tempdir().unwrap();
        self.build_in(elsewhere.path()).1?;
        Some(printed(&elsewhere.path().join("debug/app")))
    }

    /// Cargo by itself, on top of what it built before.
    pub(crate) fn cargo_builds(&self) -> ByCargo {
        let (compiled, built) = self.build_in(self.cargo_target.path());
        let path = self.cargo_target.path().join("debug/app");
        let built = built.and_then(|()| Some((ArtifactHash::of_file(&path).ok()?, printed(&path))));
        let (hash, prints) = built.unzip();
        ByCargo { compiled, hash, prints }
    }

    /// Whether something was compiled, and whether it could be.
    fn build_in(&self, target: &Path) -> (bool, Option<()>) {
        let mut command = Command::new("cargo");
        command.args([
            "build",
            "-p",
            "app",
            "--bin",
            "app",
            "--message-format=json",
            "--target-dir",
        ]);
        command.arg(target).current_dir(self.world.root());
        command.env_clear().envs(self.world.environment.vars());
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        (text.contains("\"fresh\":false"), output.status.success().then_some(()))
    }

    /// The content of everything that a build can see.
    pub(crate) fn digest(&self) -> ArtifactHash {
        let mut all = Vec::new();
        collect(self.world.root(), &mut all);
        collect(self.outside.path(), &mut all);
        all.sort_unstable();
        let mut bytes = format!("{:?}", self.world.environment).into_bytes();
        all.iter().for_each(|part| bytes.extend(part));
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), bytes).unwrap();
        ArtifactHash::of_file(file.path()).unwrap()
    }
}

pub(crate) const ROOT: &str =
    "[workspace]\nmembers = [\"app\", \"leaf\", \"scripted\", \"silent\"]\nresolver = \"3\"\n";

pub(crate) fn leaf(word: &str) -> String {
    format!(
        "mod deep;\npub fn text() -> String {{ format!(\"{word}/{{}}/{{}}/{{}}\", deep::V, cfg!(feature = \"extra\"), env!(\"CARGO_PKG_VERSION\")) }}\n"
    )
}

fn collect(dir: &Path, into: &mut Vec<Vec<u8>>) {
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            if entry.file_name() != "target" {
                collect(&path, into);
            }
            continue;
        }
        let mut part = format!("{path:?}\n").into_bytes();
        part.extend(match kind.is_symlink() {
            true => format!("{:?}", fs::read_link(&path).unwrap()).into_bytes(),
            false => fs::read(&path).unwrap(),
        });
        into.push(part);
    }
}
