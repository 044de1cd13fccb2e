use std::{
    fs, io,
    io::Write as _,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use rustix::{
    fs::{Mode, OFlags, open},
    io::{Errno, write},
    process::{Resource, Signal, getppid, getrlimit, set_parent_process_death_signal, setsid},
    thread::{Timespec, nanosleep},
};

/// The kernel lets the unprivileged change shares ten times a second, all of them together.
const MAX_ATTEMPTS: u32 = 10;
const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// Whether the processors are divided among sessions, and not among CPU cgroups.
pub(super) fn shares_decide() -> bool {
    let on = fs::read("/proc/sys/kernel/sched_autogroup_enabled");
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    on.is_ok_and(|text| text.starts_with(b"1")) && is_in_the_root_group(&groups, &has_weight)
}

/// `groups` is what the kernel says of a process's cgroups: `hierarchy:controllers:path`.
fn is_in_the_root_group(groups: &str, has_weight: &dyn Fn(&Path) -> bool) -> bool {
    groups.lines().all(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { return true };
        if controllers.is_empty() {
            let relative = Path::new(path.trim_start_matches('/'));
            return !relative.ancestors().any(has_weight);
        }
        !controllers.split(',').any(|controller| controller == "cpu") || path == "/"
    })
}

/// Whether the group is one among which processors are divided. The root of all is not.
fn has_weight(group: &Path) -> bool {
    Path::new("/sys/fs/cgroup").join(group).join("cpu.weight").exists()
}

/// Whether a class that was lowered can be raised again: by privilege, or by the limit that
/// permits a nice value of 0.
pub(super) fn may_raise() -> bool {
    const CAP_SYS_NICE: u32 = 23;
    const NICE_OF_ZERO: u64 = 20;
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let capabilities = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let capabilities = capabilities.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    capabilities.is_some_and(|set| set >> CAP_SYS_NICE & 1 == 1)
        || getrlimit(Resource::Nice).current.is_none_or(|limit| limit >= NICE_OF_ZERO)
}

/// Lets the calling process end with `starter`, which has started it. For a process that is about
/// to become another program: makes system calls only.
pub(super) fn end_with(starter: u32) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::TERM))?;
    let is_orphan = getppid().is_none_or(|parent| parent.as_raw_pid().cast_unsigned() != starter);
    if is_orphan { Err(Errno::SRCH.into()) } else { Ok(()) }
}

/// Moves the calling process to a session of its own, with this share as a nice value. For a
/// process that is about to become another program: makes system calls only.
pub(super) fn enter(share: Option<i32>) -> io::Result<()> {
    setsid()?;
    let Some(share) = share else { return Ok(()) };
    // No memory may be allocated here.
    let text: &[u8] = if share >= 19 { b"19" } else { b"10" };
    for _ in 0..MAX_ATTEMPTS {
        match lower_share(text) {
            // There is nothing to wait for but the time.
            Err(Errno::AGAIN) => drop(nanosleep(&PAUSE)),
            // Where it is refused, the build has as large a share as any other session.
            Ok(_) | Err(_) => break,
        }
    }
    Ok(())
}

fn lower_share(text: &[u8]) -> Result<usize, Errno> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    write(open(c"/proc/self/autogroup", flags, Mode::empty())?, text)
}

/// Gives the session that `leader` has made this share.
pub(super) fn set_share(leader: u32, share: i32) {
    let path = format!("/proc/{leader}/autogroup");
    for _ in 0..MAX_ATTEMPTS {
        match fs::write(&path, share.to_string()) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => pause(),
            Ok(()) | Err(_) => return,
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "there is nothing to wait for but the time")]
fn pause() {
    thread::sleep(Duration::from_nanos(PAUSE.tv_nsec.unsigned_abs()));
}

/// A process in this one's session that ends the other session with this process, however it ends.
#[derive(Debug)]
pub(super) struct Guard(Child);

impl Guard {
    pub(super) fn start() -> io::Result<Self> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", include_str!("guard.sh"), "idle-build-guard"]).env_clear();
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().map(Self)
    }

    /// Guards the session that `leader` has made.
    pub(super) fn watch(&mut self, leader: u32) -> io::Result<()> {
        let mut stdin = self.0.stdin.as_ref().expect("it is piped");
        // One write, so that it is read as a whole.
        stdin.write_all(format!("{leader}\n").as_bytes())
    }

    /// Lets it go, since the session's leader has ended.
    pub(super) fn dismiss(mut self) -> io::Result<()> {
        let mut stdin = self.0.stdin.take().expect("it is piped");
        // It is gone already where somebody else has ended it.
        stdin.write_all(b"over\n").unwrap_or(());
        drop(stdin);
        self.0.wait().map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_have_shares_in_the_root_group_only() {
        let decide = |groups: &str, weighed: &str| {
            is_in_the_root_group(groups, &|group| group == Path::new(weighed))
        };
        assert!(decide("0::/\n", "none"));
        assert!(decide("3:cpuset:/x\n2:cpuacct:/x\n1:cpu:/\n0::/\n", "none"));
        assert!(!decide("1:cpu,cpuacct:/docker/5\n0::/\n", "none"));
        assert!(!decide("0::/user.slice/user-1.slice/session-2.scope\n", "user.slice"));
        // The controller is not turned on for any group on the way.
        assert!(decide("0::/user.slice/user-1.slice/session-2.scope\n", "none"));
    }
}
