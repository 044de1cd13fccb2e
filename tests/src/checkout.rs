use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

/// The folder of the real worker's crate, and of its stand-in.
const WORKER: &str = "bin/30_llm_worker_rbee";
const STAND_IN: &str = "tests/stand-in-worker";

/// A file of a crate that every level uses.
const SHARED: &str = "bin/99_shared_crates/narration-core/src/lib.rs";

/// A copy of this workspace that a test may edit.
///
/// It lies in this workspace's target directory and is brought back to the original's state before
/// each test, file by file and by content, so that a build in it is incremental.
#[derive(Debug)]
pub struct Checkout {
    root: PathBuf,
    _turn: fs::File,
}

impl Checkout {
    /// The copy with the stand-in in the worker's place; for one test at a time.
    pub fn with_stand_in_worker() -> Self {
        let original = original();
        let base = target_dir().join("chain-tests");
        let root = base.join("workspace");
        fs::create_dir_all(&root).expect("the target directory can be written");
        let turn =
            fs::File::create(base.join("lock")).expect("the target directory can be written");
        turn.lock().expect("the file system has locks");
        synchronise(&original, &root);
        Self { root, _turn: turn }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn path(&self, file: &str) -> PathBuf {
        self.root.join(file)
    }

    /// Replaces `from`, which must stand in the file, by `to`.
    #[track_caller]
    pub fn edit(&self, file: &str, from: &str, to: &str) {
        let path = self.path(file);
        let text = fs::read_to_string(&path).expect("the file is in the copy");
        assert!(text.contains(from), "`{from}` does not stand in {file}");
        fs::write(path, text.replacen(from, to, 1)).expect("the copy can be written");
    }

    /// Changes a crate that every level uses to what no earlier run has built: that would come from
    /// the artifact store.
    pub fn edit_to_something_new(&self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is set");
        self.edit(SHARED, "\"narration\"", &format!("\"narration-{}\"", now.as_nanos()));
    }

    /// Puts the file back as it is in the original.
    pub fn restore(&self, file: &str) {
        fs::copy(original().join(file), self.path(file)).expect("the file is in the original");
    }
}

/// The workspace that these tests belong to.
pub(crate) fn original() -> PathBuf {
    let manifest_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest_dir.parent().expect("the crate lies in the workspace").to_owned()
}

/// The target directory that this test runs from.
pub fn target_dir() -> PathBuf {
    let executable = std::env::current_exe().expect("the test has a path");
    let deps = executable.parent().expect("it lies in target/PROFILE/deps");
    deps.ancestors().nth(2).expect("it lies in target/PROFILE/deps").to_owned()
}

fn synchronise(original: &Path, copy: &Path) {
    let mut wanted = BTreeSet::new();
    for file in tracked(original) {
        if file.starts_with(WORKER) {
            continue;
        }
        let target = file
            .strip_prefix(STAND_IN)
            .map_or_else(|_| file.clone(), |inner| Path::new(WORKER).join(inner));
        place(&original.join(&file), &copy.join(&target));
        wanted.insert(target);
    }
    // `./rbee setup` has nothing to do: the stand-in needs neither cmake nor libclang.
    let tools = copy.join(".tools/config.toml");
    if !tools.exists() {
        fs::create_dir_all(copy.join(".tools")).expect("the copy can be written");
        fs::write(tools, "").expect("the copy can be written");
    }
    remove_others(copy, copy, &wanted);
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
