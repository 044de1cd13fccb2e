use std::{fs, path::Path, time::Duration};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, pidfd_open},
};

/// A process of the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    pub pid: u32,
    /// The executable's file name.
    pub name: String,
}

/// The processes whose environment has `RBEE_HOME` set to `home`, by pid.
///
/// Every process of the chain has it, whoever started it.
pub fn processes(home: &Path) -> Vec<Process> {
    let wanted = format!("RBEE_HOME={}", home.display());
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("this system has /proc").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // A process may end while it is looked at.
        let Ok(environment) = fs::read(entry.path().join("environ")) else { continue };
        let Ok(executable) = fs::read_link(entry.path().join("exe")) else { continue };
        if environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes()) {
            let name = executable.file_name().unwrap_or_default().to_string_lossy().into_owned();
            found.push(Process { pid, name: name.trim_end_matches(" (deleted)").to_owned() });
        }
    }
    found.sort_by_key(|process| process.pid);
    found
}

/// The pids of all that this process has started, and of what those have, but for what has left them.
pub(crate) fn descendants(pid: u32) -> Vec<u32> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc").expect("this system has /proc").flatten() {
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let Some((before, after)) = stat.rsplit_once(") ") else { continue };
        let own = before.split(' ').next().and_then(|own| own.parse::<u32>().ok());
        let parent = after.split(' ').nth(1).and_then(|parent| parent.parse::<u32>().ok());
        parents.extend(own.zip(parent));
    }
    let mut found = vec![pid];
    while let Some((own, _)) =
        parents.iter().find(|(own, parent)| found.contains(parent) && !found.contains(own))
    {
        found.push(*own);
    }
    found.split_off(1)
}

impl Process {
    /// Waits until the process has ended; `false` when it has not within `limit`.
    pub fn ends_within(&self, limit: Duration) -> bool {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw).expect("a pid is positive");
        // Without a process of that pid it has ended already.
        let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else { return true };
        let limit = Timespec::try_from(limit).expect("a limit is a number of seconds");
        let mut ended = [PollFd::new(&handle, PollFlags::IN)];
        poll(&mut ended, Some(&limit)).is_ok_and(|ready| ready == 1)
    }
}
