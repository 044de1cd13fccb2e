//! Memory for one more model.

use std::{fs, path::Path};

/// Beside the model's file: context, buffers, the process itself.
const OVERHEAD_BYTES: u64 = 256 << 20;

/// What is known of a worker that could be stopped to make room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) id: String,
    pub(crate) memory_bytes: u64,
    pub(crate) using: Use,
}

/// What a worker does at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// Nothing, for so long.
    Idle { ms: u128 },
    /// It answers, or somebody is about to ask it.
    Busy,
    /// It answers, and has had its memory for so long that it is another model's turn.
    Due { ms: u128 },
    /// It stays, by the configuration.
    Pinned,
}

/// There is too little memory even when every worker is stopped that may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooLittle {
    pub(crate) needed_bytes: u64,
    pub(crate) reachable_bytes: u64,
}

/// What to do for one more model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// There is room.
    Load,
    /// Take these out of their places: those that answer finish what they have.
    Stop(Vec<String>),
    /// Room will come.
    Wait,
    Never(TooLittle),
}

/// Memory that a worker for a file of this size is taken to need, in bytes.
pub(crate) fn needed(file_bytes: u64) -> u64 {
    file_bytes + file_bytes / 5 + OVERHEAD_BYTES
}

/// The size of a model's file, or of all that lie in its folder.
pub(crate) fn bytes_of(model: &Path) -> u64 {
    let size = |path: &Path| fs::metadata(path).map_or(0, |metadata| metadata.len());
    match fs::read_dir(model) {
        Ok(entries) => entries.flatten().map(|entry| size(&entry.path())).sum(),
        Err(_) => size(model),
    }
}

/// What to do so that `needed` bytes are free. `available` are, and `leaving` bytes will be when workers
/// have ended that are on their way out.
///
/// Idle workers go first, the longest idle before the others; of those that answer only the ones whose
/// turn is over, the longest there before the others. None is stopped before it is known that those
/// which may be are enough.
pub(crate) fn step(needed: u64, available: u64, leaving: u64, candidates: &[Candidate]) -> Step {
    if available >= needed {
        return Step::Load;
    }
    let unpinned = candidates.iter().filter(|candidate| candidate.using != Use::Pinned);
    let reachable = available + leaving + unpinned.map(|one| one.memory_bytes).sum::<u64>();
    if reachable < needed {
        return Step::Never(TooLittle { needed_bytes: needed, reachable_bytes: reachable });
    }
    let mut ready: Vec<_> = candidates.iter().filter_map(|one| Some((one.order()?, one))).collect();
    ready.sort_by_key(|(order, _)| *order);
    let (mut freed, mut stop) = (available + leaving, Vec::new());
    for (_, candidate) in ready {
        if freed >= needed {
            break;
        }
        freed += candidate.memory_bytes;
        stop.push(candidate.id.clone());
    }
    if freed < needed || stop.is_empty() { Step::Wait } else { Step::Stop(stop) }
}

impl Candidate {
    /// Among those that may be stopped now.
    fn order(&self) -> Option<(bool, std::cmp::Reverse<u128>)> {
        match self.using {
            Use::Idle { ms } => Some((false, std::cmp::Reverse(ms))),
            Use::Due { ms } => Some((true, std::cmp::Reverse(ms))),
            Use::Busy | Use::Pinned => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Candidate, Step, TooLittle, Use, step};

    #[test]
    fn nothing_is_stopped_while_there_is_room() {
        assert_eq!(step(10, 10, 0, &[idle("a", 5, 1)]), Step::Load);
    }

    #[test]
    fn the_longest_idle_goes_first_and_no_more_than_needed() {
        let workers = [idle("young", 5, 1), idle("old", 5, 9), idle("older", 5, 99)];
        assert_eq!(step(10, 5, 0, &workers), stop(&["older"]));
    }

    #[test]
    fn a_busy_worker_is_waited_for_and_no_other_is_stopped_in_vain() {
        let workers = [is("busy", 100, Use::Busy), idle("idle", 2, 1)];
        assert_eq!(step(10, 3, 0, &workers), Step::Wait);
    }

    #[test]
    fn one_whose_turn_is_over_goes_after_those_that_are_idle() {
        let workers = [
            is("due", 5, Use::Due { ms: 9 }),
            is("overdue", 5, Use::Due { ms: 99 }),
            is("busy", 9, Use::Busy),
            idle("idle", 2, 1),
        ];
        assert_eq!(step(10, 3, 0, &workers), stop(&["idle", "overdue"]));
    }

    #[test]
    fn memory_that_is_on_its_way_is_waited_for() {
        assert_eq!(step(10, 3, 7, &[idle("idle", 9, 1)]), Step::Wait);
        assert_eq!(step(10, 3, 6, &[idle("idle", 9, 1)]), stop(&["idle"]));
    }

    #[test]
    fn what_is_pinned_stays_and_what_can_never_fit_is_refused() {
        let workers = [is("pinned", 100, Use::Pinned), is("busy", 2, Use::Busy)];
        let too_little = TooLittle { needed_bytes: 10, reachable_bytes: 6 };
        assert_eq!(step(10, 3, 1, &workers), Step::Never(too_little));
    }

    fn idle(id: &str, memory_bytes: u64, ms: u128) -> Candidate {
        is(id, memory_bytes, Use::Idle { ms })
    }

    fn is(id: &str, memory_bytes: u64, using: Use) -> Candidate {
        Candidate { id: id.to_owned(), memory_bytes, using }
    }

    fn stop(ids: &[&str]) -> Step {
        Step::Stop(ids.iter().map(|id| (*id).to_owned()).collect())
    }
}
