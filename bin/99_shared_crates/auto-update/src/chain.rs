//! Several binaries in one call of cargo.

use crate::{
    build::{self, BuildEvent, Manner},
    cargo::Build,
    check::{self, Holding},
    error::Error,
    freshness::Artifact,
    layout::Layout,
    updater::AutoUpdater,
};

/// Makes sure of each of `updaters`, compiling what they share once and all of it at the same
/// time. Answers with their artifacts, in the order given.
///
/// `observer` is told, for each event, which of them it is about.
///
/// What a call of cargo turns on in a shared crate depends on which packages it is given, so
/// binaries built together may differ from the same binaries built alone, and would then go to and
/// fro between two variants. Here the common call only fills cargo's cache; each binary is then
/// taken from a call of its own, which where nothing differs compiles nothing. The answer is
/// thus the same in whatever company a binary was built.
///
/// Those that share neither workspace, target directory, profile nor environment with the first
/// stale one are built by themselves. If the common call fails, each binary is still tried, and
/// the first error is returned: what does not depend on the broken crate has been built.
pub fn ensure_all(
    updaters: &[&AutoUpdater],
    mut observer: impl FnMut(&AutoUpdater, BuildEvent) + Send,
) -> Result<Vec<Artifact>, Error> {
    let layouts: Vec<_> =
        updaters.iter().map(|updater| updater.layout()).collect::<Result<_, _>>()?;
    let stale: Vec<usize> = (0..layouts.len())
        .filter(|&index| {
            let is_fresh = || check::check(&layouts[index], Holding::Nothing).freshness.is_fresh();
            // A known failure is answered without cargo, so it must not spoil the common call.
            updaters[index].manner().force
                || !is_fresh() && check::remembered_failure(&layouts[index]).is_none()
        })
        .collect();
    if let [first, rest @ ..] = stale.as_slice() {
        let mut together = vec![*first];
        together.extend(rest.iter().filter(|&&index| can_join(&layouts[*first], &layouts[index])));
        if together.len() > 1 {
            let manner = updaters[*first].manner();
            let leader = updaters[*first];
            let joined = together.iter().map(|&index| layouts[index].as_ref());
            fill_cache(&joined.collect::<Vec<_>>(), manner, &mut |event| observer(leader, event))?;
        }
    }
    let mut artifacts = Vec::with_capacity(updaters.len());
    let mut first_error = None;
    for (updater, layout) in updaters.iter().zip(&layouts) {
        let mut observer = |event| observer(updater, event);
        match build::ensure(layout, updater.manner(), &mut observer) {
            Ok(artifact) => artifacts.push(artifact),
            Err(error) => {
                first_error.get_or_insert(error);
            }
        }
    }
    first_error.map_or(Ok(artifacts), Err)
}

fn can_join(a: &Layout, b: &Layout) -> bool {
    let (one, other) = (&a.options, &b.options);
    let is_plain = |layout: &Layout| {
        let options = &layout.options;
        options.features.is_empty() && !options.all_features && !options.no_default_features
    };
    a.root() == b.root()
        && a.target_dir == b.target_dir
        && a.environment == b.environment
        && one.profile == other.profile
        && one.target == other.target
        // Features would be turned on in all of them.
        && is_plain(a)
        && is_plain(b)
}

/// Compiles all of them. That it fails is told when each is built.
fn fill_cache(
    layouts: &[&Layout],
    manner: Manner,
    observer: &mut (dyn FnMut(BuildEvent) + Send),
) -> Result<(), Error> {
    let first = layouts.first().expect("there is something to build");
    let mut arguments = vec!["--profile".to_owned(), first.options.profile.clone()];
    // What does not depend on a broken crate is built nevertheless.
    arguments.push("--keep-going".to_owned());
    if let Some(target) = &first.options.target {
        arguments.extend(["--target".to_owned(), target.clone()]);
    }
    for layout in layouts {
        let names = ["-p", &layout.package.name, "--bin", &layout.options.binary];
        arguments.extend(names.map(str::to_owned));
    }
    let build = Build {
        root: first.root(),
        environment: &first.environment,
        arguments,
        colours: manner.colours,
        idle: manner.idle,
    };
    let mut announced = false;
    let mut held: Vec<String> = Vec::new();
    let report = build.run(&mut |line| {
        // Each binary's own build repeats what went wrong, in its own words.
        let is_progress =
            crate::cargo::without_colours(&line).trim_start().starts_with("Compiling");
        if is_progress && !announced {
            announced = true;
            observer(BuildEvent::Building { reasons: Vec::new() });
        }
        if is_progress {
            observer(BuildEvent::Line(line));
        } else {
            held.push(line);
        }
    })?;
    if let Some(signal) = report.interrupted_by() {
        let binary = first.options.binary.clone();
        return Err(Error::Interrupted { binary, signal });
    }
    if report.status.success() {
        // Warnings: the builds that follow have nothing to compile and may not repeat them.
        let diagnostics =
            held.into_iter().filter(|line| !line.trim_start().starts_with("Finished"));
        diagnostics.for_each(|line| observer(BuildEvent::Line(line)));
    }
    Ok(())
}
