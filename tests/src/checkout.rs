use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

use crate::dependencies;

/// The folder of the real worker's crate, and of its stand-in.
const WORKER: &str = "bin/30_llm_worker_rbee";
const STAND_IN: &str = "tests/stand-in-worker";

/// A package of its own in the worker's folder, which stays as it is.
const ADAPTER: &str = "bin/30_llm_worker_rbee/engine-adapter";

/// Where cargo is told of the tools that `./rbee setup` found.
const TOOLS: &str = ".tools/config.toml";

/// A file of a crate that every level uses.
const SHARED: &str = "bin/99_shared_crates/narration-core/src/lib.rs";

/// A copy of this workspace that may be edited.
///
/// It is brought back to the original's state when it is opened, file by file and by content, so
/// that a build in it is incremental.
#[derive(Debug)]
pub struct Checkout {
    root: PathBuf,
    target: PathBuf,
    _turn: fs::File,
}

impl Checkout {
    /// The copy in the first of `bases` that nobody has, or else in the last once it is free, with the
    /// stand-in in the worker's place.
    pub fn with_stand_in_worker(bases: &[PathBuf]) -> Self {
        // `./rbee setup` has nothing to do: the stand-in needs neither cmake nor libclang.
        Self::open(bases, "", |file| {
            if file.starts_with(ADAPTER) {
                return Some(file.to_owned());
            }
            if file.starts_with(WORKER) {
                return None;
            }
            let inner = file.strip_prefix(STAND_IN);
            Some(inner.map_or_else(|_| file.to_owned(), |inner| Path::new(WORKER).join(inner)))
        })
    }

    /// The copy in `base` with the real worker, as [`Self::with_stand_in_worker`] otherwise.
    pub fn whole(base: PathBuf) -> Self {
        // What `./rbee setup` found for the original serves the copy too.
        let tools = fs::read_to_string(original().join(TOOLS)).unwrap_or_default();
        Self::open(&[base], &tools, |file| Some(file.to_owned()))
    }

    /// `place` says where a file of the original is in the copy, if it is there.
    fn open(bases: &[PathBuf], tools: &str, place: impl Fn(&Path) -> Option<PathBuf>) -> Self {
        let (base, turn) = free(bases);
        let root = base.join("workspace");
        synchronise(&original(), &root, place);
        write_tools(&root.join(TOOLS), tools);
        let target = base.join("target");
        Self { root, target, _turn: turn }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Spares the copy the compilation of what this test's own build has from registries.
    #[must_use]
    pub fn with_dependencies(self) -> Self {
        dependencies::lend(&self.root, &target_dir(), &self.target);
        self
    }

    /// Where its binaries are built.
    pub fn target(&self) -> &Path {
        &self.target
    }

    pub fn path(&self, file: &str) -> PathBuf {
        self.root.join(file)
    }

    /// Replaces `from`, which must stand in the file, by `to`.
    #[track_caller]
    pub fn edit(&self, file: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.path(file)).expect("the file is in the copy");
        self.write_edited(file, &text, from, to);
    }

    /// Changes a crate that every level uses to what no earlier run has built: that would come from
    /// the artifact store. May be called again and again.
    #[track_caller]
    pub fn edit_to_something_new(&self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is set");
        let text = fs::read_to_string(original().join(SHARED)).expect("the original has the file");
        let new = format!("\"narration-{}\"", now.as_nanos());
        self.write_edited(SHARED, &text, "\"narration\"", &new);
    }

    #[track_caller]
    fn write_edited(&self, file: &str, text: &str, from: &str, to: &str) {
        assert!(text.contains(from), "`{from}` does not stand in {file}");
        let edited = text.replacen(from, to, 1);
        fs::write(self.path(file), edited).expect("the copy can be written");
    }

    /// Puts the file back as it is in the original.
    pub fn restore(&self, file: &str) {
        fs::copy(original().join(file), self.path(file)).expect("the file is in the original");
    }
}

