use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

use crate::process;

/// Which process answers, and from which binary.
// It crosses versions of this crate: what the other one does not know is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Identity {
    /// Differs for every start of a process.
    pub instance_id: String,
    /// What the daemon calls itself.
    pub role: String,
    pub pid: u32,
    /// When the kernel started the process, in clock ticks after boot.
    pub start_time: u64,
    /// The boot that `start_time` counts from.
    pub boot_id: String,
    /// BLAKE3 of the executable, in hex, computed by the daemon from the file it runs from.
    pub exe_hash: String,
    /// BLAKE3 of the arguments, in hex.
    pub args_hash: String,
    /// The workspace that the binary is built from; `None` when it is not kept up to date.
    pub source_root: Option<PathBuf>,
    /// Where it answers, as it announced it; empty until it is ready.
    pub address: String,
    /// Counts the starts of one instance.
    pub generation: u64,
    /// Milliseconds since the Unix epoch.
    pub started_at_ms: u64,
}

impl Identity {
    /// The identity of this process, which the starter left no word about.
    pub(crate) fn of_this_process(role: &str) -> io::Result<Self> {
        let pid = std::process::id();
        let start_time = process::stat(pid).map_or(0, |stat| stat.start_time);
        // The link, not its target: it leads to the running file even when that was replaced.
        let exe_hash = hash_file(Path::new("/proc/self/exe"))?;
        let args: Vec<String> =
            std::env::args_os().skip(1).map(|arg| arg.to_string_lossy().into_owned()).collect();
        let started_at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let started_at_ms = started_at.as_millis() as u64;
        Ok(Self {
            instance_id: unique(&format!("{pid}/{start_time}/{started_at_ms}")),
            role: role.to_owned(),
            pid,
            start_time,
            boot_id: process::boot_id(),
            exe_hash,
            args_hash: hash_args(&args),
            source_root: None,
            address: String::new(),
            generation: 0,
            started_at_ms,
        })
    }

    /// Resolves when exactly this process is there no more. Needs a Tokio runtime.
    pub async fn ended(&self) {
        if self.boot_id == process::boot_id()
            && let Some(process) = process::Process::open(self.pid, self.start_time)
        {
            process.ended().await;
        }
    }

    /// The file that the process runs from, while it is alive and the file is there.
    pub fn executable(&self) -> Option<PathBuf> {
        let path = fs::read_link(format!("/proc/{}/exe", self.pid)).ok()?;
        (self.is_alive() && path.is_file()).then_some(path)
    }

    /// Whether exactly this process is alive. Asks the kernel, not the process.
    pub fn is_alive(&self) -> bool {
        self.boot_id == process::boot_id()
            && process::stat(self.pid)
                .is_some_and(|stat| stat.start_time == self.start_time && !stat.zombie)
    }
}

fn unique(seed: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let hash = blake3::hash(format!("{}/{seed}/{count}", process::boot_id()).as_bytes());
    hash.to_hex()[..16].to_owned()
}

/// BLAKE3 of a file, in hex.
pub(crate) fn hash_file(path: &Path) -> io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    io::copy(&mut fs::File::open(path)?, &mut hasher)?;
    Ok(hasher.finalize().to_hex().to_string())
}

pub(crate) fn hash_args(args: &[String]) -> String {
    let mut hasher = blake3::Hasher::new();
    for arg in args {
        hasher.update(&(arg.len() as u64).to_le_bytes());
        hasher.update(arg.as_bytes());
    }
    hasher.finalize().to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_split_elsewhere_are_other_arguments() {
        let hash = |args: &[&str]| hash_args(&args.iter().map(|&a| a.into()).collect::<Vec<_>>());
        assert_ne!(hash(&["ab", "c"]), hash(&["a", "bc"]));
        assert_ne!(hash(&[]), hash(&[""]));
        assert_eq!(hash(&["a", "b"]), hash(&["a", "b"]));
    }

    #[test]
    fn this_process_is_alive_and_its_double_is_not() {
        let own = Identity::of_this_process("test").unwrap();
        assert!(own.is_alive());
        assert!(!Identity { start_time: own.start_time + 1, ..own.clone() }.is_alive());
        assert!(!Identity { boot_id: "another".into(), ..own.clone() }.is_alive());
        assert_ne!(own.instance_id, Identity::of_this_process("test").unwrap().instance_id);
    }
}
