use std::{
    ffi::OsString,
    fs, io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use anyhow::{Context as _, anyhow};
use serde::Serialize;
use tokio::process::Command;

use super::Service;
use crate::failure::Failure;

/// What the service is called.
const UNIT: &str = "rbee.service";
const LABEL: &str = "rbee";

/// Paths and variables of a build tell something of the person.
const FILE_MODE: u32 = 0o600;

/// Whose business it is to run services here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Manager {
    /// The user manager.
    Systemd {
        unit: PathBuf,
    },
    Launchd {
        agent: PathBuf,
        domain: String,
    },
}

/// The service as its manager sees it.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct State {
    pub(crate) installed: bool,
    /// The unit's or the agent's file, whether it is there or not.
    pub(crate) file: PathBuf,
    /// The manager's own words, such as `enabled`; `None` when it is not installed.
    pub(crate) enabled: Option<String>,
    /// Such as `active`, `failed`; `None` when it is not installed.
    pub(crate) active: Option<String>,
}

/// What an installation changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Installed {
    New,
    /// The file was there with another text.
    Changed,
    Same,
}

impl Manager {
    /// Systemd's user manager, or launchd on macOS. `variables` is the environment.
    pub(crate) fn of_this_machine(
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, Failure> {
        let (mut home, mut config) = (None, None);
        for (name, value) in variables {
            match name.to_str() {
                Some("HOME") => home = Some(PathBuf::from(value)),
                Some("XDG_CONFIG_HOME") => config = Some(PathBuf::from(value)),
                _ => {}
            }
        }
        let home = home
            .filter(|home| home.is_absolute())
            .ok_or_else(|| Failure::usage("HOME is not set, so there is no place for a service"))?;
        Ok(if cfg!(target_os = "macos") {
            Self::Launchd {
                agent: home.join("Library/LaunchAgents").join(format!("{LABEL}.plist")),
                domain: format!("gui/{}", rustix::process::getuid().as_raw()),
            }
        } else {
            let config = config.filter(|config| config.is_absolute());
            let config = config.unwrap_or_else(|| home.join(".config"));
            Self::Systemd { unit: config.join("systemd/user").join(UNIT) }
        })
    }

    /// Writes the service's file.
    pub(crate) async fn install(&self, service: &Service) -> Result<Installed, Failure> {
        self.probe().await?;
        let path = self.file();
        let text = match self {
            Self::Systemd { .. } => service.systemd(),
            Self::Launchd { .. } => service.launchd(LABEL),
        };
        let before = read(path)?;
        let installed = match &before {
            None => Installed::New,
            Some(before) if *before == text => Installed::Same,
            Some(_) => Installed::Changed,
        };
        if installed != Installed::Same {
            write(path, &text).with_context(|| format!("cannot write `{}`", path.display()))?;
        }
        Ok(installed)
    }

    /// Has what is installed started now and from now on; under systemd it is ready afterwards.
    ///
    /// One that runs is left running, also when its file was changed.
    pub(crate) async fn start(&self) -> Result<(), Failure> {
        match self {
            Self::Systemd { .. } => {
                self.tell(&["daemon-reload"]).await?;
                self.tell(&["enable", "--now", UNIT]).await?;
            }
            Self::Launchd { agent, domain } => {
                if !self.is_loaded().await? {
                    self.tell(&["bootstrap", domain, &agent.to_string_lossy()]).await?;
                }
            }
        }
        Ok(())
    }

    /// Stops the service, which drains the chain, and forgets it. Says whether there was one.
    pub(crate) async fn uninstall(&self) -> Result<bool, Failure> {
        let path = self.file();
        if read(path)?.is_none() {
            return Ok(false);
        }
        self.probe().await?;
        match self {
            Self::Systemd { .. } => self.tell(&["disable", "--now", UNIT]).await?,
            Self::Launchd { domain, .. } => {
                if self.is_loaded().await? {
                    self.tell(&["bootout", &format!("{domain}/{LABEL}")]).await?;
                }
            }
        }
        fs::remove_file(path).with_context(|| format!("cannot remove `{}`", path.display()))?;
        if matches!(self, Self::Systemd { .. }) {
            self.tell(&["daemon-reload"]).await?;
        }
        Ok(true)
    }

    pub(crate) async fn state(&self) -> Result<State, Failure> {
        let file = self.file().to_owned();
        if read(&file)?.is_none() {
            return Ok(State { installed: false, file, enabled: None, active: None });
        }
        self.probe().await?;
        let (enabled, active) = match self {
            // Their exit codes say the same as their words.
            Self::Systemd { .. } => (
                word(&self.ask(&["is-enabled", UNIT]).await?),
                word(&self.ask(&["is-active", UNIT]).await?),
            ),
            Self::Launchd { .. } => {
                let active = if self.is_loaded().await? { "loaded" } else { "not loaded" };
                ("enabled".to_owned(), active.to_owned())
            }
        };
        Ok(State { installed: true, file, enabled: Some(enabled), active: Some(active) })
    }

    fn file(&self) -> &Path {
        match self {
            Self::Systemd { unit } => unit,
            Self::Launchd { agent, .. } => agent,
        }
    }

    /// Refuses, before anything is changed, where no such manager listens to this person.
    async fn probe(&self) -> Result<(), Failure> {
        match self {
            Self::Systemd { .. } => self.tell(&["show", "--property=Version"]).await,
            Self::Launchd { domain, .. } => self.tell(&["print", domain]).await,
        }
        .map_err(|failure| {
            failure
                .context("services of your own cannot be had here")
                .hint("`./rbee queen start` starts the chain without one")
        })
    }

    async fn is_loaded(&self) -> Result<bool, Failure> {
        let Self::Launchd { domain, .. } = self else { return Ok(false) };
        Ok(self.ask(&["print", &format!("{domain}/{LABEL}")]).await?.status.success())
    }

    async fn tell(&self, arguments: &[&str]) -> Result<(), Failure> {
        let output = self.ask(arguments).await?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.trim();
        let said = if said.is_empty() { output.status.to_string() } else { said.to_owned() };
        let mut command = vec![self.program()];
        command.extend(self.flag());
        command.extend(arguments);
        Err(anyhow!("{said}").context(format!("`{}` failed", command.join(" "))).into())
    }

    async fn ask(&self, arguments: &[&str]) -> Result<Output, Failure> {
        let mut command = Command::new(self.program());
        command.args(self.flag()).args(arguments).stdin(Stdio::null()).kill_on_drop(true);
        let output = command.output().await;
        Ok(output.with_context(|| format!("cannot run `{}`", self.program()))?)
    }

    /// What makes it the person's own manager.
    fn flag(&self) -> Option<&'static str> {
        match self {
            Self::Systemd { .. } => Some("--user"),
            Self::Launchd { .. } => None,
        }
    }

    fn program(&self) -> &'static str {
        match self {
            Self::Systemd { .. } => "systemctl",
            Self::Launchd { .. } => "launchctl",
        }
    }
}

fn word(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stdout);
    match said.trim() {
        "" => "unknown".to_owned(),
        said => said.to_owned(),
    }
}

fn read(path: &Path) -> Result<Option<String>, Failure> {
    match fs::read(path) {
        Ok(text) => Ok(Some(String::from_utf8_lossy(&text).into_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read `{}`", path.display()))?,
    }
}

/// By rename, so that the manager never reads half of it.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().expect("a service's file lies in a folder");
    fs::create_dir_all(folder)?;
    let new = path.with_extension(format!("new-{}", std::process::id()));
    let mut options = fs::OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(FILE_MODE).open(&new);
    let written = file
        .and_then(|mut file| io::Write::write_all(&mut file, text.as_bytes()))
        .and_then(|()| fs::rename(&new, path));
    if written.is_err() {
        // The first error is the one to tell.
        fs::remove_file(&new).ok();
    }
    written
}
