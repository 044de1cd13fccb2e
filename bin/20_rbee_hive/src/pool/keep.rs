use std::{sync::Arc, time::Duration};

use narration_core::Narration;
use tokio::time::{MissedTickBehavior, interval};
use worker_lifecycle::WorkerHandle;

use super::{Running, Slot, WorkerPool};

/// How often leases are renewed and idle workers looked for; well within the shortest lease.
const ROUND: Duration = Duration::from_secs(5);

impl WorkerPool {
    /// Takes over the workers of this hive that are alive and not in the pool; stops none.
    pub(crate) async fn adopt(&self) {
        for handle in self.unknown().await {
            let slot = self.slot(&handle.model);
            self.put(&slot, handle).await;
        }
    }

    /// Renews leases until it is dropped and, while `serving` says so, stops idle workers and those
    /// that another one of their model has replaced. A hive that is taking over, or handing over,
    /// leaves that to the one that serves.
    pub(crate) async fn keep(&self, serving: impl Fn() -> bool) -> ! {
        let mut rounds = interval(ROUND);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            rounds.tick().await;
            if serving() {
                // What the hive before this one brought up while it handed over.
                self.adopt().await;
            }
            for slot in self.slots() {
                let Some(running) = slot.current() else { continue };
                let unused = running.idle() > self.0.config.current().worker.idle_timeout;
                if unused && serving() && slot.forget_idle(&running) {
                    self.retire(running, "which nobody used");
                } else {
                    tokio::spawn(renew(slot, running));
                }
            }
        }
    }

    async fn unknown(&self) -> Vec<WorkerHandle> {
        let current = self.slots().into_iter().filter_map(|slot| slot.current());
        let known: Vec<_> = current.map(|running| running.handle.id.clone()).collect();
        match self.0.host.running(&self.0.config.current(), &self.0.hive, known).await {
            Ok(found) => found,
            Err(error) => {
                let error = rbee_api::causes(&error);
                tracing::error!(error, "no worker can be adopted");
                Vec::new()
            }
        }
    }

    /// Puts a worker that runs into its model's place, unless a fresher one is there: two of one
    /// model are alive while one replaces the other.
    async fn put(&self, slot: &Slot, handle: WorkerHandle) {
        let running = Running::new(handle);
        if slot.current().is_some() && !self.is_current(&running).await {
            return;
        }
        let human = format!("adopted the worker for `{}`", slot.name);
        Narration::new("hive", "worker_adopt", human).about(&running.handle.id).emit();
        slot.set(Some(running));
    }
}

/// A worker that misses a renewal may be busy; one whose process has ended is forgotten, and the
/// next request for its model brings up another.
async fn renew(slot: Arc<Slot>, running: Arc<Running>) {
    match running.handle.client.renew_lease().await {
        Ok(requests) => running.report(requests),
        Err(error) => {
            let alive = running.handle.identity.is_alive();
            tracing::warn!(error = rbee_api::causes(&error), alive, "a lease is not renewed");
            if !alive {
                slot.forget(&running);
            }
        }
    }
}
