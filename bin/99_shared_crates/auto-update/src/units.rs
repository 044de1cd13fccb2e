//! Which units of a call of cargo belong to a binary.
//!
//! The name under which cargo links a binary has a hash of everything that decides how it and all
//! that it is made from are compiled: packages, versions, features, profile, flags. Two builds under
//! one such name consist of the same units. So the list of them, written when a binary was built
//! alone, tells which part of a call for several binaries is this one's, if the name is the same.

use std::{
    collections::HashSet,
    fs,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::ExitStatus,
};

use serde::{Deserialize, Serialize};

use crate::{
    cargo::{ArtifactMessage, Report, ScriptMessage},
    error::Error,
    inputs::{self, BuildContext},
    receipt::Receipt,
    records,
};

#[derive(Serialize, Deserialize)]
struct Units {
    /// Stands for the name under which it was linked.
    mark: PathBuf,
    compiled: HashSet<Compiled>,
    scripts: HashSet<(String, PathBuf)>,
}

#[derive(PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Compiled {
    package_id: String,
    kind: Vec<String>,
    name: String,
    filenames: Vec<PathBuf>,
}

/// Keeps which units a call for one binary consisted of.
pub(crate) fn write(
    records: &Path,
    report: &Report,
    context: BuildContext<'_>,
) -> Result<(), Error> {
    let Some(mark) = mark(report, context) else { return Ok(()) };
    let units = Units {
        mark,
        compiled: report.artifacts.iter().map(compiled).collect(),
        scripts: report.scripts.iter().map(script).collect(),
    };
    let bytes = serde_json::to_vec(&units).unwrap_or_default();
    records::replace(&path(records), &bytes)
}

/// The part of `joint` that is the binary's, as a call for it alone would have reported it; `None`
/// where that cannot be told, or it was linked as another variant than the one that `last` records.
pub(crate) fn alone(
    records: &Path,
    last: &Receipt,
    joint: &Report,
    context: BuildContext<'_>,
) -> Option<Report> {
    let units: Units = serde_json::from_slice(&fs::read(path(records)).ok()?).ok()?;
    let was_linked_so = last.head.marks.iter().any(|trace| trace.path == units.mark);
    let artifacts = joint.artifacts.iter().filter(|unit| units.compiled.contains(&compiled(unit)));
    let scripts = joint.scripts.iter().filter(|run| units.scripts.contains(&script(run)));
    let report = Report {
        artifacts: artifacts.cloned().collect(),
        scripts: scripts.cloned().collect(),
        status: ExitStatus::from_raw(0),
        text: String::new(),
        halted: None,
    };
    let is_whole = report.artifacts.len() == units.compiled.len()
        && report.scripts.len() == units.scripts.len();
    let is_same = is_whole && was_linked_so && mark(&report, context)? == units.mark;
    is_same.then_some(report)
}

fn mark(report: &Report, context: BuildContext<'_>) -> Option<PathBuf> {
    let binary = report.artifacts.iter().rfind(|artifact| artifact.executable.is_some())?;
    inputs::mark_of(binary, context)
}

fn path(records: &Path) -> PathBuf {
    records.join("units")
}

fn compiled(artifact: &ArtifactMessage) -> Compiled {
    Compiled {
        package_id: artifact.package_id.clone(),
        kind: artifact.target.kind.clone(),
        name: artifact.target.name.clone(),
        filenames: artifact.filenames.clone(),
    }
}

fn script(run: &ScriptMessage) -> (String, PathBuf) {
    (run.package_id.clone(), run.out_dir.clone())
}
