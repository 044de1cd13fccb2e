use std::{
    fs, io,
    io::Write as _,
    process::{Child, Command, Stdio},
};

use rustix::{
    fs::{Mode, OFlags, open},
    io::{Errno, write},
    process::{Signal, set_parent_process_death_signal, setsid},
    thread::{Timespec, nanosleep},
};

/// The lowest share that a session can have.
const LEAST_SHARE: &[u8] = b"19";
/// The kernel lets the unprivileged change shares ten times a second, all of them together.
const MAX_ATTEMPTS: u32 = 10;
const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// Whether the processors are divided among sessions.
pub(super) fn has_share() -> bool {
    fs::read("/proc/sys/kernel/sched_autogroup_enabled").is_ok_and(|text| text.starts_with(b"1"))
}

/// Moves the calling process to a session of its own with the least share. For a process that is
/// about to become another program: makes system calls only.
pub(super) fn enter() -> io::Result<()> {
    // The guard may not know of it yet.
    set_parent_process_death_signal(Some(Signal::TERM))?;
    setsid()?;
    for _ in 0..MAX_ATTEMPTS {
        match lower_share() {
            // There is nothing to wait for but the time.
            Err(Errno::AGAIN) => drop(nanosleep(&PAUSE)),
            // Where it is refused, the build has as large a share as any other session.
            Ok(_) | Err(_) => break,
        }
    }
    Ok(())
}

fn lower_share() -> Result<usize, Errno> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    write(open(c"/proc/self/autogroup", flags, Mode::empty())?, LEAST_SHARE)
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
