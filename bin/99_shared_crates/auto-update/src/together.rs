//! Other binaries, compiled in the same call of cargo.

use std::sync::Arc;

use crate::{
    build::Manner,
    cargo::{Build, Report, without_colours},
    check::{self, Holding},
    error::Error,
    freshness::{Change, Freshness},
    layout::Layout,
    updater::AutoUpdater,
};

/// Compiles the binary of `layout` together with those of `others` that are stale as well.
///
/// What a call of cargo turns on in a shared crate depends on which packages it is given, so
/// binaries built together may differ from the same binaries built alone, and would then go to and
/// fro between two variants. This call therefore only fills cargo's cache: each binary is taken
/// from a call of its own, which where nothing differs compiles nothing, and is thus the same in
/// whatever company it was compiled.
///
/// `None` where nobody else is stale. That the call fails is told by the calls that follow.
pub(crate) fn compile(
    layout: &Layout,
    others: &[AutoUpdater],
    manner: Manner,
    on_line: &mut dyn FnMut(String),
) -> Result<Option<Report>, Error> {
    let stale: Vec<_> = others.iter().filter_map(|other| stale(other, layout)).collect();
    if stale.is_empty() {
        return Ok(None);
    }
    let options = &layout.options;
    let mut arguments = vec!["--profile".to_owned(), options.profile.clone()];
    // What does not depend on a broken crate is compiled nevertheless.
    arguments.push("--keep-going".to_owned());
    if let Some(target) = &options.target {
        arguments.extend(["--target".to_owned(), target.clone()]);
    }
    for layout in [layout].into_iter().chain(stale.iter().map(Arc::as_ref)) {
        let names = ["-p", &layout.package.name, "--bin", &layout.options.binary];
        arguments.extend(names.map(str::to_owned));
    }
    let build = Build {
        root: layout.root(),
        environment: &layout.environment,
        arguments,
        colours: manner.colours,
        idle: manner.idle,
    };
    // Errors and warnings come again with the binaries that they are about.
    let report = build.run(&mut |line| {
        let is_progress = {
            let verb = without_colours(&line);
            let verb = verb.trim_start();
            ["Blocking", "Compiling"].iter().any(|known| verb.starts_with(known))
        };
        if is_progress {
            on_line(line);
        }
    })?;
    Ok(Some(report))
}

/// Where `other` is to be compiled as well, and can be in the same call.
///
/// One that was never built may never be wanted, and one that cannot be built fails again.
fn stale(other: &AutoUpdater, layout: &Layout) -> Option<Arc<Layout>> {
    let other = other.layout().ok().filter(|other| can_join(layout, other))?;
    let Freshness::Stale(reasons) = check::check(&other, Holding::Nothing).freshness else {
        return None;
    };
    let was_built = reasons.iter().all(|reason| reason.change != Change::NeverBuilt);
    (was_built && check::remembered_failure(&other).is_none()).then_some(other)
}

fn can_join(a: &Layout, b: &Layout) -> bool {
    let (one, other) = (&a.options, &b.options);
    let is_plain = |layout: &Layout| {
        let options = &layout.options;
        options.features.is_empty() && !options.all_features && !options.no_default_features
    };
    a.key != b.key
        && a.root() == b.root()
        && a.target_dir == b.target_dir
        && a.environment == b.environment
        && one.profile == other.profile
        && one.target == other.target
        // Features would be turned on in all of them.
        && is_plain(a)
        && is_plain(b)
}
