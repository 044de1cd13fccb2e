//! Workers by model: brought up when a request names the model, replaced when stale, stopped when
//! idle.

mod bring_up; // from a model's name to a worker that answers
mod keep; // adoption, leases, idle workers

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use daemon_lifecycle::Waits;
use job_client::Source;
use job_server::JobEmitter;
use narration_core::{Level, Narration};
use rbee_api::{ErrorBody, ModelReach, Worker, WorkerList, WorkerState};
use rbee_config::LiveConfig;
use reqwest::{Method, RequestBuilder};
use worker_lifecycle::{WorkerClient, WorkerHandle, WorkerType};

use crate::{failure, host::Host, models::Models};

type Slot = chain_level::Slot<WorkerHandle>;
type Running = chain_level::Running<WorkerHandle>;
pub(crate) type Busy = chain_level::Busy<WorkerHandle>;

#[derive(Debug, Clone)]
pub(crate) struct WorkerPool(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    hive: String,
    config: LiveConfig,
    models: Models,
    host: Arc<dyn Host>,
    slots: Mutex<BTreeMap<String, Arc<Slot>>>,
}

/// What a request wants of the worker that answers it.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) model: String,
    /// Which models whoever asks may name.
    pub(crate) reach: ModelReach,
    /// Whether a worker that runs a stale binary will not do.
    pub(crate) fresh: bool,
    /// Whether the worker that the pool remembers has failed this request already.
    pub(crate) distrust: bool,
    /// Who waits for it to be built, if it must.
    pub(crate) waits: Waits,
    /// Told of downloads.
    pub(crate) job: Option<JobEmitter>,
}

impl Source for WorkerPool {
    /// `None` for a worker that is in no place any more, and only finishes its streams.
    type Held = Option<Busy>;
    type Error = ErrorBody;

    async fn request(
        &self,
        id: &str,
        method: Method,
        path: &str,
        _: usize,
    ) -> Result<(RequestBuilder, Option<Busy>), ErrorBody> {
        let client = WorkerClient::of(&self.0.config.current(), id);
        let client = client.map_err(|error| failure::worker(&error))?;
        // One that hangs would keep the request for as long as a stream may be silent.
        client.health().await.map_err(|error| failure::worker(&error))?;
        let current = self.slots().into_iter().filter_map(|slot| slot.current());
        let running = current.into_iter().find(|running| running.handle.id == id);
        Ok((client.stream(method, path), running.map(Busy::new)))
    }
}

impl WorkerPool {
    pub(crate) fn new(
        hive: String,
        config: LiveConfig,
        models: Models,
        host: Arc<dyn Host>,
    ) -> Self {
        Self(Arc::new(Inner { hive, config, models, host, slots: Mutex::default() }))
    }

    /// A worker that has the model loaded; it stays while the guard beside it is held.
    pub(crate) async fn acquire(
        &self,
        mut wanted: Wanted,
    ) -> Result<(WorkerHandle, Busy), ErrorBody> {
        // Before anything is kept under the name.
        wanted.model = self.admitted(&wanted).await?;
        let slot = self.slot(&wanted.model);
        if !wanted.distrust
            && let Some(running) = slot.current()
        {
            // Counted first, so that it is not stopped as idle while it is looked at.
            let busy = Busy::new(Arc::clone(&running));
            if !wanted.fresh {
                self.refresh_beside(&slot);
                return Ok((running.handle.clone(), busy));
            }
            if self.is_current(&running).await {
                return Ok((running.handle.clone(), busy));
            }
        }
        match self.bring_up(&slot, &wanted).await {
            Ok(running) => Ok((running.handle.clone(), Busy::new(running))),
            Err(body) => {
                self.forget_unused(slot);
                Err(body)
            }
        }
    }

    async fn admitted(&self, wanted: &Wanted) -> Result<String, ErrorBody> {
        let is_loaded = |name: &str| {
            let slots = self.0.slots.lock().unwrap_or_else(PoisonError::into_inner);
            slots.get(name).is_some_and(|slot| slot.current().is_some())
        };
        self.0.models.admit(&wanted.model, wanted.reach, is_loaded).await
    }

    /// Replaces every running worker whose binary is stale.
    pub(crate) async fn update(&self, job: &JobEmitter) -> Result<(), ErrorBody> {
        let mut failed = None;
        for slot in self.slots() {
            if slot.current().is_some() {
                let model = slot.name.clone();
                let job = Some(job.clone());
                let waits = Waits::Person;
                let wanted = Wanted {
                    model,
                    reach: ModelReach::Any,
                    fresh: true,
                    distrust: false,
                    waits,
                    job,
                };
                // One that cannot be replaced keeps no other from it.
                failed = failed.or(self.acquire(wanted).await.err());
            }
        }
        failed.map_or(Ok(()), Err)
    }

    pub(crate) async fn list(&self) -> WorkerList {
        let mut workers = Vec::new();
        for slot in self.slots() {
            if let Some(running) = slot.current() {
                workers.push(self.describe(&running).await);
            }
        }
        WorkerList { workers }
    }

    /// Checks, after the request has gone its way, whether its worker should be replaced.
    fn refresh_beside(&self, slot: &Arc<Slot>) {
        let Some(turn) = slot.take_refresh_turn() else { return };
        let (pool, slot) = (self.clone(), Arc::clone(slot));
        tokio::spawn(async move {
            let stale = match slot.current() {
                Some(running) => !pool.is_current(&running).await,
                None => false,
            };
            if stale {
                let model = slot.name.clone();
                let waits = Waits::Nobody;
                let wanted = Wanted {
                    model,
                    reach: ModelReach::Any,
                    fresh: true,
                    distrust: false,
                    waits,
                    job: None,
                };
                let replaced = pool.bring_up(&slot, &wanted).await;
                if let Err(body) = replaced {
                    let why = format!("`{}` stays as it is: {}", slot.name, body.error.message);
                    let stale = Narration::new("hive", "worker_stale", why).about(&slot.name);
                    stale.level(Level::Warn).emit();
                }
            }
            drop(turn);
        });
    }

    fn slot(&self, model: &str) -> Arc<Slot> {
        let mut slots = self.0.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = slots.entry(model.to_owned());
        Arc::clone(slot.or_insert_with(|| Arc::new(Slot::new(model.to_owned()))))
    }

    /// Keeps no place for a model that is not to be had.
    fn forget_unused(&self, slot: Arc<Slot>) {
        let mut slots = self.0.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let name = slot.name.clone();
        let is_empty = slot.current().is_none();
        drop(slot);
        // Whoever else waits for it holds it, and forgets it in turn.
        if is_empty && slots.get(&name).is_some_and(|slot| Arc::strong_count(slot) == 1) {
            slots.remove(&name);
        }
    }

    fn slots(&self) -> Vec<Arc<Slot>> {
        let slots = self.0.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.values().map(Arc::clone).collect()
    }

    async fn describe(&self, running: &Running) -> Worker {
        let health = running.handle.client.health().await;
        let (state, detail) = match &health {
            Ok(_) => (WorkerState::Ready, None),
            Err(error) => (WorkerState::Failed, Some(rbee_api::causes(error))),
        };
        Worker {
            id: running.handle.id.clone(),
            model: running.handle.model.clone(),
            kind: WorkerType::of_role(&running.handle.identity.role).into(),
            device: "cpu".to_owned(),
            state,
            active_requests: running.active(),
            memory_bytes: self.0.host.memory_of(&running.handle.identity),
            detail,
            health: health.ok(),
        }
    }
}
