//! The calls of cargo that a build makes.

use std::collections::HashSet;

use super::{
    known::Known,
    oversee::{Baseline, Overseer},
    progress::Progress,
};
use crate::{
    cargo::{self, Build, Halt, Metadata, Report},
    error::Error,
    freshness::{Change, InputKind, StaleReason},
    inputs::Before,
    layout::Layout,
    members,
    priority::Priority,
    stat::StatVector,
    together::{self, Companion},
    units,
};

/// Runs cargo, and asks it what the workspace consists of. `None` where it was overtaken.
pub(super) fn for_one(
    known: &Known<'_>,
    baseline: Option<&mut Baseline>,
    progress: &mut Progress<'_, '_>,
) -> Result<Option<(Report, Option<Metadata>)>, Error> {
    let layout = known.layout;
    let arguments = layout.options.arguments(&layout.package);
    let Some(report) = oversee(known, arguments, baseline, None, progress)? else {
        return Ok(None);
    };
    // Not beside the build: the two would wait for each other's locks, and say so.
    Ok(Some((report, metadata(known))))
}

/// Compiles whatever else is stale beside this binary. `None` where it was overtaken.
pub(super) fn for_all(
    known: &Known<'_>,
    companions: &[Companion],
    baseline: Option<&mut Baseline>,
    progress: &mut Progress<'_, '_>,
) -> Result<Option<Report>, Error> {
    let arguments = together::arguments(known.layout, companions);
    let mut kept = Vec::new();
    let report = oversee(known, arguments, baseline, Some(&mut kept), progress)?;
    let Some(report) = report else { return Ok(None) };
    // Where it failed, errors and warnings come again with the binaries that they are about.
    if report.status.success() && together::is_exact(known.all_reasons(), companions) {
        kept.into_iter().for_each(|line| progress.line(line));
    }
    Ok(Some(report))
}

/// What a call for this binary alone would have reported, where the one for several tells, and
/// what the workspace consists of.
pub(super) fn alone(
    known: &Known<'_>,
    joint: &Report,
    companions: &[Companion],
) -> Option<(Report, Option<Metadata>)> {
    if !joint.status.success() || !together::is_exact(known.all_reasons(), companions) {
        return None;
    }
    let metadata = metadata(known);
    let world = known.layout.world();
    let before = Before::look(
        StatVector::NONE,
        None,
        false,
        HashSet::new(),
        std::iter::empty(),
        world,
        None,
    );
    let context = known.context(metadata.as_ref(), None, &before);
    let report = units::alone(&known.layout.records, known.last.as_ref()?, joint, context)?;
    Some((report, metadata))
}

/// What the workspace consists of. While nothing but the contents of sources has changed, that
/// is what cargo said the last time.
fn metadata(known: &Known<'_>) -> Option<Metadata> {
    let is_of_source = |reason: &StaleReason| {
        let kinds = [InputKind::Source, InputKind::BuildScript, InputKind::Generated];
        reason.change == Change::Modified && kinds.contains(&reason.kind)
    };
    let keeps = known.all_reasons().is_some_and(|reasons| reasons.iter().all(is_of_source));
    let last = known.last.as_ref().filter(|_| keeps);
    last.and_then(|last| members::known(known.layout, last))
        .or_else(|| cargo::metadata(known.layout))
}

/// Runs cargo to its end, at whatever priority; `None` where it was overtaken.
fn oversee(
    known: &Known<'_>,
    arguments: Vec<String>,
    mut baseline: Option<&mut Baseline>,
    mut kept: Option<&mut Vec<String>>,
    progress: &mut Progress<'_, '_>,
) -> Result<Option<Report>, Error> {
    let layout = known.layout;
    let mut build = Build {
        folder: layout.folder(),
        environment: &layout.environment,
        arguments,
        colours: known.options.colours,
        priority: if known.options.idle { Priority::Idle } else { Priority::Normal },
    };
    loop {
        if let Some(kept) = &mut kept {
            kept.clear();
        }
        let baseline = baseline.as_deref_mut();
        let mut overseer = Overseer::new(layout, progress, baseline, kept.as_deref_mut());
        let report = build.run(&mut overseer)?;
        match report.halted {
            // What it failed by is that.
            None if !report.status.success() && layout.is_gone() => {
                return Err(Error::NoWorkspace { path: layout.root().to_owned() });
            }
            None => return unless_interrupted(known.layout, report).map(Some),
            Some(Halt::Overtaken) => return Ok(None),
            Some(Halt::TreeGone) => {
                return Err(Error::NoWorkspace { path: layout.root().to_owned() });
            }
            // Cargo keeps what it has compiled.
            Some(Halt::TooSlow(priority)) => build.priority = priority,
        }
    }
}

fn unless_interrupted(layout: &Layout, report: Report) -> Result<Report, Error> {
    match report.interrupted_by() {
        Some(signal) => Err(Error::Interrupted { binary: layout.options.binary.clone(), signal }),
        None => Ok(report),
    }
}