/// The first folder that no other process has, or the last one when it is let go of; and what holds it.
fn free(folders: &[PathBuf]) -> (&Path, fs::File) {
    let mut last = None;
    for folder in folders {
        fs::create_dir_all(folder.join("workspace")).expect("the target directory can be written");
        let lock = fs::File::create(folder.join("lock")).expect("so can the folder in it");
        if lock.try_lock().is_ok() {
            return (folder, lock);
        }
        last = Some((folder, lock));
    }
    let (folder, lock) = last.expect("there is a folder");
    lock.lock().expect("the file system has locks");
    (folder, lock)
}

/// The workspace that these tests belong to.
pub(crate) fn original() -> PathBuf {
    let manifest_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest_dir.parent().expect("the crate lies in the workspace").to_owned()
}

/// The target directory that this program runs from: a test from `PROFILE/deps`, a measurement from
/// auto-update's store.
pub fn target_dir() -> PathBuf {
    let executable = std::env::current_exe().expect("the program has a path");
    let kept = executable.ancestors().find(|folder| folder.ends_with(".auto-update"));
    let built = || executable.ancestors().find(|folder| folder.ends_with("deps"))?.parent();
    let below = kept.or_else(built).expect("it was built by cargo, or kept by auto-update");
    below.parent().expect("it lies in the target directory").to_owned()
}

fn synchronise(original: &Path, copy: &Path, place_of: impl Fn(&Path) -> Option<PathBuf>) {
    let mut wanted = BTreeSet::new();
    for file in tracked(original) {
        let Some(target) = place_of(&file) else { continue };
        place(&original.join(&file), &copy.join(&target));
        wanted.insert(target);
    }
    remove_others(copy, copy, &wanted);
}

/// What cargo is told of the tools of a build; left alone where it says the same already.
fn write_tools(path: &Path, tools: &str) {
    if !fs::read_to_string(path).is_ok_and(|present| present == tools) {
        fs::create_dir_all(path.parent().expect("a file lies in a folder"))
            .and_then(|()| fs::write(path, tools))
            .expect("the copy can be written");
    }
}

/// Copies the file unless it is there with the same content; a lock file that cargo has adapted to
/// the stand-in stays as long as the original does.
fn place(from: &Path, to: &Path) {
    let content = fs::read(from).expect("a tracked file can be read");
    let is_lock = to.file_name().is_some_and(|name| name == "Cargo.lock");
    let compared = if is_lock { to.with_file_name(".Cargo.lock.original") } else { to.to_owned() };
    if fs::read(&compared).is_ok_and(|present| present == content) && to.exists() {
        return;
    }
    let parent = to.parent().expect("a file lies in a folder");
    fs::create_dir_all(parent).expect("the copy can be written");
    fs::copy(from, to).expect("the copy can be written");
    if is_lock {
        fs::write(compared, content).expect("the copy can be written");
    }
}

/// Removes what an earlier test has added.
fn remove_others(root: &Path, folder: &Path, wanted: &BTreeSet<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the copy can be read") {
        let path = entry.expect("the copy can be read").path();
        let inner = path.strip_prefix(root).expect("it was found under the root");
        if inner.starts_with(".tools") || inner.ends_with(".Cargo.lock.original") {
            continue;
        }
        if path.is_dir() {
            remove_others(root, &path, wanted);
        } else if !wanted.contains(inner) {
            fs::remove_file(&path).expect("the copy can be written");
        }
    }
}

/// What git would check out of the working tree as it is now.
fn tracked(root: &Path) -> Vec<PathBuf> {
    let listed = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .expect("git is installed");
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    let names = String::from_utf8(listed.stdout).expect("names in this workspace are UTF-8");
    let paths = names.split_terminator('\0').map(PathBuf::from);
    paths.filter(|file| root.join(file).is_file()).collect()
}
