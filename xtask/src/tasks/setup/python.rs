use std::{
    io::IsTerminal as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, bail};

use crate::tasks::setup::{TOOLS, tool::output_of};

/// A python3 that has pip.
#[derive(Debug, Clone)]
pub struct Python {
    program: PathBuf,
}

impl Python {
    /// The system's, else the one that [`Self::get`] made.
    pub fn find(root: &Path) -> Option<Self> {
        let candidates = [PathBuf::from("python3"), virtual_environment(root).join("bin/python3")];
        let mut candidates = candidates.into_iter().map(|program| Self { program });
        candidates.find(|python| output_of(&python.program, &["-m", "pip", "--version"]).is_some())
    }

    /// As [`Self::find`], making a virtual environment in the checkout where the system keeps pip
    /// apart from python3.
    pub fn get(root: &Path) -> Option<Self> {
        Self::find(root).or_else(|| {
            let folder = virtual_environment(root);
            output_of("python3", &["-m".as_ref(), "venv".as_ref(), folder.as_os_str()])?;
            Self::find(root)
        })
    }

    /// Installs packages with everything that they need into the folder `target`.
    ///
    /// The system's own packages stay as they are, so this works where it does not let pip
    /// touch them.
    pub fn install(&self, packages: &[&str], target: &Path) -> anyhow::Result<()> {
        let mut command = self.pip("install");
        command.args(["--upgrade", "--target"]).arg(target).args(packages);
        run(command).context("pip could not install them")
    }

    /// The Python of an environment that has pip.
    pub(super) fn at(program: PathBuf) -> Self {
        Self { program }
    }

    /// Downloads what the file `list` names into `folder`, with what that needs only if so
    /// `with_dependencies`. What is there already is not downloaded again.
    pub(super) fn download_list(
        &self,
        list: &Path,
        with_dependencies: bool,
        folder: &Path,
    ) -> anyhow::Result<()> {
        let mut command = self.pip("download");
        command.args(quiet()).args((!with_dependencies).then_some("--no-deps"));
        command.arg("--dest").arg(folder).arg("--requirement").arg(list);
        run(command).context("pip could not download them")
    }

    /// Installs what the file `list` names into this Python's own environment, from wheels in
    /// `folder` only.
    pub(super) fn install_list(
        &self,
        list: &Path,
        with_dependencies: bool,
        folder: &Path,
    ) -> anyhow::Result<()> {
        let mut command = self.pip("install");
        command.args(quiet()).args((!with_dependencies).then_some("--no-deps"));
        // What is used is compiled when it is first used: little of the whole.
        command.args(["--no-compile", "--no-index", "--find-links"]).arg(folder);
        command.arg("--requirement").arg(list);
        run(command).context("pip could not install them")
    }

    /// Downloads the wheel of one package into `folder`.
    pub fn download(&self, package: &str, folder: &Path) -> anyhow::Result<()> {
        let mut command = self.pip("download");
        command.args(quiet()).args(["--no-deps", "--dest"]).arg(folder).arg(package);
        run(command).with_context(|| format!("pip could not download `{package}`"))
    }

    /// Downloads the source of one package into `folder`.
    pub fn download_source(
        &self,
        package: &str,
        version: &str,
        folder: &Path,
    ) -> anyhow::Result<()> {
        let mut command = self.pip("download");
        // Other packages, which pip needs to read this one's description, stay wheels.
        command.args(["--no-binary", package, "--no-deps", "--dest"]).arg(folder);
        command.arg(format!("{package}=={version}"));
        run(command).with_context(|| format!("pip could not download `{package}`"))
    }

    /// Unpacks a wheel, or another ZIP archive.
    pub fn unpack(&self, archive: &Path, folder: &Path) -> anyhow::Result<()> {
        let mut command = Command::new(&self.program);
        command.args(["-m", "zipfile", "-e"]).arg(archive).arg(folder);
        run(command).with_context(|| format!("cannot unpack `{}`", archive.display()))
    }

    /// Wheels only: building a package from source would need the tools that are being got.
    fn pip(&self, verb: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["-m", "pip", verb, "--disable-pip-version-check", "--no-input"]);
        command.args(["--only-binary", ":all:"]);
        // A person's configuration may ask for what does not go with a folder of our own, and
        // being root does no harm there.
        command.env("PIP_USER", "0").env("PIP_ROOT_USER_ACTION", "ignore");
        command
    }
}

/// Many packages make many lines; a person is to see them pass.
fn quiet() -> Option<&'static str> {
    (!std::io::stderr().is_terminal()).then_some("--quiet")
}

fn virtual_environment(root: &Path) -> PathBuf {
    root.join(TOOLS).join("venv")
}

/// Its output goes to stderr: stdout is for what was asked for.
fn run(mut command: Command) -> anyhow::Result<()> {
    let status = command
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .status()
        .with_context(|| format!("cannot start `{}`", command.get_program().display()))?;
    if !status.success() {
        bail!("`{}` ended with {status}", command.get_program().display());
    }
    Ok(())
}
