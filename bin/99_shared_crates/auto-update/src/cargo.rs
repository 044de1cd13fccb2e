//! Runs cargo, and passes on what it says.

use std::{
    collections::BTreeSet,
    io::{self, BufRead as _, BufReader, Read},
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{SyncSender, sync_channel},
    thread,
};

use serde::Deserialize;

use crate::{environment::BuildEnvironment, error::Error, layout::Layout, priority::Idle};

/// Lines that may wait for the observer before cargo does.
const LINE_QUEUE_LEN: usize = 256;

/// What one call of cargo built or found built.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) artifacts: Vec<ArtifactMessage>,
    pub(crate) scripts: Vec<ScriptMessage>,
    pub(crate) status: ExitStatus,
    /// What it printed for people, without colours.
    pub(crate) text: String,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct ArtifactMessage {
    pub(crate) package_id: String,
    pub(crate) manifest_path: PathBuf,
    pub(crate) target: TargetMessage,
    pub(crate) filenames: Vec<PathBuf>,
    pub(crate) executable: Option<PathBuf>,
    pub(crate) fresh: bool,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct TargetMessage {
    pub(crate) kind: Vec<String>,
    pub(crate) name: String,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct ScriptMessage {
    pub(crate) package_id: String,
    pub(crate) out_dir: PathBuf,
    /// What it told cargo to set for the compiler.
    pub(crate) env: Vec<(String, String)>,
}

#[derive(Deserialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
enum Message {
    CompilerArtifact(ArtifactMessage),
    BuildScriptExecuted(ScriptMessage),
    #[serde(other)]
    Other,
}

/// A call of cargo that builds.
#[derive(Debug)]
pub(crate) struct Build<'a> {
    pub(crate) root: &'a Path,
    pub(crate) environment: &'a BuildEnvironment,
    /// Everything after `cargo build` that chooses what is built.
    pub(crate) arguments: Vec<String>,
    pub(crate) colours: bool,
    pub(crate) idle: bool,
}

impl Build<'_> {
    /// Runs it, handing each line that cargo prints for people to `on_line`.
    pub(crate) fn run(&self, on_line: &mut dyn FnMut(String)) -> Result<Report, Error> {
        let mut command = cargo(self.root, self.environment);
        command.arg("build").args(&self.arguments);
        command.arg("--message-format=json-render-diagnostics");
        command.args(["--color", if self.colours { "always" } else { "never" }]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut running = Running::start(&mut command, self.idle)?;
        let child = running.child();
        let stdout = child.stdout.take().expect("it is piped");
        let stderr = child.stderr.take().expect("it is piped");

        let (lines, received) = sync_channel(LINE_QUEUE_LEN);
        let mut text = String::new();
        let messages = thread::scope(|scope| {
            let messages = scope.spawn(move || read_messages(stdout));
            scope.spawn(move || forward_lines(stderr, &lines));
            for line in received {
                text.push_str(&without_colours(&line));
                text.push('\n');
                on_line(line);
            }
            messages.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        let status = running.wait().map_err(|source| Error::CargoOutput { source })?;
        let (artifacts, scripts) = messages.map_err(|source| Error::CargoOutput { source })?;
        Ok(Report { artifacts, scripts, status, text })
    }
}

impl Report {
    /// Adds what a call just before this one has compiled, and this one therefore found fresh.
    pub(crate) fn include(&mut self, before: &Self) {
        for artifact in &mut self.artifacts {
            let compiled = before
                .artifacts
                .iter()
                .any(|earlier| !earlier.fresh && earlier.filenames == artifact.filenames);
            artifact.fresh &= !compiled;
        }
    }

    /// The signal that ended it, or that cargo answers to by a status above 128.
    pub(crate) fn interrupted_by(&self) -> Option<i32> {
        const INTERRUPT: i32 = 2;
        self.status.signal().or((self.status.code() == Some(128 + INTERRUPT)).then_some(INTERRUPT))
    }
}

/// The members of the workspace and where it builds, as cargo knows them.
#[derive(Debug, Deserialize)]
pub(crate) struct Metadata {
    pub(crate) packages: Vec<PackageMessage>,
    pub(crate) target_directory: PathBuf,
    #[serde(default)]
    pub(crate) build_directory: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct PackageMessage {
    pub(crate) manifest_path: PathBuf,
    #[serde(default)]
    pub(crate) targets: Vec<TargetMessage>,
}

/// Asks cargo for the members of the workspace; `None` where it cannot tell.
pub(crate) fn metadata(root: &Path, environment: &BuildEnvironment) -> Option<Metadata> {
    let mut command = cargo(root, environment);
    command.args(["metadata", "--format-version", "1", "--no-deps", "--offline"]);
    let output = command.stderr(Stdio::null()).output().ok()?;
    if !output.status.success() {
        return None;
    }
    serde_json::from_slice(&output.stdout).ok()
}

/// Makes cargo forget what it built of `packages`, so that it looks at their files again.
pub(crate) fn clean(layout: &Layout, packages: &BTreeSet<String>) -> Result<(), Error> {
    let mut command = cargo(layout.root(), &layout.environment);
    command.args(["clean", "--profile", &layout.options.profile]);
    if let Some(target) = &layout.options.target {
        command.args(["--target", target]);
    }
    packages.iter().for_each(|package| {
        command.args(["-p", package]);
    });
    let output =
        command.output().map_err(|source| Error::Spawn { program: "cargo".into(), source })?;
    if output.status.success() {
        return Ok(());
    }
    let packages = packages.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    let diagnostics = String::from_utf8_lossy(&output.stderr).trim_end().to_owned();
    Err(Error::Clean { packages, diagnostics })
}

fn cargo(root: &Path, environment: &BuildEnvironment) -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(root).env_clear().envs(environment.vars()).stdin(Stdio::null());
    command
}

/// A cargo that runs.
enum Running {
    Usual(Child),
    Idle(Idle),
}

impl Running {
    fn start(command: &mut Command, idle: bool) -> Result<Self, Error> {
        let started = if idle {
            Idle::spawn(command).map(Self::Idle)
        } else {
            command.spawn().map(Self::Usual)
        };
        started.map_err(|source| Error::Spawn { program: "cargo".into(), source })
    }

    fn child(&mut self) -> &mut Child {
        match self {
            Self::Usual(child) | Self::Idle(Idle { child, .. }) => child,
        }
    }

    fn wait(self) -> io::Result<ExitStatus> {
        match self {
            Self::Usual(mut child) => child.wait(),
            Self::Idle(idle) => idle.wait(),
        }
    }
}

type Messages = (Vec<ArtifactMessage>, Vec<ScriptMessage>);

fn read_messages(stdout: impl Read) -> io::Result<Messages> {
    let (mut artifacts, mut scripts) = (Vec::new(), Vec::new());
    for line in BufReader::new(stdout).split(b'\n') {
        // A line that is no message of cargo's is a build tool's own.
        match serde_json::from_slice(&line?) {
            Ok(Message::CompilerArtifact(artifact)) => artifacts.push(artifact),
            Ok(Message::BuildScriptExecuted(script)) => scripts.push(script),
            Ok(Message::Other) | Err(_) => {}
        }
    }
    Ok((artifacts, scripts))
}

fn forward_lines(stderr: impl Read, lines: &SyncSender<String>) {
    for line in BufReader::new(stderr).split(b'\n') {
        let Ok(line) = line else { return };
        let line = String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned();
        if lines.send(line).is_err() {
            return;
        }
    }
}

/// Leaves out the escape sequences that colour text.
pub(crate) fn without_colours(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut chars = line.chars();
    while let Some(char) = chars.next() {
        if char != '\u{1b}' {
            plain.push(char);
        } else if chars.next() == Some('[') {
            chars.by_ref().find(|char| ('@'..='~').contains(char));
        }
    }
    plain
}
