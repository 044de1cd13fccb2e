//! This hive's part of a model that several compute together. Which part that is, and when all of them
//! are started anew, is for whoever asks the hives to say.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use chain_level::{Pool, Running};
use narration_core::Narration;
use rbee_api::{ErrorBody, ErrorCode, Part, Worker};
use worker_lifecycle::{WorkerConfig, WorkerHandle};

use super::Workers;

/// How long a worker may take to tell its requests why they end, and to end what computes for it.
const LAST_WORDS: Duration = Duration::from_secs(15);

/// What was said last of the parts of models, by the models' names.
#[derive(Debug, Default)]
pub(super) struct Parts(Mutex<HashMap<String, Said>>);

#[derive(Debug, Clone)]
enum Said {
    /// It is to be started, once.
    Start(Part),
    /// It was of no use any more.
    Lost(String),
}

impl Parts {
    fn say(&self, model: &str, said: Said) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(model.to_owned(), said);
    }

    /// A part is started once; why the last one ended stays known.
    fn next(&self, model: &str) -> Option<Said> {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match said.get(model)? {
            Said::Start(_) => said.remove(model),
            lost @ Said::Lost(_) => Some(lost.clone()),
        }
    }
}

impl Workers {
    /// Has the next worker for the model be that part.
    pub(crate) fn start_part(&self, model: &str, part: Part) {
        self.0.parts.say(model, Said::Start(part));
    }

    /// Which part the next worker for the model is to be: the one that was said, else that of the worker
    /// which it replaces, if it goes on with the same engine.
    ///
    /// # Errors
    ///
    /// A part that was started alone would wait for the others in vain.
    pub(super) fn part_of(
        &self,
        model: &str,
        stale: Option<&Running<WorkerHandle>>,
        config: impl FnOnce(Part) -> WorkerConfig,
    ) -> Result<Option<Part>, ErrorBody> {
        let lost = match self.0.parts.next(model) {
            Some(Said::Start(part)) => return Ok(Some(part)),
            Some(Said::Lost(why)) => format!(" ({why})"),
            None => String::new(),
        };
        if !self.is_shared(model) {
            return Ok(None);
        }
        if let Some(part) = stale.and_then(|running| running.handle.part.clone())
            && self.0.host.shares_engine(&config(part.clone()))
        {
            return Ok(Some(part));
        }
        let message = format!(
            "`{model}` is computed by several hives together, and its workers have ended or are to be \
             replaced all at once{lost}: the queen starts them at the next request"
        );
        Err(ErrorBody::new(ErrorCode::WorkerUnavailable, message))
    }

    /// Whether the configuration has several hives compute the model.
    pub(crate) fn is_shared(&self, model: &str) -> bool {
        let config = self.0.config.current();
        config.model.get(model).is_some_and(rbee_config::ModelEntry::is_shared)
    }

    /// The shared models with a worker that is alive and not `listed`: whether it is of use is not known.
    pub(crate) fn silent(&self, listed: &[Worker]) -> Vec<String> {
        let config = self.0.config.current();
        let is_silent = |model: &String| {
            listed.iter().all(|worker| worker.model != *model)
                && self.0.host.is_alive_for(&config, &self.0.hive, model, None)
        };
        let shared = config.model.iter().filter(|(_, entry)| entry.is_shared());
        shared.map(|(model, _)| model.clone()).filter(is_silent).collect()
    }

    /// Whether the worker's engine would be started otherwise now: its arguments have changed, or the
    /// program, or the model's files.
    pub(super) async fn is_outdated(&self, worker: &WorkerHandle) -> bool {
        match self.0.models.find(worker.model.clone()).await {
            Ok(Some(path)) => {
                let config = self.config_of(&worker.model, path, worker.slot);
                !self.0.host.shares_engine(&WorkerConfig { part: worker.part.clone(), ..config })
            }
            // It has the model in memory.
            Ok(None) | Err(_) => false,
        }
    }

    /// Ends the model's worker, whether it answers or is being loaded, and waits for that. Its requests
    /// end first; where it is `lost`, at once and with that reason.
    pub(crate) async fn end_part(
        &self,
        pool: &Pool<Self>,
        model: &str,
        lost: Option<String>,
    ) -> Result<bool, ErrorBody> {
        let config = self.0.config.current();
        let running = pool.places().occupant(model);
        if let Some(running) = &running {
            self.0.setbacks.ends(&running.handle.identity);
        }
        if let Some(why) = &lost {
            let human = format!("ending the worker for `{model}`: {why}");
            Narration::new("hive", "worker_lost", human).about(model).emit();
            self.0.parts.say(model, Said::Lost(why.clone()));
        }
        let mut stopped = Ok(());
        let ending = async {
            let mut drain = config.queen.drain_timeout;
            if let (Some(why), Some(running)) = (lost, &running) {
                drain = LAST_WORDS;
                if let Err(error) = running.handle.client.give_engine_up(why).await {
                    let error = rbee_api::causes(&error);
                    tracing::warn!(error, "a worker is not told that its engine is lost");
                }
            } else if running.is_none() {
                // It is loaded by somebody, for a start that comes to nothing.
                drain = Duration::ZERO;
            }
            stopped = self.0.host.stop_all_of(&config, &self.0.hive, model, drain).await;
        };
        let was_loaded = pool.vacate_by(model, ending).await;
        stopped.map_err(|error| crate::failure::worker(&error))?;
        Ok(was_loaded)
    }
}
