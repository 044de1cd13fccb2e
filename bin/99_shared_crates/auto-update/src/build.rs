//! Builds under a lock, makes sure that cargo saw what there is to see, and records it.

mod options; // how it is run
mod progress; // what the observer is told
mod oversee; // what becomes of a call of cargo while it runs
mod known; // what there is to go by
mod calls; // of cargo
mod outcome; // what came of it, and the record of that
mod attempts; // until nothing has changed meanwhile

use std::cell::RefCell;

use crate::{
    check::{self, Holding},
    error::Error,
    freshness::{Artifact, Freshness},
    layout::Layout,
    lock::{Lock, Wanted},
    subject::Subject,
};

use attempts::Attempts;
use known::Known;
pub(crate) use options::BuildOptions;
pub use progress::BuildEvent;
use progress::{Observer, Told};

/// How often a build is ended because its inputs have changed again; the next one then runs to its
/// end. What changes them may be the build itself.
const MAX_OVERTAKEN: usize = 5;

/// Answers with a binary that is what its inputs say, building it if it must.
///
/// Where it must, those of `others` that are stale too are compiled in the same call of cargo.
pub(crate) fn ensure(
    layout: &Layout,
    options: BuildOptions,
    others: &[Subject],
    observer: Observer<'_>,
) -> Result<Artifact, Error> {
    if !options.force
        && let Freshness::Fresh(artifact) = check::check(layout, Holding::Nothing).freshness
    {
        observer(BuildEvent::Fresh);
        return Ok(artifact);
    }
    layout.make_target_dir()?;
    // Whoever builds meanwhile for nobody makes haste.
    let hurry = if options.idle { None } else { Wanted::say(&layout.builder()) };
    let observing = RefCell::new(&mut *observer);
    let wait = |pid| (*observing.borrow_mut())(BuildEvent::WaitingFor { pid });
    // Whoever builds has written how far that is.
    let tell = || {
        if let Some(progress) = Told::beside(&layout.builder()).read() {
            (*observing.borrow_mut())(progress);
        }
    };
    let (_turn, waited) = Lock::take(&layout.builder(), wait, tell)?;
    drop(hurry);
    // Held by others for no longer than it takes to write a receipt.
    let (_lock, _) = Lock::take(&layout.records.join("lock"), |_| {}, || {})?;
    for overtaken in 0.. {
        // Whoever held the lock may have built it.
        let checked = check::check(layout, Holding::Lock);
        if (!options.force || waited)
            && let Freshness::Fresh(artifact) = checked.freshness
        {
            observer(BuildEvent::Fresh);
            return Ok(artifact);
        }
        if options.automatic
            && !options.force
            && let Some(diagnostics) = check::remembered_failure(layout)
        {
            return Err(outcome::fail(layout, diagnostics, true, observer));
        }
        let attempt = Attempts::new(Known::new(layout, options, checked), others);
        match attempt.run(overtaken < MAX_OVERTAKEN, observer)? {
            Some(artifact) => return Ok(artifact),
            None if layout.is_gone() => {
                return Err(Error::NoWorkspace { path: layout.root().to_owned() });
            }
            None => continue,
        }
    }
    unreachable!("it ends no later than when no build is ended any more")
}
