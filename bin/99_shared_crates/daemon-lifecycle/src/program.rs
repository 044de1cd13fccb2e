//! A program that is no daemon: it knows nothing of starters, and whoever starts it looks after it.

use std::{
    collections::HashMap,
    ffi::{OsStr, OsString},
    fs, io,
    os::unix::fs::DirEntryExt as _,
    time::Duration,
};

use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use tokio::process::Command;

use crate::{
    environment,
    process::{self, Process},
    unsafety::detach,
};

/// Another program, with everything that it has started, in a session of its own.
///
/// It outlives the process that started it: a [`Program`] that was written down and read again
/// names the same processes, or none. That it ends is for the user of this type to see to.
///
/// ```no_run
/// # use daemon_lifecycle::Program;
/// # use std::time::Duration;
/// # async fn example() -> std::io::Result<()> {
/// let mut command = tokio::process::Command::new("some-server");
/// command.arg("--verbose");
/// let program = Program::start(command, &["PATH", "HOME"], [("TMPDIR", "/tmp/some-server")])?;
/// assert!(program.is_alive());
/// program.end(Duration::from_secs(5), Duration::from_secs(5)).await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    pid: u32,
    start_time: u64,
    boot_id: String,
}

/// One process of a [`Program`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    pub pid: u32,
    pub start_time: u64,
    /// Its command line up to the first gap, which a process may have changed itself.
    pub name: String,
}

impl Program {
    /// Starts `command` in a session of its own, with the variables of this process whose names are
    /// `allowed` (a `*` at the end stands for any rest, `LD_*` never pass) and those that are `set`.
    ///
    /// Needs a Tokio runtime, which reaps it.
    ///
    /// # Errors
    ///
    /// When the kernel does not start it.
    pub fn start<K: Into<OsString>, V: Into<OsString>>(
        mut command: Command,
        allowed: &[&str],
        set: impl IntoIterator<Item = (K, V)>,
    ) -> io::Result<Self> {
        command.env_clear().envs(environment::of_program(allowed));
        command.envs(set.into_iter().map(|(name, value)| (name.into(), value.into())));
        command.kill_on_drop(false);
        detach(&mut command, None);
        let mut child = command.spawn()?;
        let pid = child.id().unwrap_or_default();
        let start_time = process::stat(pid).map_or(0, |stat| stat.start_time);
        drop(tokio::spawn(async move { child.wait().await }));
        Ok(Self { pid, start_time, boot_id: process::boot_id() })
    }

    /// Whether its first process is alive.
    pub fn is_alive(&self) -> bool {
        self.is_of_this_boot()
            && process::stat(self.pid)
                .is_some_and(|stat| stat.start_time == self.start_time && !stat.zombie)
    }

    /// Resolves when its first process has ended; others of its processes may still live.
    pub async fn ended(&self) {
        if self.is_of_this_boot()
            && let Some(process) = Process::open(self.pid, self.start_time)
        {
            process.ended().await;
        }
    }

    /// Its processes that are alive.
    pub fn members(&self) -> Vec<Member> {
        let member = |(pid, start_time)| Member { pid, start_time, name: name_of(pid) };
        self.session().into_iter().map(member).collect()
    }

    /// Memory that its processes take together, in bytes; what they share counts once.
    pub fn memory_bytes(&self) -> u64 {
        self.session().into_iter().filter_map(|(pid, _)| process::share_of_memory(pid)).sum()
    }

    /// Asks its first process to end, by SIGTERM.
    pub fn terminate(&self) {
        if let Some(process) = self.leader() {
            process.signal(Signal::TERM);
        }
    }

    /// Asks its first process to end, and after `grace` kills all that is left of the session;
    /// `false` when something of it still lives after `limit` more. Without grace it is killed at
    /// once.
    pub async fn end(&self, grace: Duration, limit: Duration) -> bool {
        if !self.is_of_this_boot() {
            return true;
        }
        if !grace.is_zero()
            && let Some(leader) = self.leader()
        {
            leader.signal(Signal::TERM);
            drop(tokio::time::timeout(grace, leader.ended()).await);
        }
        process::end_session(self.pid, self.start_time, Duration::ZERO, limit).await
    }

    fn leader(&self) -> Option<Process> {
        if !self.is_of_this_boot() {
            return None;
        }
        Process::open(self.pid, self.start_time)
    }

    fn session(&self) -> Vec<(u32, u64)> {
        if !self.is_of_this_boot() {
            return Vec::new();
        }
        process::session(self.pid, self.start_time)
    }

