//! What the kernel says about processes, and signals that cannot reach a stranger.
//!
//! Linux: `/proc` and pidfds.

use std::{
    fs,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use rustix::{
    io::Errno,
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};
use tokio::io::unix::AsyncFd;

use crate::unsafety;

/// How often a process is looked at where the kernel has no pidfd to wait for.
const POLL: Duration = Duration::from_millis(20);

/// What the machine could still give away, in bytes.
pub(crate) fn available_bytes() -> Option<u64> {
    let info = fs::read_to_string("/proc/meminfo").ok()?;
    let available = info.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = available.split_ascii_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024)
}

/// Resident memory of the process `pid` in bytes, `None` when there is no such process.
pub fn memory_bytes(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = resident.split_ascii_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024)
}

/// Memory of the process `pid` in bytes, where what it shares with others counts for it in part; all
/// of its resident memory where the kernel does not tell.
pub(crate) fn share_of_memory(pid: u32) -> Option<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let share = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
    let kibibytes = share.and_then(|share| share.split_ascii_whitespace().next()?.parse().ok());
    kibibytes.map(|kibibytes: u64| kibibytes * 1024).or_else(|| memory_bytes(pid))
}

/// Differs for every boot, so that a pid and a start time from before it name nothing.
pub(crate) fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|id| id.trim().to_owned())
        .unwrap_or_default()
}

/// How long the system has been up: a clock that nobody can set.
pub(crate) fn since_boot() -> Duration {
    let uptime = fs::read_to_string("/proc/uptime").unwrap_or_default();
    let seconds = uptime.split_ascii_whitespace().next().and_then(|s| s.parse().ok());
    Duration::try_from_secs_f64(seconds.unwrap_or_default()).unwrap_or_default()
}

pub(crate) struct Stat {
    pub(crate) zombie: bool,
    /// By a signal, such as Ctrl-Z gives.
    pub(crate) suspended: bool,
    pub(crate) session: u32,
    /// Clock ticks after boot.
    pub(crate) start_time: u64,
}

