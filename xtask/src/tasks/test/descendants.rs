use std::{
    fmt,
    process::{Command, ExitStatus},
};

use anyhow::Context as _;

/// A process that should have ended.
#[derive(Debug)]
pub(super) struct Process {
    pid: i32,
    command: String,
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.pid, self.command)
    }
}

/// Makes this process the parent of all that come from it and lose their own.
///
/// So none is overlooked, whatever it does to its environment, its session or its group. Call
/// [`run`] for every child from here on. Only Linux offers this; elsewhere it does nothing, and
/// [`left`] finds nothing.
pub(super) fn adopt() -> anyhow::Result<()> {
    #[cfg(target_os = "linux")]
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .context("cannot adopt what the tests start")?;
    Ok(())
}

/// Runs a command to its end, and reaps whatever was adopted meanwhile, as init would: a process
/// that ended must be gone for the test that looks for it.
pub(super) fn run(command: &mut Command) -> anyhow::Result<ExitStatus> {
    let cannot_start = || format!("cannot start `{}`", command.get_program().display());
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::process::ExitStatusExt as _;

        let cannot_start = cannot_start();
        let child = command.spawn().context(cannot_start)?;
        loop {
            let ended = rustix::io::retry_on_intr(|| {
                rustix::process::wait(rustix::process::WaitOptions::empty())
            });
            let Some((pid, status)) = ended.context("cannot wait for a child")? else { continue };
            if pid.as_raw_nonzero().get().cast_unsigned() == child.id() {
                return Ok(ExitStatus::from_raw(status.as_raw()));
            }
        }
    }
    #[cfg(not(target_os = "linux"))]
    command.status().with_context(cannot_start)
}

/// What is still running of all that was started, after those that are ending had time to.
#[cfg(target_os = "linux")]
pub(super) fn left() -> anyhow::Result<Vec<Process>> {
    linux::left()
}

#[cfg(not(target_os = "linux"))]
pub(super) fn left() -> anyhow::Result<Vec<Process>> {
    Ok(Vec::new())
}

#[cfg(target_os = "linux")]
mod linux {
    use std::{
        collections::BTreeMap,
        fs,
        time::{Duration, Instant},
    };

    use anyhow::Context as _;
    use rustix::{
        event::{PollFd, PollFlags, Timespec, poll},
        process::{Pid, PidfdFlags, WaitOptions, getpid, pidfd_open, wait},
    };

    use super::Process;

    /// How long all that are ending may take together.
    const ENDING: Duration = Duration::from_secs(5);

    pub(super) fn left() -> anyhow::Result<Vec<Process>> {
        let deadline = Instant::now() + ENDING;
        loop {
            while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
            let running = descendants().context("cannot list processes")?;
            let remaining = deadline.saturating_duration_since(Instant::now());
            let Some(first) = running.first() else { return Ok(running) };
            if remaining.is_zero() {
                return Ok(running);
            }
            // Gone between the listing and here: look again.
            let Some(pid) = Pid::from_raw(first.pid) else { continue };
            let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else { continue };
            let timeout = Timespec::try_from(remaining).context("the deadline is out of range")?;
            let mut ended = [PollFd::new(&handle, PollFlags::IN)];
            rustix::io::retry_on_intr(|| poll(&mut ended, Some(&timeout)))
                .context("cannot wait for a process")?;
        }
    }

    /// The running processes below this one.
    fn descendants() -> anyhow::Result<Vec<Process>> {
        let mut parents = BTreeMap::new();
        for entry in fs::read_dir("/proc")? {
            let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok())
            else {
                continue;
            };
            if let Some(parent) = running_parent(pid) {
                parents.insert(pid, parent);
            }
        }
        let own = getpid().as_raw_nonzero().get();
        let is_below = |mut pid: i32| {
            while let Some(parent) = parents.get(&pid) {
                if *parent == own {
                    return true;
                }
                pid = *parent;
            }
            false
        };
        let below = parents.keys().copied().filter(|pid| is_below(*pid));
        Ok(below.map(|pid| Process { pid, command: command(pid) }).collect())
    }

    /// The parent of a process that runs: one that has ended and waits to be reaped does not.
    fn running_parent(pid: i32) -> Option<i32> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name before it may hold spaces and parentheses.
        let (_, fields) = stat.rsplit_once(") ")?;
        let mut fields = fields.split(' ');
        let state = fields.next()?;
        (state != "Z" && state != "X").then(|| fields.next()?.parse().ok())?
    }

    fn command(pid: i32) -> String {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words = line.split(|byte| *byte == 0).map(String::from_utf8_lossy);
        words.collect::<Vec<_>>().join(" ").trim_end().to_owned()
    }
}
