use std::{
    collections::BTreeMap,
    error::Error,
    path::{Path, PathBuf},
    time::Duration,
};

use auto_update::{
    Artifact, AutoUpdater, Freshness, Input, Inspection, StaleReason, StoredArtifact,
};
use serde::Serialize;
use serde_json::json;

/// Of the objects that `--json` prints; a field that goes or means something else raises it.
const VERSION: u32 = 1;

/// What making sure of a binary came to.
#[derive(Debug)]
pub(crate) struct Built {
    pub(crate) artifact: Artifact,
    pub(crate) compiled: bool,
    /// It has the bytes that it had before.
    pub(crate) identical: bool,
    pub(crate) took: Duration,
}

pub(crate) fn verdict(updater: &AutoUpdater, inspection: &Inspection, took: Duration) -> String {
    let name = updater.name();
    let how = format!("{} inputs, {} us", inspection.inputs, took.as_micros());
    match &inspection.freshness {
        Freshness::Fresh(artifact) => {
            format!("fresh: `{name}` is {} ({how})", artifact.hash.short())
        }
        Freshness::Stale(reasons) => {
            format!("stale: `{name}` ({how})\n{}", sentences(updater, reasons))
        }
        Freshness::Unknown(doubt) => format!("in doubt: `{name}`, {doubt}"),
    }
}

pub(crate) fn verdict_json(
    updater: &AutoUpdater,
    inspection: &Inspection,
    took: Duration,
) -> String {
    let (verdict, artifact, reasons, doubt) = match &inspection.freshness {
        Freshness::Fresh(artifact) => ("fresh", Some(artifact), &[][..], None),
        Freshness::Stale(reasons) => ("stale", None, reasons.as_slice(), None),
        Freshness::Unknown(doubt) => ("unknown", None, &[][..], Some(doubt.to_string())),
    };
    let reasons: Vec<_> = reasons
        .iter()
        .map(|reason| {
            json!({
                "change": reason.change,
                "kind": reason.kind,
                "input": text(&reason.input),
                "via": reason.via,
                "text": reason.to_string(),
            })
        })
        .collect();
    json(&json!({
        "version": VERSION,
        "binary": updater.name(),
        "package": updater.package_name(),
        "workspace": text(updater.workspace_root()),
        "verdict": verdict,
        "artifact": artifact,
        "reasons": reasons,
        "doubt": doubt,
        "inputs": inspection.inputs,
        "micros": took.as_micros() as u64,
        "asked_cargo": false,
    }))
}

pub(crate) fn built_json(updater: &AutoUpdater, built: &Built, asked_cargo: bool) -> String {
    json(&json!({
        "version": VERSION,
        "binary": updater.name(),
        "package": updater.package_name(),
        "workspace": text(updater.workspace_root()),
        "artifact": built.artifact,
        "asked_cargo": asked_cargo,
        "compiled": built.compiled,
        "identical": built.identical,
        "micros": built.took.as_micros() as u64,
    }))
}

pub(crate) fn explanation(
    updater: &AutoUpdater,
    inspection: &Inspection,
    inputs: &[Input],
    files: &[PathBuf],
) -> String {
    let mut lines = Vec::new();
    if files.is_empty() {
        lines.push(verdict_of(updater, inspection));
        let mut counts: BTreeMap<String, (usize, usize)> = BTreeMap::new();
        for input in inputs {
            let count = counts.entry(kind(input)).or_default();
            count.0 += 1;
            count.1 += usize::from(input.is_absent);
        }
        for (kind, (all, absent)) in counts {
            let suffix =
                if absent > 0 { format!(", {absent} of them absent") } else { String::new() };
            lines.push(format!("{all:>7} {kind}{suffix}"));
        }
    }
    for file in files {
        let shown = relative(updater, file);
        let found: Vec<&Input> = inputs.iter().filter(|input| input.path == *file).collect();
        if found.is_empty() {
            lines.push(format!("`{}` does not matter to `{}`", shown.display(), updater.name()));
        }
        for input in found {
            let absent = if input.is_absent { ", and must stay absent" } else { "" };
            let via = if input.via.is_empty() {
                String::new()
            } else {
                format!(", through {}", input.via.join(", used by "))
            };
            lines.push(format!("`{}` matters as {}{via}{absent}", shown.display(), kind(input)));
        }
    }
    lines.join("\n")
}

pub(crate) fn explanation_json(
    updater: &AutoUpdater,
    inspection: &Inspection,
    inputs: &[Input],
    files: &[PathBuf],
) -> String {
    let wanted: Vec<&Input> =
        inputs.iter().filter(|input| files.is_empty() || files.contains(&input.path)).collect();
    json(&json!({
        "version": VERSION,
        "binary": updater.name(),
        "fresh": inspection.freshness.is_fresh(),
        "inputs": wanted,
    }))
}

pub(crate) fn stored(artifacts: &[StoredArtifact]) -> String {
    let line = |artifact: &StoredArtifact| {
        let in_use = if artifact.in_use { "  in use" } else { "" };
        format!(
            "{}  {:>8} KiB  {}{in_use}",
            artifact.hash.short(),
            artifact.size >> 10,
            artifact.binary
        )
    };
    artifacts.iter().map(line).collect::<Vec<_>>().join("\n")
}

pub(crate) fn removed(artifacts: &[StoredArtifact]) -> String {
    let size: u64 = artifacts.iter().map(|artifact| artifact.size).sum();
    format!("removed {} binaries, {} KiB", artifacts.len(), size >> 10)
}

/// What went wrong, for `--json`.
pub(crate) fn error_json(error: &dyn Error) -> String {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    let causes: Vec<String> = causes.map(ToString::to_string).collect();
    json(&json!({
        "version": VERSION,
        "error": { "message": error.to_string(), "causes": causes },
    }))
}

/// Names need not be UTF-8, and JSON has to be: what is not is replaced.
fn text(path: &Path) -> String {
    path.display().to_string()
}

pub(crate) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("strings, numbers and lists of them")
}

fn verdict_of(updater: &AutoUpdater, inspection: &Inspection) -> String {
    match &inspection.freshness {
        Freshness::Fresh(artifact) => {
            format!("`{}` is fresh: {}", updater.name(), artifact.path.display())
        }
        Freshness::Stale(reasons) => {
            format!("`{}` is stale\n{}", updater.name(), sentences(updater, reasons))
        }
        Freshness::Unknown(doubt) => format!("`{}` may be stale: {doubt}", updater.name()),
    }
}

fn sentences(updater: &AutoUpdater, reasons: &[StaleReason]) -> String {
    let sentence = |reason: &StaleReason| {
        let mut reason = reason.clone();
        reason.input = relative(updater, &reason.input).to_owned();
        format!("  {reason}")
    };
    reasons.iter().map(sentence).collect::<Vec<_>>().join("\n")
}

fn relative<'a>(updater: &AutoUpdater, path: &'a Path) -> &'a Path {
    path.strip_prefix(updater.workspace_root()).unwrap_or(path)
}

fn kind(input: &Input) -> String {
    let name = serde_json::to_value(input.kind).expect("a kind is a word");
    name.as_str().unwrap_or_default().replace('_', " ")
}
