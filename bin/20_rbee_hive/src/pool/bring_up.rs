use std::{path::PathBuf, sync::Arc};

use chain_daemon::LLAMACPP_WORKER;
use daemon_lifecycle::{Outcome, Waits};
use http_guard::ApiError;
use narration_core::Narration;
use rbee_api::{ErrorBody, ErrorCode, causes};
use tracing::Instrument as _;
use worker_lifecycle::{WorkerConfig, WorkerHandle, worker_id};

use super::{Running, Slot, Wanted, WorkerPool};
use crate::{
    failure,
    room::{self, Candidate, TooLittle},
};

const DEVICE: &str = "cpu";

impl WorkerPool {
    /// Whether the worker runs what its sources and its configuration say now.
    ///
    /// One whose model's file is gone is left alone: it has the model in memory.
    pub(super) async fn is_current(&self, running: &Running) -> bool {
        let handle = &running.handle;
        match self.0.models.find(handle.model.clone()).await {
            Ok(Some(path)) => {
                let config = self.worker_config(&handle.model, path, handle.slot);
                self.0.host.is_current(&config, &handle.identity).await
            }
            Ok(None) | Err(_) => handle.identity.is_alive(),
        }
    }

    /// Gets the model's file, makes room, and starts or replaces its worker; one caller at a time.
    pub(super) async fn bring_up(
        &self,
        slot: &Arc<Slot>,
        wanted: &Wanted,
    ) -> Result<Arc<Running>, ErrorBody> {
        // Whoever has the turn may be building for nobody.
        let is_awaited = wanted.waits != Waits::Nobody;
        let hurry =
            is_awaited.then(|| chain_daemon::hurry(&self.0.config.current(), LLAMACPP_WORKER));
        let turn = slot.bringing_up.lock().await;
        drop(hurry);
        let (mut old, mut alive) = answering(slot).await;
        if !alive {
            // A hive before this one may have left, or just brought up, one that is alive.
            self.adopt().await;
            (old, alive) = answering(slot).await;
        }
        // Somebody who was in front may have done it; or the connection was cut, not the process.
        if let Some(running) = old.as_ref().filter(|_| alive)
            && (!wanted.fresh || self.is_current(running).await)
        {
            return Ok(Arc::clone(running));
        }
        let path = self.model_file(wanted).await?;
        let beside = match (&old, alive) {
            (Some(running), true) => {
                let config = self.worker_config(&slot.name, path.clone(), running.handle.slot);
                self.room_beside(running, &config).await.then_some(running)
            }
            _ => None,
        };
        if beside.is_none() {
            self.make_room(slot, &self.worker_config(&slot.name, path.clone(), 0)).await?;
        }
        // A worker in whose place another one is put keeps its name: it is drained first. Beside
        // it, or beside those before it that still finish their streams, another name is needed.
        let config = match (&old, beside) {
            (Some(running), None) if alive => {
                self.worker_config(&slot.name, path, running.handle.slot)
            }
            _ => self.free_name(&slot.name, path),
        };
        let handle = self.spawn(WorkerConfig { waits: wanted.waits, ..config }).await?;
        narrate(&handle);
        let running = Running::new(handle);
        let replaced = slot.set(Some(Arc::clone(&running)));
        if let Some(replaced) = replaced.filter(|old| old.handle.id != running.handle.id) {
            self.retire(replaced, "which another one has replaced");
        }
        drop(turn);
        Ok(running)
    }

    async fn model_file(&self, wanted: &Wanted) -> Result<PathBuf, ErrorBody> {
        let Wanted { model, reach, job, waits, .. } = wanted.clone();
        let models = &self.0.models;
        if models.find(model.clone()).await?.is_some() {
            return models.whole_file(model, reach, job).await;
        }
        models.admit(&model, reach, |_| false).await?;
        // A download waits for the network and a build for the processor.
        let config = WorkerConfig { waits, ..self.worker_config(&model, PathBuf::new(), 0) };
        let build = self.0.host.build(config);
        let build = async { build.await.map_err(|error| failure::worker(&error)) };
        let (path, ()) = tokio::try_join!(models.whole_file(model, reach, job), build)?;
        Ok(path)
    }

    /// In a task of its own, so that a client who goes away leaves no half-started worker.
    async fn spawn(&self, config: WorkerConfig) -> Result<WorkerHandle, ErrorBody> {
        let spawning = tokio::spawn(self.0.host.spawn(config).in_current_span());
        match spawning.await {
            Ok(spawned) => spawned.map_err(|error| failure::worker(&error)),
            Err(error) => Err(ApiError::internal(error).into()),
        }
    }

