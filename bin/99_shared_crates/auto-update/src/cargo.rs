//! Runs cargo, and passes on what it says.

use std::{
    collections::BTreeSet,
    io::{self, BufRead, BufReader, Read},
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel},
    thread,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use crate::{
    environment::BuildEnvironment,
    error::Error,
    layout::Layout,
    priority::{Priority, Running},
};

/// How often it is looked whether a cargo that runs is to be raised or ended.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Wide enough for the names of what is being compiled.
const PROGRESS_WIDTH: &str = "120";

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
    /// Why it was ended, if it was.
    pub(crate) halted: Option<Halt>,
}

/// Why a cargo is ended before it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Halt {
    /// What it builds from is not there any more.
    Overtaken,
    /// The workspace itself is not there any more.
    TreeGone,
    /// Somebody waits for it, and it can be no faster unless it is started again.
    TooSlow(Priority),
}

/// What cargo prints while it builds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    Line(String),
    /// How many units are done, of how many, and what is being compiled.
    Progress {
        done: u32,
        total: u32,
        now: String,
    },
}

/// Looks after a cargo that runs.
pub(crate) trait Oversee {
    fn said(&mut self, said: Said);
    /// Called again and again while it runs. May raise it; says whether it is to be ended.
    fn look(&mut self, running: &mut Running) -> Option<Halt>;
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

impl ArtifactMessage {
    pub(crate) fn is_target(&self, name: &str, is_example: bool) -> bool {
        let wanted = if is_example { "example" } else { "bin" };
        self.target.name == name && self.target.kind.iter().any(|kind| kind == wanted)
    }
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
    /// Where it told the linker to search, each with its kind before it: `native=/folder`.
    #[serde(default)]
    pub(crate) linked_paths: Vec<String>,
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
    /// Where it is started.
    pub(crate) folder: &'a Path,
    pub(crate) environment: &'a BuildEnvironment,
    /// Everything after `cargo build` that chooses what is built.
    pub(crate) arguments: Vec<String>,
    pub(crate) colours: bool,
    pub(crate) priority: Priority,
}

impl Build<'_> {
    /// Runs it under the eyes of `overseer`.
    pub(crate) fn run(&self, overseer: &mut dyn Oversee) -> Result<Report, Error> {
        let mut command = cargo(self.folder, self.environment);
        command.arg("build").args(&self.arguments);
        command.arg("--message-format=json-render-diagnostics");
        command.args(["--color", if self.colours { "always" } else { "never" }]);
        // Into a pipe cargo says nothing of its progress unless it is told to.
        command.env("CARGO_TERM_PROGRESS_WHEN", "always");
        command.env("CARGO_TERM_PROGRESS_WIDTH", PROGRESS_WIDTH);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let started = Running::spawn(&mut command, self.priority);
        let mut running =
            started.map_err(|source| Error::Spawn { program: "cargo".into(), source })?;
        let stdout = running.child.stdout.take().expect("it is piped");
        let stderr = running.child.stderr.take().expect("it is piped");

        let (lines, received) = sync_channel(LINE_QUEUE_LEN);
        let (mut text, mut halted) = (String::new(), None);
        let messages = thread::scope(|scope| {
            let messages = scope.spawn(move || read_messages(stdout));
            scope.spawn(move || forward_lines(stderr, &lines));
            let mut looked = Instant::now();
            loop {
                match received.recv_timeout(LOOK_INTERVAL) {
                    Ok(said) => {
                        if let Said::Line(line) = &said {
                            text.push_str(&without_colours(line));
                            text.push('\n');
                        }
                        overseer.said(said);
                    }
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => break,
                }
                if halted.is_none() && looked.elapsed() >= LOOK_INTERVAL {
                    halted = overseer.look(&mut running);
                    if halted.is_some() {
                        running.end();
                    }
                    looked = Instant::now();
                }
            }
            messages.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        let status = running.wait().map_err(|source| Error::CargoOutput { source })?;
        let (artifacts, scripts) = messages.map_err(|source| Error::CargoOutput { source })?;
        Ok(Report { artifacts, scripts, status, text, halted })
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
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Metadata {
    pub(crate) packages: Vec<PackageMessage>,
    pub(crate) target_directory: PathBuf,
    #[serde(default)]
    pub(crate) build_directory: Option<PathBuf>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PackageMessage {
    pub(crate) manifest_path: PathBuf,
    pub(crate) name: String,
    pub(crate) version: String,
    #[serde(default)]
    pub(crate) authors: Vec<String>,
    pub(crate) description: Option<String>,
    pub(crate) homepage: Option<String>,
    pub(crate) repository: Option<String>,
    pub(crate) license: Option<String>,
    pub(crate) license_file: Option<String>,
    pub(crate) rust_version: Option<String>,
    pub(crate) readme: Option<String>,
}

/// Asks cargo for the members of the workspace; `None` where it cannot tell.
pub(crate) fn metadata(layout: &Layout) -> Option<Metadata> {
    let mut command = cargo(layout.folder(), &layout.environment);
    command.args(["metadata", "--format-version", "1", "--no-deps", "--offline"]);
    if layout.options.folder.is_some() {
        command.arg("--manifest-path").arg(layout.package.dir.join("Cargo.toml"));
    }
    layout.options.config.iter().for_each(|config| {
        command.args(["--config", config]);
    });
    let output = command.stderr(Stdio::null()).output().ok()?;
    if !output.status.success() {
        return None;
    }
    serde_json::from_slice(&output.stdout).ok()
}

/// Makes cargo forget everything that it built of `packages`. It removes programs of other packages
/// too whose names begin alike, even while they run.
pub(crate) fn clean(layout: &Layout, packages: &BTreeSet<String>) -> Result<(), Error> {
    let mut command = cargo(layout.folder(), &layout.environment);
    command.arg("clean").args(layout.options.places(&layout.package));
    command.args(["--profile", &layout.options.profile]);
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

fn cargo(folder: &Path, environment: &BuildEnvironment) -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(folder).env_clear().envs(environment.vars()).stdin(Stdio::null());
    command
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

fn forward_lines(stderr: impl Read, said: &SyncSender<Said>) {
    let mut stderr = BufReader::new(stderr);
    // Behind a carriage return a terminal writes over what it has.
    let mut is_over = false;
    while let Ok(Some((part, end))) = next_part(&mut stderr) {
        let part = String::from_utf8_lossy(&part);
        let line = part.strip_prefix("\u{1b}[K").unwrap_or(&part);
        let what = progress(line).unwrap_or_else(|| Said::Line(line.to_owned()));
        if !(is_over && line.is_empty()) && said.send(what).is_err() {
            return;
        }
        is_over = end == b'\r';
    }
}

/// What is before the next line feed or carriage return, and which of them it is.
fn next_part(from: &mut impl BufRead) -> io::Result<Option<(Vec<u8>, u8)>> {
    let mut part = Vec::new();
    loop {
        let buffer = from.fill_buf()?;
        if buffer.is_empty() {
            return Ok((!part.is_empty()).then_some((part, b'\n')));
        }
        match buffer.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            Some(at) => {
                let end = buffer[at];
                part.extend_from_slice(&buffer[..at]);
                from.consume(at + 1);
                return Ok(Some((part, end)));
            }
            None => {
                part.extend_from_slice(buffer);
                let length = buffer.len();
                from.consume(length);
            }
        }
    }
}

/// `    Building [====>   ] 12/34: these, those`, as cargo draws it.
fn progress(part: &str) -> Option<Said> {
    let plain = without_colours(part);
    let (verb, rest) = plain.trim_start().split_once(" [")?;
    let (bar, rest) = rest.split_once("] ")?;
    if verb != "Building" || !bar.chars().all(|char| matches!(char, '=' | '>' | ' ')) {
        return None;
    }
    let (count, now) = rest.split_once(':').unwrap_or((rest, ""));
    let (done, total) = count.trim().split_once('/')?;
    let number = |text: &str| text.trim().parse().ok();
    Some(Said::Progress { done: number(done)?, total: number(total)?, now: now.trim().to_owned() })
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
