//! The lease as a watchdog, in both directions: without it a process ends by itself, and one that does
//! not take it is ended.

use std::{sync::Arc, time::Duration};

use narration_core::Level as Severity;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::{Lapse, Level, Pool, Running, Why, pool::narration, slot::Slot};

/// How often leases are renewed: well within the shortest one, and often enough that a process which
/// hangs is replaced within 15 s.
pub const LEASE_ROUND: Duration = Duration::from_millis(2500);

/// How many renewals in a row a process may miss: the machine may be busy.
const MISSES: u32 = 3;

impl<L: Level> Pool<L> {
    /// Every `round` renews the leases of all processes, until it is dropped. While `serving` says so,
    /// it also retires those that nobody uses, takes over those that nobody here knows, and ends those
    /// that hang. A process that is taking over, or handing over, leaves that to the one that serves.
    pub async fn keep(&self, round: Duration, serving: impl Fn() -> bool) -> ! {
        let mut rounds = interval(round);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            rounds.tick().await;
            let is_serving = serving();
            if is_serving {
                // What the process before this one brought up while it handed over.
                self.adopt().await;
            }
            for slot in self.places().slots() {
                let Some(running) = slot.current() else { continue };
                if is_serving && self.level().is_unused(&running) && slot.forget_idle(&running) {
                    self.level().metrics().ended(L::PROCESS, Why::Unused);
                    self.retire(running, "which nobody used");
                } else {
                    self.renew_beside(Some(slot), running, round, is_serving);
                }
            }
            for running in self.places().leaving() {
                self.renew_beside(None, running, round, is_serving);
            }
        }
    }

    fn renew_beside(
        &self,
        slot: Option<Arc<Slot<L::Handle>>>,
        running: Arc<Running<L::Handle>>,
        round: Duration,
        is_serving: bool,
    ) {
        // They are counted one by one.
        if !running.begin_renewal() {
            return;
        }
        let pool = self.clone();
        tokio::spawn(async move {
            let before = running.memory_kills();
            let renewed = timeout(round * 4 / 5, pool.level().renew(&running.handle)).await;
            running.renewal_over();
            let id = L::id(&running.handle);
            let why = match renewed {
                Ok(Ok(renewed)) => return running.renewed(renewed, before),
                Ok(Err(Lapse::Stuck)) => Some("what it does comes to no end".to_owned()),
                Ok(Err(Lapse::Refused(error))) => {
                    tracing::debug!(id, error, "a lease is refused");
                    None
                }
                Err(_) => {
                    let missed = running.missed();
                    tracing::warn!(id, missed, "a lease is not renewed in time");
                    (missed >= MISSES)
                        .then(|| format!("it has not answered {missed} times in a row"))
                }
            };
            if !running.is_alive() {
                // The next request for its place brings up another.
                vacate(slot.as_ref(), &running);
                running.give_up("it has ended");
            } else if let Some(why) = why.filter(|_| is_serving) {
                pool.end(slot.as_ref(), &running, &why).await;
            }
        });
    }

    /// Ends a process that hangs and has what it was answering go on elsewhere.
    async fn end(
        &self,
        slot: Option<&Arc<Slot<L::Handle>>>,
        running: &Arc<Running<L::Handle>>,
        why: &str,
    ) {
        vacate(slot, running);
        let id = L::id(&running.handle);
        let human = format!("ending the {} `{id}`: {why}", L::PROCESS);
        narration::<L>("hung", human).about(id).level(Severity::Warn).emit();
        self.level().metrics().ended(L::PROCESS, Why::Hung);
        // First, so that nobody finds it who looks for another.
        self.level().end(&running.handle, &running.identity()).await;
        running.give_up(why);
    }
}

fn vacate<H>(slot: Option<&Arc<Slot<H>>>, running: &Arc<Running<H>>) {
    if let Some(slot) = slot {
        slot.forget(running);
    }
}