    /// Lets a worker that is in no place any more finish its streams and ends it, beside whatever
    /// goes on.
    pub(super) fn retire(&self, old: Arc<Running>, why: &'static str) {
        let pool = self.clone();
        tokio::spawn(async move { pool.stop(&old, why).await }.in_current_span());
    }

    /// Whether a successor can be loaded while the worker still runs.
    async fn room_beside(&self, running: &Running, config: &WorkerConfig) -> bool {
        if self.0.host.shares_engine(config) {
            // The successor loads nothing.
            return true;
        }
        let resident = self.0.host.memory_of(&running.handle.identity);
        let needed = needed(config).await.max(resident.unwrap_or_default());
        self.0.host.available_memory().is_some_and(|available| available >= needed)
    }

    /// Stops idle workers of other models until the model's file fits into memory.
    async fn make_room(&self, slot: &Arc<Slot>, config: &WorkerConfig) -> Result<(), ErrorBody> {
        if self.0.host.shares_engine(config) {
            return Ok(());
        }
        let others: Vec<_> = self
            .slots()
            .into_iter()
            .filter(|other| !Arc::ptr_eq(other, slot))
            .filter_map(|other| Some((other.current()?, other)))
            .collect();
        let candidates = others.iter().map(|(running, _)| Candidate {
            id: running.handle.id.clone(),
            memory_bytes: self.0.host.memory_of(&running.handle.identity).unwrap_or_default(),
            busy: running.is_busy(),
            idle_ms: running.idle().as_millis(),
        });
        let Some(available) = self.0.host.available_memory() else { return Ok(()) };
        let needed = needed(config).await;
        let evicted = room::evict(needed, available, candidates.collect())
            .map_err(|too_little| insufficient(&slot.name, too_little))?;
        for (running, other) in others {
            if evicted.contains(&running.handle.id) && other.forget_idle(&running) {
                self.stop(&running, "to make room").await;
            }
        }
        Ok(())
    }

    async fn stop(&self, running: &Running, why: &str) {
        let model = &running.handle.model;
        let human = format!("stopping the worker for `{model}` {why}");
        Narration::new("hive", "worker_stop", human).about(model).emit();
        let config = self.0.config.current();
        let drain = config.queen.drain_timeout;
        if let Err(error) = self.0.host.stop(&config, &running.handle.id, drain).await {
            tracing::error!(error = causes(&error), "a worker does not end");
        }
    }

    /// What a worker is to be started with, under a name that no living process has.
    fn free_name(&self, model: &str, path: PathBuf) -> WorkerConfig {
        let rbee = self.0.config.current();
        let mut config = self.worker_config(model, path, 0);
        while config.slot < u8::MAX && self.0.host.is_taken(&rbee, &worker_id(&config)) {
            config.slot += 1;
        }
        config
    }

    fn worker_config(&self, model: &str, model_path: PathBuf, slot: u8) -> WorkerConfig {
        WorkerConfig {
            rbee: self.0.config.current(),
            hive: self.0.hive.clone(),
            model: model.to_owned(),
            model_path,
            device: DEVICE.to_owned(),
            slot,
            waits: Waits::Nobody,
        }
    }
}

/// The worker in the model's place, and whether it answers.
async fn answering(slot: &Slot) -> (Option<Arc<Running>>, bool) {
    let running = slot.current();
    let alive = match &running {
        Some(running) => running.handle.client.health().await.is_ok(),
        None => false,
    };
    (running, alive)
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

/// Memory that such a worker is taken to need, in bytes.
async fn needed(config: &WorkerConfig) -> u64 {
    let config = config.clone();
    let counted = tokio::task::spawn_blocking(move || {
        let more = worker_lifecycle::overhead_bytes(&config).unwrap_or_default();
        room::needed(room::bytes_of(&config.model_path)) + more
    });
    counted.await.unwrap_or_default()
}

fn insufficient(model: &str, TooLittle { needed_bytes, reachable_bytes }: TooLittle) -> ErrorBody {
    let message = format!(
        "`{model}` needs about {} MiB of memory; {} MiB are free or held by idle models, the rest \
         is in use: wait for the models that are answering (`./rbee worker list`), or take a \
         smaller one",
        needed_bytes >> 20,
        reachable_bytes >> 20
    );
    ErrorBody::new(ErrorCode::InsufficientMemory, message)
}
