use std::{sync::Arc, time::Duration};

use narration_core::Narration;
use tokio::time::{MissedTickBehavior, interval};
use worker_lifecycle::running_workers;

use super::{Running, WorkerPool};

/// How often leases are renewed and idle workers looked for; well within the shortest lease.
const ROUND: Duration = Duration::from_secs(5);

impl WorkerPool {
    /// Takes over the workers of this hive that are alive.
    pub(crate) async fn adopt(&self) {
        let found = match running_workers(&self.0.config.current(), &self.0.hive).await {
            Ok(found) => found,
            Err(error) => {
                tracing::error!(
                    error = completion_relay::causes(&error),
                    "no worker can be adopted"
                );
                return;
            }
        };
        for handle in found {
            let slot = self.slot(&handle.model);
            let running = Running::new(handle);
            let id = running.handle.id.clone();
            if slot.current().is_some() {
                // Two of one model: a replacement was under way. The other one is in use.
                self.stop_idle(&running, "which another one has replaced").await;
                continue;
            }
            slot.set(Some(running));
            let human = format!("adopted the worker for `{}`", slot.name);
            Narration::new("hive", "worker_adopt", human).about(id).emit();
        }
    }

    /// Renews leases and stops idle workers until it is dropped.
    pub(crate) async fn keep(&self) {
        let mut rounds = interval(ROUND);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            rounds.tick().await;
            for slot in self.slots() {
                let Some(running) = slot.current() else { continue };
                if running.idle() > self.0.config.current().worker.idle_timeout
                    && slot.forget_idle(&running)
                {
                    self.stop_idle(&running, "which nobody used").await;
                } else {
                    let (slot, running) = (Arc::clone(&slot), Arc::clone(&running));
                    tokio::spawn(async move {
                        if let Err(error) = running.handle.client.renew_lease().await {
                            // The next request for the model brings up another one.
                            tracing::warn!(
                                error = completion_relay::causes(&error),
                                "a worker is gone"
                            );
                            slot.forget(&running);
                        }
                    });
                }
            }
        }
    }
}
