//! What came of a build, and the record of it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    known::Known,
    options::BuildOptions,
    progress::{BuildEvent, Observer, Progress},
};
use crate::{
    cargo::{Metadata, Report},
    check,
    compare::Hashes,
    error::{Error, on},
    freshness::Artifact,
    hash::{ArtifactHash, hash_file},
    inputs::{self, Before, BuildContext, Gathered},
    layout::Layout,
    lock::Lock,
    receipt::{Head, Outcome, Output},
    records, running,
    stat::{StatVector, stat, state_of},
    store::Store,
    together::Companion,
    units,
};

/// What cargo put where a person finds it.
pub(super) struct Linked {
    pub(super) path: PathBuf,
    state: StatVector,
    pub(super) hash: ArtifactHash,
}

impl Linked {
    pub(super) fn look(path: PathBuf) -> Result<Self, Error> {
        let state = state_of(&path, stat)?.unwrap_or(StatVector::NONE);
        let hash = hash_file(&path).map_err(on("read", &path))?;
        Ok(Self { path, state, hash: ArtifactHash::from_bytes(hash) })
    }
}

/// Where cargo says that it put the binary.
pub(super) fn executable(layout: &Layout, report: &Report) -> Result<PathBuf, Error> {
    let binary = &layout.options.binary;
    let of_binary = report
        .artifacts
        .iter()
        .filter(|artifact| artifact.is_target(binary, layout.options.is_example));
    let named = of_binary.filter_map(|artifact| artifact.executable.clone()).next_back();
    named.ok_or_else(|| Error::NoExecutable { binary: binary.clone() })
}

/// Keeps what was built, and what it was built from.
pub(super) fn record(
    layout: &Layout,
    options: BuildOptions,
    gathered: &mut Gathered,
    linked: Linked,
) -> Result<Artifact, Error> {
    let store = Store::new(layout.home());
    let Linked { path, state, hash } = linked;
    let stored = store.insert(&path, hash, state, &layout.options.binary)?;
    // One more link to it is another state.
    let target = state_of(&path, stat)?.unwrap_or(StatVector::NONE);
    let output = Output { hash, target_path: path, target, stored, opaque: gathered.opaque.take() };
    let artifact = check::artifact(layout, &output);
    let head = head(layout, gathered, Outcome::Built(output));
    records::write_built(&layout.records, &head, &mut gathered.entries, layout.root())?;
    check::forget_failure(layout).map_err(on("remove", records::failed(&layout.records)))?;
    store.collect_garbage(options.store_limit)?;
    Ok(artifact)
}

/// Writes the receipt of a binary that was compiled along, if it is what a call for it alone
/// would have given. Where it is not, whoever asks for it makes that call.
pub(super) fn record_companion(
    options: BuildOptions,
    companion: &Companion,
    joint: &Report,
    own: BuildContext<'_>,
    hashes: &mut Hashes,
) -> Result<(), Error> {
    let Companion { layout, last, .. } = companion;
    let context =
        BuildContext { package: &layout.package, world: layout.world(), last: Some(last), ..own };
    let Some(report) = units::alone(&layout.records, last, joint, context) else {
        return Ok(());
    };
    let mut gathered = inputs::gather(context, &report, hashes)?;
    if gathered.changed_during.is_some() || !gathered.overlooked.is_empty() {
        return Ok(());
    }
    let linked = Linked::look(executable(layout, &report)?)?;
    let (_lock, _) = Lock::take(&layout.records.join("lock"), |_| {}, || {})?;
    let sysroot = gathered.sysroot.clone();
    let artifact = record(layout, options, &mut gathered, linked)?;
    running::remember(layout, &artifact, &report, own.metadata, sysroot.as_deref())?;
    Ok(())
}

/// Tells that the build failed.
pub(super) fn fail(
    layout: &Layout,
    diagnostics: String,
    remembered: bool,
    observer: Observer<'_>,
) -> Error {
    observer(BuildEvent::Failed { diagnostics: diagnostics.clone(), remembered });
    Error::BuildFailed { binary: layout.options.binary.clone(), diagnostics, remembered }
}

/// What a build that failed can have been made from, as it is now.
pub(super) fn read_by_failure(
    known: &Known<'_>,
    report: &Report,
    metadata: Option<&Metadata>,
    before: &Before,
) -> Option<Gathered> {
    let sysroot = known.sysroot();
    let context = known.context(metadata, sysroot.as_deref(), before);
    inputs::gather_all(context, report, &mut Hashes::default()).ok()
}

/// The end of a build that failed; where the sources are at fault it is remembered.
pub(super) fn failed(
    known: &Known<'_>,
    report: &Report,
    gathered: Option<Gathered>,
    mut progress: Progress<'_, '_>,
) -> Error {
    progress.announce();
    if let Some(gathered) = gathered.filter(|_| is_the_sources_fault(&report.text)) {
        // Only an optimisation: what is not remembered is compiled again.
        remember_failure(known.layout, report, gathered).unwrap_or(());
    }
    fail(known.layout, report.text.clone(), false, progress.observer())
}

fn remember_failure(layout: &Layout, report: &Report, mut gathered: Gathered) -> Result<(), Error> {
    if gathered.opaque.is_some() || gathered.changed_during.is_some() {
        return Ok(());
    }
    let outcome = Outcome::Failed { diagnostics: report.text.clone() };
    let key = check::failure_key(layout);
    let head = Head { key, ..head(layout, &mut gathered, outcome) };
    records::write_failed(&layout.records, &head, &mut gathered.entries, layout.root())
}

fn head(layout: &Layout, gathered: &mut Gathered, outcome: Outcome) -> Head {
    Head {
        key: layout.key,
        outcome,
        packages: std::mem::take(&mut gathered.packages),
        variables: std::mem::take(&mut gathered.variables),
        marks: std::mem::take(&mut gathered.marks),
        sysroot: gathered.sysroot.take(),
        toolchain: gathered.toolchain.take(),
        root: layout.root().to_owned(),
        listed: std::mem::take(&mut gathered.listed),
        tools: std::mem::take(&mut gathered.tools),
        leads: gathered.leads,
    }
}

/// Whether the same sources would fail again: the compiler refused them, and not for want of
/// memory, space, a file elsewhere or a library to link with.
fn is_the_sources_fault(text: &str) -> bool {
    const OTHERS: [&str; 5] =
        ["(signal: ", "No space left", "os error", "linking with", "memory allocation"];
    text.contains("error: could not compile") && !OTHERS.iter().any(|other| text.contains(other))
}

/// Removes a damaged executable and the file that cargo would restore it from.
pub(super) fn unlink(executable: &Path, context: BuildContext<'_>) -> Result<(), Error> {
    for twin in inputs::twins(executable, context) {
        fs::remove_file(&twin).map_err(on("remove", &twin))?;
    }
    fs::remove_file(executable).map_err(on("remove", executable))
}
