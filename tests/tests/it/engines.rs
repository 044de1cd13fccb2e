//! Engines beside workers, and what a person sees of them.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Child,
    time::{Duration, Instant},
};

use chain_tests::Chain;

/// From an event to what it leads to, on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// Those of the engines that run, or are just ending.
pub(crate) fn folders(chain: &Chain) -> Vec<PathBuf> {
    let entries = fs::read_dir(chain.home().join("run/engines")).unwrap().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

/// The processes of the one engine that runs: its server and what that has started.
pub(crate) fn engine(chain: &Chain) -> BTreeSet<u32> {
    wait_until("not one engine runs", || folders(chain).len() == 1);
    members(&folders(chain).remove(0))
}

/// Those of the engine in that folder.
pub(crate) fn members(folder: &Path) -> BTreeSet<u32> {
    let record = fs::read(folder.join("engine.json")).unwrap();
    let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
    let leader = record["program"]["pid"].as_u64().unwrap();
    let mut members = BTreeSet::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let Some((before, after)) = stat.rsplit_once(") ") else { continue };
        let pid: u32 = before.split(' ').next().unwrap().parse().unwrap();
        let is_member = after.split(' ').nth(3) == Some(&leader.to_string());
        // What the guard starts for a moment is none of the engine's.
        if is_member && is_python(pid) {
            members.insert(pid);
        }
    }
    members
}

pub(crate) fn is_python(pid: u32) -> bool {
    let exe = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
    exe.file_name().is_some_and(|name| name.to_string_lossy().starts_with("python"))
}

pub(crate) fn server(engine: &BTreeSet<u32>) -> u32 {
    *engine.first().expect("an engine has processes")
}

pub(crate) fn wait_until(what: &str, holds: impl Fn() -> bool) {
    wait_at_most(LIMIT, what, holds);
}

pub(crate) fn wait_at_most(limit: Duration, what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < limit, "{what}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// `./rbee infer`, with its words in a file that can be looked at meanwhile.
pub(crate) struct Infer(pub(crate) Child, PathBuf);

impl Infer {
    /// `args` are those of `infer`; `name` is the file's.
    pub(crate) fn start(chain: &Chain, args: &[&str], name: &str) -> Self {
        let out = chain.home().join(name);
        let mut command = chain.command(&[&["infer"], args].concat());
        let said = fs::File::create(out.with_extension("err")).unwrap();
        command.stdout(fs::File::create(&out).unwrap()).stderr(said);
        Self(command.spawn().unwrap(), out)
    }

    /// What it has told beside the answer.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(self.1.with_extension("err")).unwrap()
    }

    pub(crate) fn text(&self) -> String {
        fs::read_to_string(&self.1).unwrap()
    }
}