    fn is_of_this_boot(&self) -> bool {
        self.boot_id == process::boot_id()
    }
}

impl Member {
    pub fn is_alive(&self) -> bool {
        process::stat(self.pid)
            .is_some_and(|stat| stat.start_time == self.start_time && !stat.zombie)
    }

    /// The files below `folder` that it has mapped. One that has another name in `folder` than the one by
    /// which it was mapped is given by that name, as the semaphores of the C library have.
    pub fn mapped_below(&self, folder: &str) -> Vec<String> {
        let maps = fs::read_to_string(format!("/proc/{}/maps", self.pid)).unwrap_or_default();
        let mut names: Option<HashMap<u64, String>> = None;
        let mut below: Vec<String> = Vec::new();
        for line in maps.lines() {
            let Some((before, path)) = line.find('/').map(|at| line.split_at(at)) else { continue };
            if !path.starts_with(folder) {
                continue;
            }
            if !path.ends_with(" (deleted)") {
                below.push(path.to_owned());
                continue;
            }
            let inode = before.split_ascii_whitespace().nth(4).and_then(|word| word.parse().ok());
            let names = names.get_or_insert_with(|| by_inode(folder));
            below.extend(inode.and_then(|inode: u64| names.get(&inode).cloned()));
        }
        below.dedup();
        below
    }
}

/// The paths of the files in `folder`, by their inodes.
fn by_inode(folder: &str) -> HashMap<u64, String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| (entry.ino(), entry.path().display().to_string())).collect()
}

fn name_of(pid: u32) -> String {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let name = line.split(|&byte| byte == 0).next().unwrap_or_default();
    OsStr::to_string_lossy(std::os::unix::ffi::OsStrExt::from_bytes(name)).into_owned()
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use tokio::io::{AsyncBufReadExt as _, BufReader};

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(Stdio::null());
        command
    }

    #[tokio::test]
    async fn what_a_program_has_started_ends_with_it_even_when_it_has_died() {
        let (reader, writer) = std::io::pipe().unwrap();
        let mut command = shell("(trap '' TERM; echo up; exec sleep 600) & wait");
        command.stdout(writer);
        let program = Program::start(command, &["PATH"], [("A", "b")]).unwrap();
        let mut line = String::new();
        let mut reader = BufReader::new(tokio::fs::File::from_std(std::fs::File::from(
            std::os::fd::OwnedFd::from(reader),
        )));
        reader.read_line(&mut line).await.unwrap();
        assert_eq!(program.members().len(), 2, "{:?}", program.members());
        assert!(program.memory_bytes() > 0);

        program.terminate();
        tokio::time::timeout(LONG, program.ended()).await.expect("a shell obeys SIGTERM");
        let left = program.members();
        assert_eq!(left.len(), 1, "{left:?}");
        assert!(!program.is_alive() && left[0].is_alive());

        assert!(program.end(Duration::ZERO, LONG).await);
        assert!(!left[0].is_alive());
        assert_eq!(program.memory_bytes(), 0);
    }

    #[tokio::test]
    async fn a_program_sees_the_variables_that_are_allowed_and_set_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("env");
        let command = shell(&format!("env > {}", file.display()));
        let program = Program::start(command, &["PAT*"], [("SOME", "value")]).unwrap();
        tokio::time::timeout(LONG, program.ended()).await.expect("it ends by itself");
        let text = fs::read_to_string(file).unwrap();
        let mut names: Vec<_> = text.lines().filter_map(|line| line.split('=').next()).collect();
        // The shell's own.
        names.retain(|name| !matches!(*name, "PWD" | "_" | "OLDPWD" | "SHLVL"));
        names.sort_unstable();
        assert_eq!(names, ["PATH", "SOME"], "{text}");
    }

    #[tokio::test]
    async fn one_that_was_written_down_is_found_again_and_its_double_is_not() {
        let program = Program::start(shell("exec sleep 600"), &["PATH"], [("A", "b")]).unwrap();
        let text = serde_json::to_string(&program).unwrap();
        let again: Program = serde_json::from_str(&text).unwrap();
        assert!(again.is_alive());
        let double = Program { start_time: again.start_time + 1, ..again.clone() };
        assert!(!double.is_alive() && double.members().is_empty());
        let earlier = Program { boot_id: "earlier".into(), ..again.clone() };
        assert!(!earlier.is_alive() && earlier.members().is_empty());
        assert!(again.end(Duration::ZERO, LONG).await);
    }
}