pub(crate) fn stat(pid: u32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The command's name stands in parentheses and may itself hold spaces and parentheses.
fn parse_stat(line: &str) -> Option<Stat> {
    let fields: Vec<&str> = line.get(line.rfind(')')? + 1..)?.split_ascii_whitespace().collect();
    Some(Stat {
        zombie: matches!(*fields.first()?, "Z" | "X"),
        suspended: *fields.first()? == "T",
        session: fields.get(3)?.parse().ok()?,
        start_time: fields.get(19)?.parse().ok()?,
    })
}

/// One particular process: its pid is never believed without its start time.
#[derive(Debug)]
pub(crate) struct Process {
    pid: u32,
    start_time: u64,
    /// `None` on a kernel without pidfds.
    fd: Option<AsyncFd<OwnedFd>>,
}

impl Process {
    /// `None` when that process is gone, whoever has its pid now. Needs a Tokio runtime.
    pub(crate) fn open(pid: u32, start_time: u64) -> Option<Self> {
        let raw = Pid::from_raw(i32::try_from(pid).ok()?)?;
        let fd = match pidfd_open(raw, PidfdFlags::empty()) {
            Ok(fd) => Some(unsafety::readable(fd)?),
            Err(Errno::SRCH) => return None,
            Err(_) => None,
        };
        let process = Self { pid, start_time, fd };
        process.is_alive().then_some(process)
    }

    pub(crate) fn is_alive(&self) -> bool {
        stat(self.pid).is_some_and(|stat| stat.start_time == self.start_time && !stat.zombie)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let sent = match &self.fd {
            Some(fd) => pidfd_send_signal(fd.get_ref(), signal),
            None if self.is_alive() => Pid::from_raw(self.pid.cast_signed())
                .map_or(Ok(()), |pid| rustix::process::kill_process(pid, signal)),
            None => Ok(()),
        };
        if let Err(error) = sent
            && error != Errno::SRCH
        {
            tracing::warn!(pid = self.pid, ?signal, %error, "cannot signal");
        }
    }

    /// Resolves when the process has ended, reaped or not.
    pub(crate) async fn ended(&self) {
        match &self.fd {
            Some(fd) => drop(fd.readable().await),
            None => {
                while self.is_alive() {
                    tokio::time::sleep(POLL).await;
                }
            }
        }
    }
}

/// The living processes of the session that `leader` founded, with their start times.
///
/// A session keeps its number from being given to another process for as long as it has members;
/// what `leader` left behind is found by it even after `leader` has died. When a process with
/// that pid but another start time lives, the session is not `leader`'s and the answer is empty.
pub(crate) fn session(leader: u32, start_time: u64) -> Vec<(u32, u64)> {
    if stat(leader).is_some_and(|stat| stat.start_time != start_time) {
        return Vec::new();
    }
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter_map(|pid| Some((pid, stat(pid)?)))
        .filter(|(_, stat)| stat.session == leader && !stat.zombie)
        .map(|(pid, stat)| (pid, stat.start_time))
        .collect()
}

/// The processes of this user.
pub(crate) fn own() -> Vec<u32> {
    use std::os::unix::fs::MetadataExt as _;
    let own = rustix::process::geteuid().as_raw();
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter(|entry| entry.metadata().is_ok_and(|meta| meta.uid() == own))
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// Signals every member of the session and says how many there were.
pub(crate) fn signal_session(leader: u32, start_time: u64, signal: Signal) -> usize {
    let members = session(leader, start_time);
    for &(pid, start_time) in &members {
        if let Some(process) = Process::open(pid, start_time) {
            process.signal(signal);
        }
    }
    members.len()
}

/// Whether the whole session has ended before `deadline`.
pub(crate) async fn session_ended(leader: u32, start_time: u64, deadline: Instant) -> bool {
    loop {
        let members = session(leader, start_time);
        let Some(&(pid, member_start)) = members.first() else { return true };
        let Some(process) = Process::open(pid, member_start) else { continue };
        if tokio::time::timeout_at(deadline.into(), process.ended()).await.is_err() {
            return false;
        }
    }
}

/// Kills the session: SIGTERM, after `grace` SIGKILL, until nothing of it lives or `limit` is over.
pub(crate) async fn end_session(
    leader: u32,
    start_time: u64,
    grace: Duration,
    limit: Duration,
) -> bool {
    if !grace.is_zero() {
        signal_session(leader, start_time, Signal::TERM);
        // A stopped process acts on SIGTERM only when it goes on.
        signal_session(leader, start_time, Signal::CONT);
        if session_ended(leader, start_time, Instant::now() + grace).await {
            return true;
        }
    }
    let deadline = Instant::now() + limit;
    // Again and again: a member may have forked while the others were being signalled.
    while Instant::now() < deadline {
        if signal_session(leader, start_time, Signal::KILL) == 0 {
            return true;
        }
        let soon = (Instant::now() + POLL * 5).min(deadline);
        if session_ended(leader, start_time, soon).await {
            return true;
        }
    }
    session(leader, start_time).is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_name_with_parentheses_is_skipped() {
        let line = "7 (a) Z (b) S 1 7 9 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 12345 0 0";
        let stat = parse_stat(line).unwrap();
        assert_eq!((stat.session, stat.start_time, stat.zombie), (9, 12345, false));
    }

    #[tokio::test]
    async fn another_start_time_is_another_process() {
        let own = std::process::id();
        let start_time = stat(own).unwrap().start_time;
        assert!(Process::open(own, start_time).is_some());
        assert!(Process::open(own, start_time + 1).is_none());
        assert!(session(own, start_time + 1).is_empty());
    }

    #[test]
    fn resident_memory_of_this_process_is_known() {
        assert!(memory_bytes(std::process::id()).is_some_and(|bytes| bytes > 100_000));
        assert_eq!(memory_bytes(u32::MAX), None);
    }
}
