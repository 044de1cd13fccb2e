use std::{path::PathBuf, sync::Arc};

use daemon_lifecycle::Outcome;
use narration_core::Narration;
use rbee_api::ErrorBody;
use tracing::Instrument as _;
use worker_lifecycle::{
    WorkerConfig, WorkerHandle, WorkerType, spawn_worker, stop_worker, worker_is_current,
};

use super::{Running, Slot, Wanted, WorkerPool};
use crate::{
    devices, failure,
    room::{self, Candidate, TooLittle},
};

const WORKER: WorkerType = WorkerType::LlamaCpp;
const DEVICE: &str = "cpu";

impl WorkerPool {
    /// Whether the worker runs what its sources and its configuration say now.
    pub(super) async fn is_current(&self, running: &Running) -> bool {
        let handle = &running.handle;
        match self.0.models.find(handle.model.clone()).await {
            Ok(Some(path)) => {
                let config = self.worker_config(&handle.model, path, handle.slot);
                worker_is_current(WORKER, &config, &handle.identity).await
            }
            Ok(None) | Err(_) => false,
        }
    }

    /// Gets the model's file, makes room, and starts or replaces its worker; one caller at a time.
    pub(super) async fn bring_up(
        &self,
        slot: &Arc<Slot>,
        wanted: &Wanted,
    ) -> Result<Arc<Running>, ErrorBody> {
        let turn = slot.bringing_up.lock().await;
        let old = slot.current();
        let alive = match &old {
            Some(running) => running.handle.client.health().await.is_ok(),
            None => false,
        };
        // Somebody who was in front may have done it; or the connection was cut, not the process.
        if let Some(running) = old.as_ref().filter(|_| alive)
            && (!wanted.fresh || self.is_current(running).await)
        {
            return Ok(Arc::clone(running));
        }
        let path = self.model_file(wanted).await?;
        let beside = match (&old, alive) {
            (Some(running), true) => self.room_beside(running, &path).await.then_some(running),
            _ => None,
        };
        let number = match (&old, beside) {
            (_, Some(running)) => 1 - running.handle.slot.min(1),
            (Some(running), None) => running.handle.slot,
            (None, None) => 0,
        };
        if beside.is_none() {
            self.make_room(slot, &path).await?;
        }
        let config = self.worker_config(&slot.name, path, number);
        let handle = self.spawn(config).await?;
        narrate(&handle);
        let running = Running::new(handle);
        let replaced = slot.set(Some(Arc::clone(&running)));
        if let Some(replaced) = replaced.filter(|old| old.handle.id != running.handle.id) {
            self.retire(replaced);
        }
        drop(turn);
        Ok(running)
    }

    async fn model_file(&self, wanted: &Wanted) -> Result<PathBuf, ErrorBody> {
        let found = self.0.models.find(wanted.model.clone()).await?;
        let path = match found {
            Some(path) => path,
            None => self.0.models.pull(wanted.model.clone(), wanted.job.clone()).await?,
        };
        // llama.cpp must not see a file that is not whole.
        self.0.models.inspect(path.clone()).await?;
        Ok(path)
    }

    /// In a task of its own, so that a client who goes away leaves no half-started worker.
    async fn spawn(&self, config: WorkerConfig) -> Result<WorkerHandle, ErrorBody> {
        let spawning = tokio::spawn(spawn_worker(WORKER, config).in_current_span());
        match spawning.await {
            Ok(spawned) => spawned.map_err(|error| failure::worker(&error)),
            Err(error) => Err(completion_relay::internal(&error)),
        }
    }

    /// Lets a worker that has a successor finish its streams and ends it.
    fn retire(&self, old: Arc<Running>) {
        let config = self.0.config.current();
        tokio::spawn(async move {
            let drain = config.queen.drain_timeout;
            if let Err(error) = stop_worker(&config, &old.handle.id, drain).await {
                tracing::error!(
                    error = completion_relay::causes(&error),
                    "a replaced worker does not end"
                );
            }
        });
    }

    /// Whether a successor can be loaded while the worker still runs.
    async fn room_beside(&self, running: &Running, path: &PathBuf) -> bool {
        let resident = daemon_lifecycle::memory_bytes(running.handle.identity.pid);
        let needed = room::needed(file_bytes(path).await).max(resident.unwrap_or_default());
        devices::available_memory().is_some_and(|available| available >= needed)
    }

    /// Stops idle workers of other models until the model's file fits into memory.
    async fn make_room(&self, slot: &Arc<Slot>, path: &PathBuf) -> Result<(), ErrorBody> {
        let others: Vec<_> = self
            .slots()
            .into_iter()
            .filter(|other| !Arc::ptr_eq(other, slot))
            .filter_map(|other| Some((other.current()?, other)))
            .collect();
        let candidates = others.iter().map(|(running, _)| Candidate {
            id: running.handle.id.clone(),
            memory_bytes: daemon_lifecycle::memory_bytes(running.handle.identity.pid)
                .unwrap_or_default(),
            busy: running.active() > 0,
            idle_ms: running.idle().as_millis(),
        });
        let Some(available) = devices::available_memory() else { return Ok(()) };
        let needed = room::needed(file_bytes(path).await);
        let evicted = room::evict(needed, available, candidates.collect())
            .map_err(|too_little| insufficient(&slot.name, too_little))?;
        for (running, other) in others {
            if evicted.contains(&running.handle.id) && other.forget_idle(&running) {
                self.stop_idle(&running, "to make room").await;
            }
        }
        Ok(())
    }

    pub(super) async fn stop_idle(&self, running: &Running, why: &str) {
        let human = format!("stopping the worker for `{}` {why}", running.handle.model);
        Narration::new("hive", "worker_stop", human).about(&running.handle.model).emit();
        let drain = self.0.config.current().queen.drain_timeout;
        if let Err(error) = stop_worker(&self.0.config.current(), &running.handle.id, drain).await {
            tracing::error!(
                error = completion_relay::causes(&error),
                "an idle worker does not end"
            );
        }
    }

    fn worker_config(&self, model: &str, model_path: PathBuf, slot: u8) -> WorkerConfig {
        WorkerConfig {
            rbee: self.0.config.current(),
            hive: self.0.hive.clone(),
            model: model.to_owned(),
            model_path,
            device: DEVICE.to_owned(),
            slot,
        }
    }
}

fn narrate(handle: &WorkerHandle) {
    let human = match handle.outcome {
        Outcome::Started | Outcome::Replaced { .. } => {
            format!("`{}` is loaded and answers", handle.model)
        }
        _ => return,
    };
    Narration::new("hive", "worker_ready", human).about(&handle.model).emit();
}

async fn file_bytes(path: &PathBuf) -> u64 {
    tokio::fs::metadata(path).await.map_or(0, |metadata| metadata.len())
}

fn insufficient(model: &str, TooLittle { needed_bytes, reachable_bytes }: TooLittle) -> ErrorBody {
    let message = format!(
        "`{model}` needs about {} MiB of memory; {} MiB are free or held by idle models, the rest \
         is in use",
        needed_bytes >> 20,
        reachable_bytes >> 20
    );
    ErrorBody::new(503, "server_error", "insufficient_memory", message)
}
