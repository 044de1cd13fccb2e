//! How many requests are taken at a time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Rejected;

/// Requests that may wait while others are answered; where more are answered, as many as those: a hive
/// sends twice what is answered at once.
const QUEUE_LEN: usize = 64;

/// A bounded number of places, and what their requests took.
#[derive(Debug)]
pub(super) struct Places {
    free: Arc<Semaphore>,
    parallel: u32,
    /// Milliseconds that recent requests took, as a moving average.
    request_ms: AtomicU64,
}

impl Places {
    /// Places for `parallel` requests that are answered at the same time, and for those that wait.
    pub(super) fn new(parallel: u32) -> Self {
        let free = Arc::new(Semaphore::new(Self::count(parallel)));
        Self { free, parallel, request_ms: AtomicU64::default() }
    }

    pub(super) fn count(parallel: u32) -> usize {
        parallel as usize + Self::waiting(parallel)
    }

    fn waiting(parallel: u32) -> usize {
        QUEUE_LEN.max(parallel as usize)
    }

    /// A place, given back when it is dropped.
    pub(super) fn take(&self) -> Result<OwnedSemaphorePermit, Rejected> {
        let free = Arc::clone(&self.free).try_acquire_owned();
        free.map_err(|_none| Rejected::Full {
            waiting: Self::waiting(self.parallel),
            retry_after: self.retry_after(),
        })
    }

    /// Learns from a request that has been answered.
    pub(super) fn record(&self, took: Duration) {
        let took = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let before = self.request_ms.load(Ordering::Relaxed);
        let now = if before == 0 { took } else { (before.saturating_mul(7) + took) / 8 };
        self.request_ms.store(now, Ordering::Relaxed);
    }

    /// When a place is likely to be free again.
    fn retry_after(&self) -> Duration {
        let queue = Self::waiting(self.parallel) as u64 / u64::from(self.parallel.max(1));
        let expected = self.request_ms.load(Ordering::Relaxed).saturating_mul(queue / 2);
        Duration::from_millis(expected).clamp(Duration::from_secs(1), Duration::from_secs(60))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twice_as_many_as_are_answered_at_once_find_a_place() {
        for parallel in [1, 4, 64, 200] {
            let places = Places::new(parallel);
            let taken: Vec<_> = (0..2 * parallel).map(|_| places.take().unwrap()).collect();
            assert_eq!(taken.len(), 2 * parallel as usize);
        }
        let places = Places::new(4);
        let taken: Vec<_> = (0..68).map(|_| places.take().unwrap()).collect();
        assert!(matches!(places.take(), Err(Rejected::Full { waiting: 64, .. })));
        drop(taken);
        assert!(places.take().is_ok());
    }
}
