//! One build, repeated while files change under it.

use std::{
    collections::{BTreeSet, HashSet},
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use super::{
    calls,
    known::Known,
    outcome::{self, Linked},
    oversee::Baseline,
    progress::{Observer, Progress, Told},
};
use crate::{
    cargo,
    compare::Hashes,
    error::Error,
    freshness::{Artifact, Change},
    inputs::{self, Before, Gathered, Missed},
    layout::Layout,
    members,
    receipt::Look,
    records, running,
    stat::StatVector,
    subject::Subject,
    together::{self, Companion},
    units,
};

/// How often a build is repeated because files changed under it.
const MAX_ATTEMPTS: usize = 4;

/// After that, the inputs have to be left alone for this long before the next one begins, ...
const QUIET: Duration = Duration::from_millis(100);
/// ... or for this long to change on and on.
const MAX_UNREST: Duration = Duration::from_secs(2);

pub(super) struct Attempts<'a> {
    known: Known<'a>,
    others: &'a [Subject],
    /// Cargo will probably find nothing to do, so nothing is said before it does.
    is_quiet: bool,
    began: Instant,
}

impl<'a> Attempts<'a> {
    pub(super) fn new(known: Known<'a>, others: &'a [Subject]) -> Self {
        let is_quiet = known
            .reasons
            .iter()
            .all(|reason| reason.change != Change::NeverBuilt && reason.kind.is_cargos_to_judge());
        Self { known, others, is_quiet, began: Instant::now() }
    }

    /// `None` where it was ended, since its inputs had changed again.
    pub(super) fn run(
        self,
        may_be_overtaken: bool,
        observer: Observer<'_>,
    ) -> Result<Option<Artifact>, Error> {
        let reasons = self.known.reasons.clone();
        let known = &self.known;
        let mut progress = Progress::new(observer, &reasons, Told::beside(&known.layout.builder()));
        if !self.is_quiet {
            progress.announce();
        }
        let mut hashes = Hashes::default();
        let mut baseline = Baseline::default();
        if let Some(last) = &known.last {
            hashes.learn(last, known.layout.root());
            baseline = Baseline::of(last, known.layout, &mut hashes);
        }
        let companions = if self.is_quiet {
            Vec::new()
        } else {
            together::companions(known.layout, self.others)
        };
        for Companion { layout, last, .. } in &companions {
            hashes.learn(last, layout.root());
            baseline.extend(Baseline::of(last, layout, &mut hashes));
        }
        let mut first = None;
        let mut forgotten = Forgotten::default();
        let mut done = HashSet::new();
        let mut rewritten: Option<PathBuf> = None;
        // Who changes it may be the build itself, so that counts but once.
        let mut failed_beside_a_change = false;
        let is_shared = known.is_shared();
        let mut listed = known.last.as_ref().map_or_else(Vec::new, |last| known.listed(last));
        listed.extend(companions.iter().flat_map(|companion| known.listed(&companion.last)));
        let mut attempt = 1;
        let (report, metadata, mut gathered, linked) = loop {
            let clock = build_start(known.layout)?;
            let sysroot = known.last.as_ref().and_then(|last| last.head.sysroot.as_deref());
            let world = known.layout.world();
            let before = Before::look(
                clock,
                first,
                is_shared,
                done.clone(),
                listed.into_iter(),
                world,
                sysroot,
            );
            first = first.or(Some(clock));
            let mut watched = may_be_overtaken.then_some(&mut baseline);
            let mut joint = None;
            if attempt == 1 && !companions.is_empty() {
                match calls::for_all(known, &companions, watched.as_deref_mut(), &mut progress)? {
                    Some(report) => joint = Some(report),
                    None => return Ok(overtaken(&mut baseline, progress)),
                }
            }
            let (metadata, is_alone);
            let mut report =
                match joint.as_ref().and_then(|joint| calls::alone(known, joint, &companions)) {
                    Some((report, asked)) => {
                        (metadata, is_alone) = (asked, false);
                        report
                    }
                    None => match calls::for_one(known, watched, &mut progress)? {
                        Some((report, asked)) => {
                            (metadata, is_alone) = (asked, true);
                            report
                        }
                        None => return Ok(overtaken(&mut baseline, progress)),
                    },
                };
            if let Some(joint) = &joint {
                report.include(joint);
            }
            if !report.status.success() {
                // What was compiled may be half of what somebody was writing.
                if may_be_overtaken && baseline.is_overtaken() {
                    return Ok(overtaken(&mut baseline, progress));
                }
                let failure = outcome::read_by_failure(known, &report, metadata.as_ref(), &before);
                let changed =
                    failure.as_ref().is_some_and(|inputs| inputs.changed_during.is_some());
                if !changed || failed_beside_a_change || attempt == MAX_ATTEMPTS {
                    return Err(outcome::failed(known, &report, failure, progress));
                }
                progress.overtaken();
                pause(QUIET);
                failed_beside_a_change = true;
                listed = failure.map_or_else(Vec::new, looks);
                attempt += 1;
                continue;
            }
            let sysroot = known.sysroot();
            let context = known.context(metadata.as_ref(), sysroot.as_deref(), &before);
            let mut gathered = inputs::gather(context, &report, &mut hashes)?;
            let linked = Linked::look(outcome::executable(known.layout, &report)?)?;
            let is_damaged = known.is_damaged(&report, linked.hash);
            // What is never fresh is built by each call; nothing is gained by building it twice.
            gathered.changed_during.take_if(|_| gathered.opaque.is_some());
            // Written anew each time, by what the build itself runs.
            let is_rewritten = gathered.is_scripts_own
                && gathered.changed_during.is_some()
                && gathered.changed_during == rewritten;
            let is_last = attempt == MAX_ATTEMPTS || is_rewritten;
            if is_last {
                if let Some(path) = gathered.changed_during.take() {
                    gathered.opaque.get_or_insert_with(|| {
                        format!("`{}` changed each time while it was built", path.display())
                    });
                }
                // What cargo has done again since is as it should be, whatever times say of it.
                let in_vain = |missed: &&Missed| forgotten.0.contains(&missed.mark);
                if let Some(missed) = gathered.overlooked.iter().find(in_vain) {
                    gathered.opaque.get_or_insert_with(|| {
                        format!("cargo does not compile `{}` again", missed.package_id)
                    });
                }
                break (report, metadata, gathered, linked);
            }
            if is_damaged {
                outcome::unlink(&linked.path, context)?;
            } else if gathered.changed_during.is_some() {
                // Once more, with what is known now.
            } else if !gathered.overlooked.is_empty() {
                forgotten.forget(known.layout, &gathered.overlooked)?;
            } else {
                if let Some(joint) = &joint {
                    for companion in &companions {
                        outcome::record_companion(
                            known.options,
                            companion,
                            joint,
                            context,
                            &mut hashes,
                        )?;
                    }
                }
                if is_alone {
                    units::write(&known.layout.records, &report, context)?;
                }
                members::remember(known.layout, metadata.as_ref(), &gathered.entries)?;
                break (report, metadata, gathered, linked);
            }
            attempt += 1;
            done.extend(std::mem::take(&mut gathered.done));
            rewritten = gathered.changed_during.take();
            listed = looks(gathered);
        };
        let sysroot = gathered.sysroot.clone();
        let identical = known.last_hash() == Some(linked.hash);
        let artifact = outcome::record(known.layout, known.options, &mut gathered, linked)?;
        let (metadata, sysroot) = (metadata.as_ref(), sysroot.as_deref());
        running::remember(known.layout, &artifact, &report, metadata, sysroot)?;
        let compiled = report.artifacts.iter().any(|artifact| !artifact.fresh);
        progress.end(identical || !compiled, self.began.elapsed(), identical);
        Ok(Some(artifact))
    }
}

