use std::{path::PathBuf, sync::Arc, time::Duration};

use chain_level::{Place, Running, Wanted, to_its_end};
use daemon_lifecycle::{Identity, Outcome, Waits};
use futures::TryFutureExt as _;
use narration_core::{Level, Narration};
use rbee_api::{ErrorBody, ErrorCode};
use tokio::time::timeout;
use worker_lifecycle::{Conversations, WorkerConfig, WorkerHandle, worker_id};

use super::{
    Workers,
    names::Reserved,
    setback::{Candidate, Distrust},
    turn::{Room, needed},
};
use crate::failure;

const DEVICE: &str = "cpu";

/// As long as that of a daemon whose starter watches over it.
const PROBATION: Duration = Duration::from_secs(10);

impl Workers {
    /// Gets the model's file, makes room, and starts the model's worker or replaces a stale one.
    pub(super) async fn load(
        &self,
        place: Place<'_, Self>,
        wanted: &Wanted,
    ) -> Result<WorkerHandle, ErrorBody> {
        let (slot, stale) = (place.slot, place.stale);
        // Whoever asks because a worker has died may be here before the one that watches over it.
        for dead in self.0.setbacks.dead(&slot.name) {
            self.note_end(&slot.name, &dead);
        }
        let path = self.model_file(&slot.name, wanted).await?;
        let replaced = stale.map(|running| &**running);
        let part = self.part_of(&slot.name, replaced, |part| WorkerConfig {
            part: Some(part),
            ..self.config_of(&slot.name, path.clone(), 0)
        })?;
        let config_of = |path: PathBuf, number: u8| WorkerConfig {
            part: part.clone(),
            ..self.config_of(&slot.name, path, number)
        };
        // Where only its sources are others, the worker that there is can go on.
        let mut goes_on = false;
        let beside = match stale {
            Some(running) => {
                let config = config_of(path.clone(), running.handle.slot);
                goes_on = self.0.host.has_inputs_of(&config, &running.handle.identity);
                if !goes_on {
                    narrate_inputs(&slot.name);
                }
                self.room_beside(running, &config).await.then_some(running)
            }
            None => None,
        };
        goes_on &= beside.is_some();
        if goes_on && let Some(why) = self.0.setbacks.holds(&slot.name, wanted.waits) {
            return Err(ErrorBody::new(ErrorCode::WorkerUnavailable, why));
        }
        let room = match beside {
            Some(_) => Room::none(),
            None => {
                let config = config_of(path.clone(), 0);
                self.room(&place, &config, wanted.waits != Waits::Nobody).await?
            }
        };
        // A worker in whose place another one is put keeps its name: it is drained first. Beside
        // it, or beside those before it that still finish their streams, another name is needed.
        let in_its_place = beside.is_none() || self.0.setbacks.has_died(&slot.name);
        let (config, name) = match stale.filter(|_| in_its_place) {
            Some(running) => (config_of(path, running.handle.slot), None),
            None => self.free_name(config_of(path, 0)),
        };
        if let Some(Distrust { bad, good, why }) = self.0.setbacks.distrust(&slot.name) {
            self.0.host.distrust(&config, &bad, &good, &why);
        }
        let good = stale.and_then(|running| self.0.host.executable(&running.handle.identity));
        let good = good.or_else(|| self.0.setbacks.good(&slot.name));
        let (rbee, level) = (Arc::clone(&config.rbee), self.clone());
        let old = stale.map(|running| running.handle.clone());
        let ends_first = beside.is_none();
        let config = WorkerConfig { goes_on, waits: wanted.waits, ..config };
        let spawning = self.0.host.spawn(config);
        let bringing_up = async move {
            let mut conversations = None;
            if let Some(old) = old.as_ref().filter(|_| ends_first) {
                conversations = Conversations::of(&rbee, old).await;
            }
            let handle = match (spawning.await, &old) {
                (Ok(handle), _) => handle,
                (Err(error), Some(old))
                    if goes_on && !error.is_build_failure() && old.identity.is_alive() =>
                {
                    return Ok(level.set_back(old, &error));
                }
                (Err(error), _) => return Err(failure::worker(&error)),
            };
            if !matches!(handle.outcome, Outcome::RolledBack { .. }) {
                level.0.setbacks.is_over(&handle.model, &handle.identity.exe_hash);
            }
            let is_untried = match &old {
                Some(old) => {
                    goes_on && !in_its_place && handle.identity.exe_hash != old.identity.exe_hash
                }
                None => level.0.setbacks.has_killed(&handle.model, &handle.identity.exe_hash),
            };
            if let Some(good) = good.filter(|_| is_untried) {
                level.watch_over(&handle, good);
            }
            // By now it is in the memory that it was given, and has its name.
            drop((room, name));
            narrate(&handle);
            let is_another = |old: &WorkerHandle| old.identity != handle.identity;
            if let Some(old) = old.filter(|old| !ends_first && is_another(old)) {
                conversations = Conversations::of(&rbee, &old).await;
            }
            if let Some(conversations) = conversations {
                conversations.go_to(&rbee, &handle).await;
            }
            Ok(handle)
        };
        to_its_end(bringing_up).await
    }

