//! Other binaries, compiled in the same call of cargo.

use std::sync::Arc;

use crate::{
    check::{self, Checked, Holding},
    freshness::{Change, Freshness, InputKind, StaleReason},
    layout::Layout,
    receipt::Receipt,
    subject::Subject,
};

/// A binary that is compiled along.
#[derive(Debug)]
pub(crate) struct Companion {
    pub(crate) layout: Arc<Layout>,
    /// Of its last build.
    pub(crate) last: Receipt,
    reasons: Vec<StaleReason>,
}

/// Those of `others` that are stale as well, and can be compiled in the same call.
///
/// One that was never built may never be wanted, and one that cannot be built fails again.
pub(crate) fn companions(layout: &Layout, others: &[Subject]) -> Vec<Companion> {
    let companion = |other: &Subject| {
        let other = other.layout().ok().filter(|other| can_join(layout, other))?;
        let Checked { freshness: Freshness::Stale(reasons), receipt: Some(last), .. } =
            check::check(&other, Holding::Nothing)
        else {
            return None;
        };
        let was_built = reasons.iter().all(|reason| reason.change != Change::NeverBuilt);
        let is_wanted = was_built && check::remembered_failure(&other).is_none();
        is_wanted.then_some(Companion { layout: other, last, reasons })
    };
    others.iter().filter_map(companion).collect()
}

/// What follows `cargo build` to compile the binary of `layout` and those of `companions`.
pub(crate) fn arguments(layout: &Layout, companions: &[Companion]) -> Vec<String> {
    let options = &layout.options;
    let mut arguments = vec!["--profile".to_owned(), options.profile.clone()];
    // What does not depend on a broken crate is compiled nevertheless.
    arguments.push("--keep-going".to_owned());
    if let Some(target) = &options.target {
        arguments.extend(["--target".to_owned(), target.clone()]);
    }
    let layouts = companions.iter().map(|companion| &*companion.layout);
    for layout in std::iter::once(layout).chain(layouts) {
        let names = ["-p", &layout.package.name, "--bin", &layout.options.binary];
        arguments.extend(names.map(str::to_owned));
    }
    arguments
}

/// Whether nothing changed that decides which variant of a crate is compiled.
///
/// What a call of cargo turns on in a shared crate depends on which packages it is given, so
/// binaries built together may differ from the same binaries built alone, and would then go to and
/// fro between two variants. While manifests, configuration and environment are what they were,
/// each binary built alone would be of the variant that it was; so one of that variant can be taken
/// from the call for several, see [`crate::units`]. Any other is taken from a call of its own.
///
/// `reasons` are those of the binary that is asked for, `None` where they are not all known.
pub(crate) fn is_exact(reasons: Option<&[StaleReason]>, companions: &[Companion]) -> bool {
    let keeps_variants = |reasons: &[StaleReason]| {
        reasons.iter().all(|reason| {
            matches!(reason.kind, InputKind::Source | InputKind::BuildScript | InputKind::Generated)
        })
    };
    reasons.is_some_and(keeps_variants)
        && companions.iter().all(|companion| keeps_variants(&companion.reasons))
}

fn can_join(a: &Layout, b: &Layout) -> bool {
    let (one, other) = (&a.options, &b.options);
    let is_plain = |layout: &Layout| {
        let options = &layout.options;
        let has_features =
            !options.features.is_empty() || options.all_features || options.no_default_features;
        let is_elsewhere = options.folder.is_some() || options.target_dir.is_some();
        !has_features && !is_elsewhere && !options.is_example && options.config.is_empty()
    };
    a.key != b.key
        && a.root() == b.root()
        && a.target_dir == b.target_dir
        && a.environment == b.environment
        && one.profile == other.profile
        && one.target == other.target
        // Features would be turned on in all of them, and a configuration hold for all.
        && is_plain(a)
        && is_plain(b)
}
