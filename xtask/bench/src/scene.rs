use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
};

use anyhow::Context as _;
use auto_update::AutoUpdater;
use tempfile::TempDir;

use crate::programs;

/// Files in one folder, and in one crate.
const IN_A_FOLDER: usize = 20;
const IN_A_CRATE: usize = 1_000;

/// A workspace in a folder of its own, with a binary `app` and the crates that it uses.
#[derive(Debug)]
pub(crate) struct Scene {
    folder: TempDir,
    names: Vec<String>,
    edits: AtomicUsize,
}

impl Scene {
    /// One whose binary is made from about `inputs` files.
    ///
    /// All but a few are included as bytes: the compiler then says that it read them, and is done
    /// with each in microseconds.
    pub(crate) fn of_inputs(inputs: usize) -> anyhow::Result<Self> {
        let names: Vec<_> = (0..inputs.div_ceil(IN_A_CRATE)).map(|n| format!("part{n}")).collect();
        let scene = Self::new(&names)?;
        let mut left = inputs;
        for name in &names {
            let here = left.min(IN_A_CRATE);
            left -= here;
            let mut source = format!("pub const PARTS: [&[u8]; {here}] = [\n");
            for file in 0..here {
                let path = format!("data/{}/{file}", file / IN_A_FOLDER);
                scene.write(&format!("{name}/{path}"), &format!("{name} {file}\n"))?;
                writeln!(source, "    include_bytes!(\"../{path}\"),")?;
            }
            // Read where it is compiled, so that nothing of it reaches the binary.
            source += "];\npub const VALUE: usize = PARTS.len();\n";
            scene.write(&format!("{name}/src/lib.rs"), &source)?;
        }
        Ok(scene)
    }

    /// One with crates that each have so many functions to compile.
    pub(crate) fn of_work(crates: usize, functions: usize) -> anyhow::Result<Self> {
        let names: Vec<_> = (0..crates).map(|n| format!("part{n}")).collect();
        let scene = Self::new(&names)?;
        for name in &names {
            let mut source = "mod edit;\n\npub const VALUE: usize = edit::EDIT;\n\n".to_owned();
            for function in 0..functions {
                writeln!(
                    source,
                    "pub fn f{function}(text: &str) -> Vec<(usize, String)> {{\n    \
                     let mut words: std::collections::BTreeMap<String, usize> = Default::default();\n    \
                     text.split(' ').filter(|w| w.len() != {function}).for_each(|w| {{\n        \
                     *words.entry(w.to_uppercase()).or_default() += {function};\n    }});\n    \
                     words.into_iter().map(|(word, count)| (count, word)).collect()\n}}\n"
                )?;
            }
            scene.write(&format!("{name}/src/lib.rs"), &source)?;
        }
        scene.edit_anew()?;
        Ok(scene)
    }

    /// Changes each of the crates of [`Scene::of_work`] to what it never was.
    pub(crate) fn edit_anew(&self) -> anyhow::Result<()> {
        let edit = self.edits.fetch_add(1, Ordering::Relaxed);
        self.names.iter().try_for_each(|name| {
            let source = format!("pub(crate) const EDIT: usize = {edit};\n");
            self.write(&format!("{name}/src/edit.rs"), &source)
        })
    }

    fn new(names: &[String]) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("cannot create a folder for a workspace")?;
        let scene = Self { folder, names: names.to_owned(), edits: AtomicUsize::new(0) };
        let mut root = "[workspace]\nresolver = \"3\"\nmembers = [\"app\"".to_owned();
        let mut app = package("app") + "\n[dependencies]\n";
        let mut sum = String::new();
        for name in names {
            write!(root, ", \"{name}\"")?;
            writeln!(app, "{name} = {{ path = \"../{name}\" }}")?;
            write!(sum, " + {name}::VALUE")?;
            scene.write(&format!("{name}/Cargo.toml"), &package(name))?;
        }
        scene.write("Cargo.toml", &(root + "]\n"))?;
        scene.write(".gitignore", "/target/\n")?;
        scene.write("app/Cargo.toml", &app)?;
        let main =
            format!("fn main() {{\n    assert_ne!(std::process::id() as usize, 0{sum});\n}}\n");
        scene.write("app/src/main.rs", &main)?;
        Ok(scene)
    }

    pub(crate) fn root(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn updater(&self) -> anyhow::Result<AutoUpdater> {
        let updater = AutoUpdater::new("app", self.root().join("app"))?;
        Ok(updater.environment(programs::environment()))
    }

    /// Makes a repository of it, with everything in one commit.
    pub(crate) fn commit(&self) -> anyhow::Result<()> {
        const NOBODY: [&str; 4] = ["-c", "user.name=bench", "-c", "user.email=bench"];
        let commit = [&NOBODY[..], &["commit", "-q", "-m", "all"]].concat();
        for args in [&["init", "-q"][..], &["add", "-A"], &commit] {
            programs::run(&mut programs::command("git", args, self.root()))?;
        }
        Ok(())
    }

    fn write(&self, path: &str, text: &str) -> anyhow::Result<()> {
        let path: PathBuf = self.root().join(path);
        let written = path.parent().map_or(Ok(()), fs::create_dir_all);
        written
            .and_then(|()| fs::write(&path, text))
            .with_context(|| format!("cannot write `{}`", path.display()))
    }
}

fn package(name: &str) -> String {
    format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n")
}
