use std::time::Duration;

use chain_daemon::LLAMACPP_WORKER;
use chain_level::{
    Busy, Completion, Lapse, Level, Metrics, Place, Places, Reached, Renewed, Running, Wanted,
};
use daemon_lifecycle::{Identity, Outcome};
use rbee_api::{ErrorBody, Status, Worker, causes};
use reqwest::{Method, RequestBuilder};
use worker_lifecycle::{WorkerClient, WorkerConfig, WorkerHandle, WorkerType};

use super::Workers;
use crate::failure;

impl Level for Workers {
    type Handle = WorkerHandle;
    type Description = Worker;

    const NARRATOR: &'static str = "hive";
    const PROCESS: &'static str = "worker";
    const CAN_BE_ENDED_BY_REQUESTS: bool = true;
    const CAN_CONTINUE: bool = true;

    fn id(worker: &WorkerHandle) -> &str {
        &worker.id
    }

    fn identity(worker: &WorkerHandle) -> &Identity {
        &worker.identity
    }

    fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    fn outcome(worker: &WorkerHandle) -> &Outcome {
        &worker.outcome
    }

    fn default_model(&self) -> String {
        self.0.config.current().models.default.clone()
    }

    async fn admit(
        &self,
        places: &Places<WorkerHandle>,
        name: &str,
        wanted: &Wanted,
    ) -> Result<String, ErrorBody> {
        let is_loaded = |name: &str| places.occupant(name).is_some();
        self.0.models.admit(name, wanted.reach, is_loaded).await
    }

    /// One whose model's file is gone is left alone: it has the model in memory. So is a part of a model
    /// with an outdated engine: it is replaced together with the others.
    async fn is_current(&self, worker: &WorkerHandle) -> bool {
        let part = worker.part.clone().filter(|_| self.is_shared(&worker.model));
        if part.is_some() && self.is_outdated(worker).await {
            return worker.identity.is_alive();
        }
        match self.0.models.find(worker.model.clone()).await {
            Ok(Some(path)) => {
                let config = self.config_of(&worker.model, path, worker.slot);
                let config = WorkerConfig { part, ..config };
                self.0.host.is_current(&config, &worker.identity).await
            }
            Ok(None) | Err(_) => worker.identity.is_alive(),
        }
    }

    /// The connection may have been cut, and not the process.
    async fn answers(&self, worker: &WorkerHandle, _distrusted: bool) -> bool {
        worker.identity.is_alive() && worker.client.reach().await.is_ok()
    }

    async fn bring_up(
        &self,
        place: Place<'_, Self>,
        wanted: &Wanted,
    ) -> Result<WorkerHandle, ErrorBody> {
        self.load(place, wanted).await
    }

    async fn others(&self, known: Vec<String>) -> Vec<(String, WorkerHandle)> {
        let config = self.0.config.current();
        match self.0.host.running(&config, &self.0.hive, known).await {
            Ok(found) => found.into_iter().map(|found| (found.model.clone(), found)).collect(),
            Err(error) => {
                tracing::error!(error = causes(&error), "no worker can be adopted");
                Vec::new()
            }
        }
    }

    fn memory_kills(&self) -> u64 {
        self.0.host.memory_kills()
    }

    fn available_memory(&self) -> Option<u64> {
        self.0.host.available_memory()
    }

    fn hurry(&self) -> impl Send {
        chain_daemon::hurry(&self.0.config.current(), LLAMACPP_WORKER)
    }

    async fn retire(&self, running: &Running<WorkerHandle>, why: &'static str) {
        self.stop(&running.handle, why).await;
    }

    fn is_unused(&self, running: &Running<WorkerHandle>) -> bool {
        running.idle() > self.stay_of(&running.handle).0
    }

    fn most_waiting(&self) -> usize {
        self.0.config.current().worker.queue as usize
    }

    /// As many again as a worker answers at once, so that it never waits for the next one. Other engines
    /// have a line of their own.
    fn at_once(&self, name: &str, occupant: Option<&WorkerHandle>) -> usize {
        let kind = occupant.map(|worker| WorkerType::of_role(&worker.identity.role));
        if kind.is_some_and(|kind| kind != WorkerType::LlamaCpp) {
            return usize::MAX;
        }
        let config = self.0.config.current();
        let of_model = config.model_called(name).and_then(|(_, entry)| entry.parallel);
        2 * of_model.unwrap_or(config.worker.parallel).max(1) as usize
    }

    fn patience(&self) -> Duration {
        self.0.config.current().worker.queue_timeout
    }

    async fn renew(&self, worker: &WorkerHandle) -> Result<Renewed, Lapse> {
        let refused = |error| Lapse::Refused(causes(&error));
        match worker.client.renew_lease().await.map_err(refused)? {
            (_, Status::Stuck) => Err(Lapse::Stuck),
            (requests, Status::Ok | Status::Draining) => Ok(Renewed { requests, by: None }),
        }
    }

    async fn end(&self, _: &WorkerHandle, process: &Identity) {
        self.0.host.end(process).await;
    }

    fn request(&self, worker: &WorkerHandle, method: Method, path: &str) -> RequestBuilder {
        worker.client.stream(method, path)
    }

    fn completion(&self, worker: &WorkerHandle, completion: &Completion) -> RequestBuilder {
        if let Some(stay) = completion.keep_alive {
            self.keep(worker, stay);
        }
        match completion.events {
            true => worker.client.stream(completion.method.clone(), &completion.path),
            false => worker.client.request(completion.method.clone(), &completion.path),
        }
    }

    async fn describe(&self, running: &Running<WorkerHandle>) -> Worker {
        self.told(running).await
    }

    /// Those whose answers nobody else can go on with do.
    fn keeps_answers(&self, places: &Places<WorkerHandle>, id: &str) -> bool {
        let known = places.find(|worker| worker.id == id);
        known.is_none_or(|running| {
            WorkerType::of_role(&running.handle.identity.role) != WorkerType::LlamaCpp
        })
    }

    /// A worker's streams stay with it when another one has taken its place.
    async fn reach(
        &self,
        places: &Places<WorkerHandle>,
        id: &str,
        method: &Method,
        path: &str,
    ) -> Option<Reached<WorkerHandle>> {
        let reached = async {
            let job = path.strip_suffix("/stream").unwrap_or(path);
            let config = self.0.config.current();
            let (client, generation) = WorkerClient::with_job(&config, id, job).await?;
            let is_it = |worker: &WorkerHandle| {
                worker.id == id && generation.is_none_or(|it| worker.identity.generation == it)
            };
            let busy = places.find(is_it).map(Busy::new);
            Ok((client.stream(method.clone(), path), Self::hold(busy)))
        };
        Some(reached.await.map_err(|error: worker_lifecycle::Error| failure::worker(&error)))
    }
}
