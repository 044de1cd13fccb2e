use std::{
    collections::HashSet,
    fs::{self, File},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use auto_update::BuildEnvironment;

use super::{
    Random,
    scene::{CONFIGURATION, PATCH, ROOT, Scene, constant, leaf},
};

/// What was edited, to judge the reasons that are given.
#[derive(Debug, Default)]
pub(crate) struct Edited {
    paths: HashSet<PathBuf>,
    /// Something was done to what is built, or to what is recorded of it.
    pub(crate) tampered: bool,
    /// Another variant is asked for, so what is compared with may have been built long ago.
    pub(crate) elsewhere: bool,
    /// A file is gone from a package that counts as a whole. Cargo looks for the newest time in it,
    /// and that is often another file's.
    pub(crate) unlisted: bool,
}

impl Edited {
    fn add(&mut self, path: impl Into<PathBuf>) {
        self.paths.insert(path.into());
    }

    fn change_variant(&mut self) {
        self.elsewhere = true;
        self.tampered = true;
    }

    /// Whether an edit touched `input`, a folder that holds it, or a file in the folder it is.
    pub(crate) fn explains(&self, input: &Path) -> bool {
        let is_output = input.components().any(|part| part.as_os_str() == "target");
        let related = |path: &PathBuf| input.starts_with(path) || path.parent() == Some(input);
        // A link is named by itself, also when it was the file behind it that was edited.
        let real = fs::canonicalize(input).is_ok_and(|real| self.paths.contains(&real));
        // The configuration sets it.
        let set = input == Path::new("CHOSEN")
            && self.paths.iter().any(|path| path.ends_with(".cargo/config.toml"));
        self.elsewhere
            || set
            || self.tampered && is_output
            || real
            || self.paths.iter().any(related)
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Edit {
    Leaf,
    LeafUnderOldTime,
    Deep,
    Broken,
    Text,
    Outside,
    WatchedFile,
    WatchedFileUnderOldTime,
    WatchedFolder,
    PackageFile,
    PackageFileUnderOldTime,
    Variable,
    WatchedVariable,
    Version,
    Feature,
    Comment,
    Profile,
    Configuration,
    IncludedConfiguration,
    Patch,
    Patched,
    Vendored,
    Member,
    LockRemoved,
    Unrelated,
    Touched,
    TimeInTheFuture,
    TimeInThePast,
    FoldersExchanged,
    FilesExchanged,
    LinkRetargeted,
    ModuleMoved,
    BuiltByHand,
    BuiltByHandWithAll,
    TestedByHand,
    EntryCameAndWent,
    OutputRemoved,
    OutputDamaged,
    Cleaned,
    RecordRemoved,
    StoreEmptied,
    TargetDirectory,
    Profiles,
    Compiler,
    HiddenFile,
    IgnoredFile,
    TrackedAnew,
    LinkedContent,
    LinkedFolder,
    LinkToNowhere,
    SearchPath,
    Homes,
    BuiltElsewhere,
    StatesBelowTarget,
    /// The whole tree as it was some time ago, as a switch of branches brings it.
    WentBack,
}

impl Edit {
    const ALL: [Self; 58] = [
        Self::Leaf,
        Self::LeafUnderOldTime,
        Self::Deep,
        Self::Broken,
        Self::Text,
        Self::Outside,
        Self::WatchedFile,
        Self::WatchedFileUnderOldTime,
        Self::WatchedFolder,
        Self::PackageFile,
        Self::PackageFileUnderOldTime,
        Self::Variable,
        Self::WatchedVariable,
        Self::Version,
        Self::Feature,
        Self::Comment,
        Self::Profile,
        Self::Configuration,
        Self::IncludedConfiguration,
        Self::Patch,
        Self::Patched,
        Self::Vendored,
        Self::Member,
        Self::LockRemoved,
        Self::Unrelated,
        Self::Touched,
        Self::TimeInTheFuture,
        Self::TimeInThePast,
        Self::FoldersExchanged,
        Self::FilesExchanged,
        Self::LinkRetargeted,
        Self::ModuleMoved,
        Self::BuiltByHand,
        Self::BuiltByHandWithAll,
        Self::TestedByHand,
        Self::EntryCameAndWent,
        Self::OutputRemoved,
        Self::OutputDamaged,
        Self::Cleaned,
        Self::RecordRemoved,
        Self::StoreEmptied,
        Self::TargetDirectory,
        Self::Profiles,
        Self::Compiler,
        Self::HiddenFile,
        Self::IgnoredFile,
        Self::TrackedAnew,
        Self::LinkedContent,
        Self::LinkedFolder,
        Self::LinkToNowhere,
        Self::SearchPath,
        Self::Homes,
        Self::BuiltElsewhere,
        Self::StatesBelowTarget,
        Self::WentBack,
        Self::WentBack,
        Self::WentBack,
        Self::WentBack,
    ];

    pub(crate) fn any(random: &mut Random) -> Self {
        Self::ALL[random.below(Self::ALL.len())]
    }

    /// Does it. Values are taken from few, so that a workspace comes back to where it was.
    pub(crate) fn make(self, scene: &mut Scene, random: &mut Random, edited: &mut Edited) {
        let n = random.below(3);
        let world = &scene.world;
        let mut write = |path: &str, text: &str| {
            world.write(path, text);
            edited.add(world.path(path));
        };
        match self {
            Self::Leaf => write("leaf/src/lib.rs", &leaf(["one", "two", "six"][n])),
            Self::LeafUnderOldTime => {
                world.write_with_old_mtime("leaf/src/lib.rs", &leaf(["one", "two", "six"][n]));
                edited.add(world.path("leaf/src/lib.rs"));
            }
            Self::Deep => {
                let nested = world.path("leaf/src/deep/mod.rs").exists();
                let path = if nested { "leaf/src/deep/mod.rs" } else { "leaf/src/deep.rs" };
                write(path, &format!("pub const V: &str = \"d{n}\";\n"));
            }
            // Rare enough that most steps have a truth: the next edit of the file mends it.
            Self::Broken if n == 0 && random.below(2) == 0 => {
                write("leaf/src/lib.rs", "mod deep; pub fn text() -> String { 5 }\n");
            }
            Self::Broken => write("leaf/src/lib.rs", &leaf("one")),
            Self::Text => write("app/text.txt", &format!("text{n}")),
            Self::Outside => {
                scene.outside_says(&format!("o{n}"));
                edited.add(scene.outside().join("src/lib.rs"));
            }
            Self::WatchedFile => write("scripted/in.txt", &format!("in{n}")),
            Self::WatchedFileUnderOldTime => {
                world.write_with_old_mtime("scripted/in.txt", &format!("in{n}"));
                edited.add(world.path("scripted/in.txt"));
            }
            Self::WatchedFolder => toggle(scene, &format!("scripted/dir/f{n}"), "", edited),
            Self::PackageFile => toggle(scene, &format!("silent/data/f{n}"), "x", edited),
            Self::PackageFileUnderOldTime => {
                world.write_with_old_mtime("silent/data/a", &format!("a{n}"));
                edited.add(world.path("silent/data/a"));
            }
            Self::Variable | Self::WatchedVariable => {
                let name = if matches!(self, Self::Variable) { "FLAVOUR" } else { "SPICE" };
                let before = scene.world.environment.clone();
                scene.world.environment = match n {
                    0 => before.unset(name),
                    n => before.set(name, format!("v{n}")),
                };
                edited.add(name);
            }
            Self::Version => {
                let text = world.read("leaf/Cargo.toml");
                let version = text.lines().find(|line| line.starts_with("version")).unwrap();
                write("leaf/Cargo.toml", &text.replace(version, &format!("version = \"0.{n}.0\"")));
                edited.add(world.path("Cargo.lock"));
            }
            Self::Feature => {
                let text = world.read("app/Cargo.toml");
                let plain = "leaf = { path = \"../leaf\" }";
                let extra = "leaf = { path = \"../leaf\", features = [\"extra\"] }";
                let text = if text.contains(plain) {
                    text.replace(plain, extra)
                } else {
                    text.replace(extra, plain)
                };
                write("app/Cargo.toml", &text);
            }
            Self::Comment => {
                let path = ["leaf/Cargo.toml", "app/Cargo.toml", "silent/Cargo.toml"][n];
                let text = world.read(path);
                let plain = text.replace("# comment\n", "");
                write(path, &if plain == text { text + "# comment\n" } else { plain });
            }
            Self::Profile => {
                let patched = world.read("Cargo.toml").contains(PATCH);
                let profile = [
                    "",
                    "[profile.dev]\ndebug-assertions = false\n",
                    "[profile.release]\ndebug-assertions = true\n",
                ][n];
                write("Cargo.toml", &[ROOT, profile, if patched { PATCH } else { "" }].concat());
            }
            Self::Patch => {
                let text = world.read("Cargo.toml");
                let plain = text.replace(PATCH, "");
                write("Cargo.toml", &if plain == text { text + PATCH } else { plain });
                edited.add(world.path("Cargo.lock"));
            }
            Self::Patched => write("fixed/src/lib.rs", &constant(&format!("f{n}"))),
            Self::Vendored => write("vendor/vendored/src/lib.rs", &constant(&format!("w{n}"))),
            Self::Member => {
                if world.path("more/spare").exists() {
                    fs::remove_dir_all(world.path("more/spare")).unwrap();
                } else {
                    world.package("more/spare", "");
                    world.replace("more/spare/Cargo.toml", "more/spare", "spare");
                    world.write("more/spare/src/lib.rs", "");
                }
                edited.add(world.path("more/spare"));
                edited.add(world.path("Cargo.lock"));
            }
            Self::Configuration => {
                let text = [
                    "[env]\nCHOSEN = \"c0\"\n",
                    "[alias]\nb = \"build\"\n",
                    "[build]\nrustflags = [\"--cfg\", \"loud\"]\n",
                ][n];
                write(".cargo/config.toml", &(CONFIGURATION.to_owned() + text));
            }
            Self::IncludedConfiguration => {
                let text = "[build]\nrustflags = [\"--cfg\", \"extra\"]\n";
                toggle(scene, ".cargo/extra.toml", text, edited);
            }
            Self::LockRemoved => {
                if world.path("Cargo.lock").exists() {
                    world.remove("Cargo.lock");
                }
                edited.add(world.path("Cargo.lock"));
            }
            Self::Unrelated => {
                let path = ["leaf/README.md", "leaf/src/unused.rs", "app/tests/t.rs"][n];
                world.write(path, "nothing that is read");
            }
            Self::Touched | Self::TimeInTheFuture | Self::TimeInThePast => {
                let path = ["app/src/main.rs", "leaf/src/lib.rs", "scripted/in.txt"][n];
                let now = SystemTime::now();
                let time = match self {
                    Self::TimeInTheFuture => now + Duration::from_secs(2),
                    Self::TimeInThePast => now - Duration::from_secs(3600),
                    _ => now,
                };
                let file = File::options().write(true).open(world.path(path)).unwrap();
                file.set_modified(time).unwrap();
            }
            Self::FoldersExchanged => {
                exchange(&world.path("leaf/src"), &world.path("leaf/other"));
                edited.add(world.path("leaf/src"));
            }
            Self::FilesExchanged => {
                exchange(&world.path("app/m0.rs"), &world.path("app/m1.rs"));
                edited.add(world.path("app/src/m.rs"));
            }
            Self::LinkRetargeted => {
                world.remove("app/src/m.rs");
                symlink(["../m0.rs", "../m1.rs", "../m0.rs"][n], world.path("app/src/m.rs"))
                    .unwrap();
                edited.add(world.path("app/src/m.rs"));
            }
            Self::ModuleMoved => {
                let (flat, nested) =
                    (world.path("leaf/src/deep.rs"), world.path("leaf/src/deep/mod.rs"));
                if flat.exists() {
                    fs::create_dir_all(nested.parent().unwrap()).unwrap();
                    fs::rename(&flat, &nested).unwrap();
                } else {
                    fs::rename(&nested, &flat).unwrap();
                    fs::remove_dir(nested.parent().unwrap()).unwrap();
                }
                edited.add(flat);
                edited.add(nested);
            }
            Self::BuiltByHand | Self::BuiltByHandWithAll => {
                let all = matches!(self, Self::BuiltByHandWithAll);
                let scope: &[&str] = if all { &["--workspace"] } else { &["-p", "app"] };
                scene.cargo(&[&["build", "-q"], scope].concat());
                edited.add(world.path("Cargo.lock"));
                edited.tampered = true;
            }
            Self::TestedByHand => {
                edited.add(world.path("Cargo.lock"));
                edited.tampered = true;
                scene.test_by_hand();
            }
            Self::EntryCameAndWent => {
                let path = world.path(["notes", "leaf/src/.lib.rs.swp", "app/.m0.rs"][n]);
                fs::write(&path, "").unwrap();
                fs::remove_file(&path).unwrap();
            }
            Self::OutputRemoved => {
                fs::remove_file(scene.updater().target_path().unwrap()).unwrap_or(());
                edited.tampered = true;
            }
            Self::OutputDamaged => {
                let path = scene.updater().target_path().unwrap();
                if let Ok(mut bytes) = fs::read(&path) {
                    let middle = bytes.len() / 2;
                    bytes[middle] ^= 1;
                    fs::write(&path, bytes).unwrap();
                }
                edited.tampered = true;
            }
            Self::Cleaned => {
                scene.programs_of_tests.clear();
                scene.cargo(&["clean", "-q", "-p", ["leaf", "app", "silent"][n]]);
                edited.add(world.path("Cargo.lock"));
                edited.tampered = true;
            }
            Self::RecordRemoved => {
                let receipts = fs::read_dir(scene.target().join(".auto-update/receipts"));
                for dir in receipts.into_iter().flatten() {
                    fs::remove_file(dir.unwrap().path().join("current")).unwrap_or(());
                }
                edited.tampered = true;
            }
            Self::StoreEmptied => {
                fs::remove_dir_all(scene.target().join(".auto-update/store")).unwrap_or(());
                edited.tampered = true;
            }
            Self::TargetDirectory => {
                let before = world.environment.clone();
                scene.world.environment = match before.get("CARGO_TARGET_DIR") {
                    Some(_) => before.unset("CARGO_TARGET_DIR"),
                    None => before.set("CARGO_TARGET_DIR", scene.shared_target()),
                };
                edited.change_variant();
            }
            Self::Profiles => {
                scene.release = !scene.release;
                edited.change_variant();
            }
            Self::Compiler => {
                let before = world.environment.clone();
                scene.world.environment = match before.get("RUSTC") {
                    Some(_) => before.unset("RUSTC"),
                    None => before.set("RUSTC", world.path("second/rustc")),
                };
                edited.add("RUSTC");
            }
            Self::HiddenFile => write("silent/.hidden", &format!("h{n}")),
            Self::IgnoredFile => {
                edited.unlisted |= !scene.in_git && world.path("silent/run.log").exists();
                toggle(scene, "silent/run.log", "", edited);
            }
            Self::TrackedAnew if scene.in_git => {
                scene.git(&["add", "-A"]);
                edited.add(world.path(".git"));
            }
            Self::TrackedAnew => {}
            Self::LinkedContent => write(&format!("linked{}/x", n % 2), &format!("l{n}")),
            Self::LinkedFolder => {
                world.remove("scripted/dir/linked");
                let target = ["../../linked0", "../../linked1", "../../nowhere"][n];
                symlink(target, world.path("scripted/dir/linked")).unwrap();
                edited.add(world.path("scripted/dir/linked"));
            }
            Self::LinkToNowhere => {
                let path = world.path("silent/nowhere");
                if fs::remove_file(&path).is_err() {
                    symlink("../nowhere", &path).unwrap();
                }
                edited.add(path);
                // It has no time, so cargo does not see it come or go.
                edited.tampered = true;
            }
            Self::SearchPath => {
                let before = world.environment.clone();
                let path = before.get("PATH").unwrap().to_owned();
                let second = world.path("second").into_os_string();
                let parts: Vec<PathBuf> = std::env::split_paths(&path).collect();
                let parts = match parts.split_first() {
                    Some((first, rest)) if *first.as_os_str() == *second => rest.to_vec(),
                    _ => [&[second.into()], parts.as_slice()].concat(),
                };
                let path = std::env::join_paths(parts).unwrap();
                scene.world.environment = before.set("PATH", path);
                edited.change_variant();
            }
            Self::Homes => {
                let usual = BuildEnvironment::capture();
                let user = usual.get("HOME").unwrap().to_owned();
                let of_user = |name: &str| Path::new(&user).join(name).into_os_string();
                let rustup =
                    usual.get("RUSTUP_HOME").map_or_else(|| of_user(".rustup"), ToOwned::to_owned);
                let cargo =
                    usual.get("CARGO_HOME").map_or_else(|| of_user(".cargo"), ToOwned::to_owned);
                let before = world.environment.clone().set("RUSTUP_HOME", rustup).set("HOME", user);
                scene.world.environment = match n {
                    0 => before.set("CARGO_HOME", cargo),
                    1 => before.set("CARGO_HOME", world.path("homes/a")),
                    _ => before.unset("CARGO_HOME").set("HOME", world.path("homes/b")),
                };
                edited.change_variant();
            }
            Self::BuiltElsewhere => {
                scene.another_checkout_builds();
                edited.tampered = true;
                edited.elsewhere = true;
            }
            Self::StatesBelowTarget => {
                let mode = ["o-rx", "o+rX", "g+w"][n];
                let target = scene.target();
                if target.exists() {
                    let mut command = std::process::Command::new("chmod");
                    command.args(["-R", mode]).arg(target).status().unwrap();
                }
            }
            Self::WentBack => {
                let log = world.path("silent/run.log");
                let was_there = !scene.in_git && log.exists();
                scene.go_back(n, |path| edited.add(path));
                edited.unlisted |= was_there && !log.exists();
            }
        }
    }
}

fn toggle(scene: &Scene, path: &str, text: &str, edited: &mut Edited) {
    let there = scene.world.path(path);
    if there.exists() {
        fs::remove_file(&there).unwrap();
    } else {
        fs::write(&there, text).unwrap();
    }
    edited.add(there);
}

fn exchange(a: &Path, b: &Path) {
    let aside = a.with_extension("aside");
    fs::rename(a, &aside).unwrap();
    fs::rename(b, a).unwrap();
    fs::rename(&aside, b).unwrap();
}
