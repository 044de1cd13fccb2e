//! The next level of a hive: workers, by model.

mod bring_up; // from a model's name to a worker that answers
mod level; // what the pool asks
mod turn; // memory for one more
mod stay; // how long a model stays loaded
mod setback; // successors that could not be started, or died at once
mod names; // of those that are being started
mod kept; // what the next process has to know
mod part; // of a model that several hives compute together

use std::sync::Arc;

use chain_level::{Metrics, Running};
use narration_core::Narration;
use rbee_api::{Worker, WorkerState};
use rbee_config::LiveConfig;
use worker_lifecycle::{WorkerHandle, WorkerType};

use self::{names::Names, part::Parts, setback::Setbacks, stay::Stays, turn::Turns};
use crate::{host::Host, models::Models};

#[derive(Debug, Clone)]
pub(crate) struct Workers(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    hive: String,
    config: LiveConfig,
    models: Models,
    host: Arc<dyn Host>,
    turns: Turns,
    stays: Stays,
    parts: Parts,
    setbacks: Setbacks,
    names: Names,
    metrics: Metrics,
}

impl Workers {
    pub(crate) fn new(
        hive: String,
        config: LiveConfig,
        models: Models,
        host: Arc<dyn Host>,
        metrics: Metrics,
    ) -> Self {
        let file = |what| kept::file(&config.current(), &hive, what);
        let setbacks = Setbacks::kept_in(file("failed-workers"));
        let stays = Stays::kept_in(file("keep-alive"));
        Self(Arc::new(Inner {
            hive,
            config,
            models,
            host,
            turns: Turns::default(),
            stays,
            parts: Parts::default(),
            setbacks,
            names: Names::default(),
            metrics,
        }))
    }

    async fn stop(&self, worker: &WorkerHandle, why: &str) {
        let model = &worker.model;
        let human = format!("stopping the worker for `{model}` {why}");
        Narration::new("hive", "worker_stop", human).about(model).emit();
        self.0.setbacks.ends(&worker.identity);
        let config = self.0.config.current();
        // Where another one has replaced it the model stays loaded.
        if !self.0.host.is_alive_for(&config, &self.0.hive, model, Some(&worker.id)) {
            self.0.stays.forget(model);
        }
        let drain = config.queen.drain_timeout;
        if let Err(error) = self.0.host.stop(&config, &worker.id, drain).await {
            tracing::error!(error = rbee_api::causes(&error), "a worker does not end");
        }
    }

    async fn told(&self, running: &Running<WorkerHandle>) -> Worker {
        let health = running.handle.client.own_health().await;
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
            unloads_in_s: self.unloads_in(running),
            detail,
            health: health.ok(),
            outdated: running.handle.part.is_some() && self.is_outdated(&running.handle).await,
            part: running.handle.part.clone(),
        }
    }
}
