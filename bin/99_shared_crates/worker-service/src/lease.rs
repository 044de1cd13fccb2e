use std::{
    future::pending,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

/// How long the worker stays without anybody's interest.
///
/// A request keeps it for as long as it is being answered, and a renewal or a request's end for
/// one duration more.
#[derive(Debug, Clone)]
pub struct Lease {
    duration: Duration,
    state: Arc<Mutex<State>>,
    changed: Arc<watch::Sender<()>>,
}

#[derive(Debug)]
struct State {
    requests: usize,
    until: Instant,
}

/// A request under way, for as long as it lives.
#[derive(Debug)]
pub struct Hold(Lease);

impl Lease {
    /// A lease that begins now.
    #[must_use]
    pub fn new(duration: Duration) -> Self {
        let state = State { requests: 0, until: Instant::now() + duration };
        Self {
            duration,
            state: Arc::new(Mutex::new(state)),
            changed: Arc::new(watch::channel(()).0),
        }
    }

    #[must_use]
    pub fn duration(&self) -> Duration {
        self.duration
    }

    /// Begins it anew.
    pub fn renew(&self) {
        self.change(|_| ());
    }

    /// Keeps the lease from ending while the answer lives.
    #[must_use]
    pub fn hold(&self) -> Hold {
        self.change(|state| state.requests += 1);
        Hold(self.clone())
    }

    /// Requests under way.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).requests
    }

    /// Waits until the lease has ended.
    pub async fn ended(&self) {
        let mut changed = self.changed.subscribe();
        loop {
            let end = {
                let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                (state.requests == 0).then_some(state.until)
            };
            let wait = async {
                match end {
                    Some(end) => tokio::time::sleep_until(end).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                biased;
                // The sender lives in `self`.
                _ = changed.changed() => {}
                () = wait => return,
            }
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state);
        state.until = Instant::now() + self.duration;
        drop(state);
        self.changed.send_replace(());
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.change(|state| state.requests -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(60);

    async fn ends_after(lease: &Lease) -> Duration {
        let began = Instant::now();
        lease.ended().await;
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn an_unused_lease_ends_after_its_duration() {
        assert_eq!(ends_after(&Lease::new(LEASE)).await, LEASE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewal_begins_it_anew() {
        let lease = Lease::new(LEASE);
        let renewing = lease.clone();
        let renewal = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(50)).await;
            renewing.renew();
        });
        assert_eq!(ends_after(&lease).await, Duration::from_secs(110));
        renewal.await.expect("the renewal ran");
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_keeps_it_until_a_duration_after_its_end() {
        let lease = Lease::new(LEASE);
        let hold = lease.hold();
        let answer = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(500)).await;
            drop(hold);
        });
        assert_eq!(ends_after(&lease).await, Duration::from_secs(560));
        answer.await.expect("the answer ended");
    }
}
