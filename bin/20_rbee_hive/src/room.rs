//! Memory for one more model.

use std::{fs, path::Path};

/// Beside the model's file: context, buffers, the process itself.
const OVERHEAD_BYTES: u64 = 256 << 20;

/// What is known of a worker that could be stopped to make room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) id: String,
    pub(crate) memory_bytes: u64,
    pub(crate) busy: bool,
    /// Larger is longer ago.
    pub(crate) idle_ms: u128,
}

/// There is too little memory even when every idle worker is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooLittle {
    pub(crate) needed_bytes: u64,
    pub(crate) reachable_bytes: u64,
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

/// The workers to stop so that `needed` bytes are free: the longest idle first, never a busy one,
/// none if there is room already.
pub(crate) fn evict(
    needed: u64,
    available: u64,
    mut candidates: Vec<Candidate>,
) -> Result<Vec<String>, TooLittle> {
    candidates.retain(|candidate| !candidate.busy);
    candidates.sort_by_key(|candidate| std::cmp::Reverse(candidate.idle_ms));
    let mut reachable = available;
    let mut stop = Vec::new();
    for candidate in candidates {
        if reachable >= needed {
            break;
        }
        reachable += candidate.memory_bytes;
        stop.push(candidate.id);
    }
    if reachable >= needed {
        Ok(stop)
    } else {
        Err(TooLittle { needed_bytes: needed, reachable_bytes: reachable })
    }
}

#[cfg(test)]
mod tests {
    use super::{Candidate, TooLittle, evict};

    #[test]
    fn nothing_is_stopped_while_there_is_room() {
        assert_eq!(evict(10, 10, vec![idle("a", 5, 1)]), Ok(vec![]));
    }

    #[test]
    fn the_longest_idle_goes_first_and_no_more_than_needed() {
        let workers = vec![idle("young", 5, 1), idle("old", 5, 9), idle("older", 5, 99)];
        assert_eq!(evict(10, 5, workers), Ok(vec!["older".to_owned()]));
    }

    #[test]
    fn a_busy_worker_is_never_stopped() {
        let busy = Candidate { busy: true, ..idle("busy", 100, 99) };
        assert_eq!(
            evict(10, 3, vec![busy, idle("idle", 2, 1)]),
            Err(TooLittle { needed_bytes: 10, reachable_bytes: 5 })
        );
    }

    fn idle(id: &str, memory_bytes: u64, idle_ms: u128) -> Candidate {
        Candidate { id: id.to_owned(), memory_bytes, busy: false, idle_ms }
    }
}
