//! How many descriptors this process may have open.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// More than all connections of a daemon, and what is behind them, take. Not all that the kernel would
/// give: programs that it starts get the same, and some of those close every number that they could have.
const WANTED: u64 = 8192;

/// Lifts the limit that shells and service managers begin with, as far as the hard one allows.
///
/// A process that the kernel refuses this goes on with what it has.
pub(super) fn raise() {
    let limit = getrlimit(Resource::Nofile);
    let Some(raised) = raised(limit.current, limit.maximum) else { return };
    let lifted = Rlimit { current: Some(raised), maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, lifted) {
        let error = io::Error::from(error);
        tracing::warn!(%error, "as many descriptors as before, and connections accordingly");
    }
}

/// How many it may have now.
pub(super) fn allowed() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// What the limit becomes, if it is too low and may be higher; `None` among the arguments is no limit.
fn raised(current: Option<u64>, maximum: Option<u64>) -> Option<u64> {
    let wanted = maximum.map_or(WANTED, |maximum| maximum.min(WANTED));
    current.is_some_and(|current| current < wanted).then_some(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_to_what_is_wanted_and_allowed_and_never_lowered() {
        let cases = [
            (Some(1024), Some(524_288), Some(WANTED)),
            (Some(256), None, Some(WANTED)),
            (Some(1024), Some(4096), Some(4096)),
            (Some(4096), Some(4096), None),
            (Some(65_536), Some(524_288), None),
            (None, None, None),
        ];
        for (current, maximum, wanted) in cases {
            assert_eq!(raised(current, maximum), wanted, "{current:?} of {maximum:?}");
        }
    }
}
