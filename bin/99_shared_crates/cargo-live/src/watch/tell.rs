//! What a person, or a program, is told: one line for each thing that happens.

use std::{
    io::{self, IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    process::ExitStatus,
    time::Duration,
};

use auto_update::ArtifactHash;
use serde::Serialize;

/// Counts changes of the events that would break who reads them.
const VERSION: u32 = 1;
/// Verbs stand in a column as wide as cargo's.
const COLUMN: usize = 12;
/// So many files are named; of others it is said how many there are.
const MOST_NAMED: usize = 3;

/// Something that happens to the program or its sources.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum Event<'a> {
    Listening {
        address: &'a str,
    },
    Watching {
        binary: &'a str,
    },
    Changed {
        files: &'a [PathBuf],
    },
    Unchanged {
        files: &'a [PathBuf],
        hash: ArtifactHash,
    },
    Building {
        reasons: Vec<String>,
    },
    /// What cargo prints.
    Line {
        text: &'a str,
    },
    Failed {
        error: String,
        still_running: bool,
    },
    Started {
        pid: u32,
        hash: ArtifactHash,
    },
    Ready {
        pid: u32,
        hash: ArtifactHash,
        sign: String,
        after_ms: u64,
    },
    Replaced {
        pid: u32,
        hash: ArtifactHash,
        before: u32,
        sign: String,
        after_ms: u64,
    },
    /// A new process that failed, while the one before it goes on.
    Kept {
        pid: u32,
        why: String,
    },
    /// A new process that failed after the one before it had gone.
    RolledBack {
        pid: u32,
        hash: ArtifactHash,
        why: String,
    },
    Ended {
        pid: u32,
        how: String,
    },
    Stopped {
        pid: u32,
    },
    Paused {
        has_changes: bool,
    },
    Resumed,
    Note {
        text: String,
    },
}

/// Where events go.
#[derive(Debug)]
pub(super) struct Teller {
    json: bool,
    is_coloured: bool,
    quiet: bool,
    root: PathBuf,
    binary: String,
}

impl Teller {
    pub(super) fn new(json: bool, quiet: bool, root: &Path, binary: &str) -> Self {
        let is_coloured = io::stderr().is_terminal();
        Self { json, is_coloured, quiet, root: root.to_owned(), binary: binary.to_owned() }
    }

    pub(super) fn is_coloured(&self) -> bool {
        self.is_coloured && !self.json
    }

    pub(super) fn tell(&self, event: &Event<'_>) {
        if self.json {
            let versioned = Versioned { version: VERSION, event };
            let line = serde_json::to_string(&versioned).expect("strings, numbers, lists of them");
            // Whoever has read the events may have gone.
            writeln!(io::stdout(), "{line}").unwrap_or(());
        } else if let Event::Line { text } = event {
            if !self.quiet || text.contains("error") {
                self.write(text);
            }
        } else if let Some((verb, text)) = self.sentence(event) {
            self.write(&self.line(verb, &text));
        }
    }

    /// Text that is no event.
    pub(super) fn write(&self, text: &str) {
        // A closed stderr is no reason to end the program.
        writeln!(io::stderr(), "{text}").unwrap_or(());
    }

    fn line(&self, verb: &str, text: &str) -> String {
        if !self.is_coloured {
            return format!("{verb:>COLUMN$} {text}");
        }
        let colour =
            if matches!(verb, "Failed" | "Kept" | "Rolled back" | "Ended") { 31 } else { 36 };
        format!("\u{1b}[1;{colour}m{verb:>COLUMN$}\u{1b}[0m {text}")
    }

    fn sentence(&self, event: &Event<'_>) -> Option<(&'static str, String)> {
        let binary = &self.binary;
        Some(match event {
            Event::Listening { address } => ("Listening", format!("on {address}")),
            Event::Watching { binary } => ("Watching", format!("what `{binary}` is made from")),
            Event::Changed { files: [] } => return None,
            Event::Changed { files } => ("Changed", self.files(files)),
            Event::Unchanged { files, hash } => {
                let what = if files.is_empty() { String::new() } else { self.files(files) + ": " };
                let text =
                    format!("{what}`{binary}` is still {}, nothing is restarted", hash.short());
                ("Unchanged", text)
            }
            Event::Building { .. } | Event::Line { .. } => return None,
            Event::Failed { error, still_running: true } => {
                ("Failed", format!("{error}; the last good `{binary}` goes on"))
            }
            Event::Failed { error, still_running: false } => {
                ("Failed", format!("{error}; a change starts it again"))
            }
            Event::Started { pid, hash } => {
                ("Started", format!("`{binary}` {} (process {pid})", hash.short()))
            }
            Event::Ready { pid, sign, after_ms, .. } => {
                ("Ready", format!("process {pid} after {after_ms} ms: {sign}"))
            }
            Event::Replaced { pid, hash, before, sign, after_ms } => {
                let hash = hash.short();
                let text =
                    format!("process {before} by {pid}, {hash}, after {after_ms} ms: {sign}");
                ("Replaced", text)
            }
            Event::Kept { pid, why } => {
                ("Kept", format!("process {pid}, since the new one failed: {why}"))
            }
            Event::RolledBack { pid, hash, why } => {
                let text = format!("to {} (process {pid}): {why}", hash.short());
                ("Rolled back", text)
            }
            Event::Ended { pid, how } => {
                ("Ended", format!("process {pid} {how}; a change starts it again"))
            }
            Event::Stopped { pid } => ("Stopped", format!("process {pid}")),
            Event::Paused { has_changes: false } => ("Paused", "changes wait".to_owned()),
            Event::Paused { has_changes: true } => ("Paused", "there are changes".to_owned()),
            Event::Resumed => ("Resumed", String::new()),
            Event::Note { text } => ("Note", text.clone()),
        })
    }

    fn files(&self, files: &[PathBuf]) -> String {
        let name = |path: &PathBuf| {
            format!("`{}`", path.strip_prefix(&self.root).unwrap_or(path).display())
        };
        let mut text = files.iter().take(MOST_NAMED).map(name).collect::<Vec<_>>().join(", ");
        if files.len() > MOST_NAMED {
            text = format!("{text} and {} more", files.len() - MOST_NAMED);
        }
        text
    }
}

#[derive(Serialize)]
struct Versioned<'a> {
    version: u32,
    #[serde(flatten)]
    event: &'a Event<'a>,
}

/// How a process ended, after its name.
pub(super) fn how(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(0), _) => "ended".to_owned(),
        (Some(code), _) => format!("exited with {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

pub(super) fn milliseconds(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}