/// What cargo was made to do again, as it was before.
#[derive(Default)]
struct Forgotten(HashSet<(PathBuf, StatVector)>);

impl Forgotten {
    /// Makes cargo do again what it overlooked.
    fn forget(&mut self, layout: &Layout, overlooked: &[Missed]) -> Result<(), Error> {
        let mut packages = BTreeSet::new();
        for missed in overlooked {
            // What cargo keeps may lie elsewhere one day. It knows the place, but removes more.
            let is_done_in_vain = !self.0.insert(missed.mark.clone());
            if is_done_in_vain || !missed.forget()? {
                packages.insert(missed.package_id.clone());
            }
        }
        if packages.is_empty() { Ok(()) } else { cargo::clean(layout, &packages) }
    }
}

/// Where to look next time.
fn looks(gathered: Gathered) -> Vec<(PathBuf, Look)> {
    gathered.entries.into_iter().map(|entry| (entry.path, entry.look)).collect()
}

/// Lets whoever edits finish.
fn overtaken(baseline: &mut Baseline, mut progress: Progress<'_, '_>) -> Option<Artifact> {
    progress.overtaken();
    let began = Instant::now();
    loop {
        baseline.renew();
        pause(QUIET);
        if !baseline.is_overtaken() || began.elapsed() > MAX_UNREST {
            return None;
        }
    }
}

/// What the clock that stamps files says, at a moment that every earlier write is before.
fn build_start(layout: &Layout) -> Result<StatVector, Error> {
    const DEADLINE: Duration = Duration::from_millis(50);
    let began = Instant::now();
    let first = records::clock(&layout.records)?;
    loop {
        let now = records::clock(&layout.records)?;
        // A clock that stands still for so long has coarse steps: files of the same step are
        // then taken to have changed during the build, and it is repeated.
        if now.ctime() > first.ctime() || began.elapsed() > DEADLINE {
            return Ok(now);
        }
        thread::yield_now();
    }
}

#[expect(clippy::disallowed_methods, reason = "that nothing happens is what is waited for")]
fn pause(length: Duration) {
    thread::sleep(length);
}
