use std::{
    env,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::clients::ask;
use crate::programs;

const STOP_LIMIT: Duration = Duration::from_secs(15);

/// A program that follows sources.
#[derive(Debug)]
pub(super) enum Tool {
    Live(PathBuf),
    Watch,
    Bacon,
}

impl Tool {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Live(_) => "cargo live watch",
            Self::Watch => "systemfd, cargo watch",
            Self::Bacon => "systemfd, bacon",
        }
    }
}

/// Where tools are kept that only this measurement needs.
pub(super) fn cache() -> anyhow::Result<PathBuf> {
    let environment = programs::environment();
    let cache = environment.get("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || environment.get("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cache = cache.filter(|cache| cache.is_absolute()).or_else(home);
    Ok(cache.context("there is no HOME to keep tools in")?.join("cargo-live-bench"))
}

/// Has cargo install the tool in `folder`, once.
pub(super) fn install(folder: &Path, tool: &str) -> anyhow::Result<()> {
    if folder.join("bin").join(tool).is_file() {
        return Ok(());
    }
    eprintln!("live: installing {tool}, which takes some minutes");
    let mut cargo =
        programs::online("cargo", &["install", "--locked", tool, "--root"], Path::new("/"));
    programs::run(cargo.arg(folder))
}

/// A tool that follows the sources of the program in a folder, and runs it.
#[derive(Debug)]
pub(super) struct Follower(Child);

impl Follower {
    pub(super) fn start(
        tool: &Tool,
        tools: &Path,
        folder: &Path,
        port: u16,
    ) -> anyhow::Result<Self> {
        let systemfd = tools.join("bin/systemfd");
        let socket = format!("http::127.0.0.1:{port}");
        let held = ["--no-pid", "-s", &socket, "--"];
        let address = format!("127.0.0.1:{port}");
        let mut command = match tool {
            Tool::Live(program) => {
                programs::online(program, &["live", "watch", "--listen", &address], folder)
            }
            Tool::Watch => {
                let watch = ["cargo", "watch", "-x", "run"];
                programs::online(systemfd, &[&held[..], &watch].concat(), folder)
            }
            Tool::Bacon => {
                let bacon = ["bacon", "--headless", "run-long"];
                programs::online(systemfd, &[&held[..], &bacon].concat(), folder)
            }
        };
        let environment = programs::environment();
        let path = env::split_paths(environment.get("PATH").unwrap_or_default());
        let path: Vec<_> = std::iter::once(tools.join("bin")).chain(path).collect();
        command.env("PATH", env::join_paths(path).context("a folder cannot be named in PATH")?);
        command.env("PORT", port.to_string()).stdin(Stdio::null()).process_group(0);
        let child = command.spawn().with_context(|| format!("cannot start {}", tool.name()))?;
        Ok(Self(child))
    }

    /// Fails when it has ended.
    pub(super) fn check(&mut self) -> anyhow::Result<()> {
        let status = self.0.try_wait().context("it cannot be asked")?;
        ensure!(status.is_none(), "it ended: {status:?}");
        Ok(())
    }

    /// Ends it, and whatever it leaves running of the program.
    pub(super) fn stop(mut self, port: u16) -> anyhow::Result<()> {
        let group = Pid::from_child(&self.0);
        kill_process_group(group, Signal::TERM).context("it cannot be ended")?;
        let begin = Instant::now();
        while self.0.try_wait()?.is_none() && begin.elapsed() < STOP_LIMIT {
            super::pause(Duration::from_millis(20));
        }
        // Gone, unless it did not heed the first signal.
        kill_process_group(group, Signal::KILL).unwrap_or(());
        self.0.wait().context("it cannot be waited for")?;
        while let Ok(answer) = ask(port) {
            let pid = answer.rsplit(' ').next().and_then(|pid| pid.parse().ok());
            let pid = pid.and_then(Pid::from_raw).context("an answer names its process")?;
            kill_process(pid, Signal::KILL).unwrap_or(());
            super::pause(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            // There is nobody to be told that it is gone already.
            kill_process_group(Pid::from_child(&self.0), Signal::TERM).unwrap_or(());
            drop(self.0.wait());
        }
    }
}