    /// The worker goes on in whose place another one could not be started.
    fn set_back(&self, worker: &WorkerHandle, error: &worker_lifecycle::Error) -> WorkerHandle {
        let (model, why) = (&worker.model, rbee_api::causes(error));
        let human =
            format!("`{model}` goes on with the worker before, since the new one failed: {why}");
        Narration::new("hive", "worker_kept", human).about(model).level(Level::Warn).emit();
        if !error.is_held_back() {
            self.0.setbacks.note(model, why.clone());
        }
        WorkerHandle { outcome: Outcome::RolledBack { why }, ..worker.clone() }
    }

    /// Where the worker dies in its probation, its binary counts as one that failed, and the next one is
    /// started from the `good` one that served before.
    fn watch_over(&self, worker: &WorkerHandle, good: PathBuf) {
        let (level, model, process) = (self.clone(), worker.model.clone(), worker.identity.clone());
        let candidate = Candidate { model: model.clone(), process: process.clone(), good };
        self.0.setbacks.begins(candidate);
        tokio::spawn(async move {
            match timeout(PROBATION, level.0.host.ended(&process)).await {
                Ok(()) => level.note_end(&model, &process),
                Err(_) => level.0.setbacks.note_good(&process),
            }
        });
    }

    /// A worker that was not stopped has ended.
    fn note_end(&self, model: &str, process: &Identity) {
        let why = format!("it died within {} s of its start", PROBATION.as_secs());
        if self.0.setbacks.note_end(process, &why) {
            let human = format!(
                "the new worker for `{model}` has died at once: the next one is started from the \
                 binary before"
            );
            Narration::new("hive", "worker_died", human).about(model).level(Level::Warn).emit();
        }
    }

    async fn model_file(&self, model: &str, wanted: &Wanted) -> Result<PathBuf, ErrorBody> {
        let (models, reach) = (&self.0.models, wanted.reach);
        let file = models.whole_file(model.to_owned(), reach, wanted.job.clone());
        if models.find(model.to_owned()).await?.is_some() {
            return file.await;
        }
        models.admit(model, reach, |_| false).await?;
        // A download waits for the network and a build for the processor.
        let config = self.config_of(model, PathBuf::new(), 0);
        let build = self.0.host.build(WorkerConfig { waits: wanted.waits, ..config });
        let (path, ()) = tokio::try_join!(file, build.map_err(|error| failure::worker(&error)))?;
        Ok(path)
    }

    /// Whether a successor can be loaded while the worker still runs.
    async fn room_beside(&self, running: &Running<WorkerHandle>, config: &WorkerConfig) -> bool {
        if self.0.host.shares_engine(config) {
            // The successor loads nothing.
            return true;
        }
        let resident = self.0.host.memory_of(&running.handle.identity);
        let needed = needed(config).await.max(resident.unwrap_or_default());
        self.0.host.available_memory().is_some_and(|available| available >= needed)
    }

    /// What a worker is to be started with, under a name that no living process has and no other start
    /// gives, and what keeps it so until it is started.
    fn free_name(&self, mut config: WorkerConfig) -> (WorkerConfig, Option<Reserved>) {
        let rbee = self.0.config.current();
        loop {
            let id = worker_id(&config);
            let name = self.0.names.reserve(id.clone());
            if name.is_some() && !self.0.host.is_taken(&rbee, &id) || config.slot == u8::MAX {
                return (config, name);
            }
            config.slot += 1;
        }
    }

    pub(super) fn config_of(&self, model: &str, model_path: PathBuf, slot: u8) -> WorkerConfig {
        WorkerConfig {
            rbee: self.0.config.current(),
            hive: self.0.hive.clone(),
            model: model.to_owned(),
            model_path,
            sampling: self.0.models.sampling(model),
            device: DEVICE.to_owned(),
            slot,
            part: None,
            goes_on: false,
            waits: Waits::Nobody,
        }
    }
}

fn narrate_inputs(model: &str) {
    let human = format!(
        "the settings, the chat template or the file of `{model}` have changed: its worker is \
         replaced, and finishes what it answers"
    );
    Narration::new("hive", "worker_stale", human).about(model).emit();
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
