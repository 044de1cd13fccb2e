use std::time::Duration;

use chain_level::Places;
use rbee_api::{
    Capabilities, ErrorBody, ErrorCode, Health, Hive, HiveList, HiveState, Leaving, ModelList,
    WorkerList, paths,
};
use reqwest::Method;
use serde::de::DeserializeOwned;

use super::{HiveHandle, Hives};
use crate::failure;

/// How long a hive may take to tell about itself.
const LIST_DEADLINE: Duration = Duration::from_secs(5);

impl Hives {
    /// Every configured hive with what it says of itself; starts nothing.
    pub(crate) async fn list(&self, places: &Places<HiveHandle>) -> HiveList {
        let mut hives = Vec::new();
        for alias in self.aliases() {
            hives.extend(self.hive(places, &alias).await);
        }
        HiveList { hives }
    }

    /// The aliases of the hives that run.
    pub(crate) async fn running(&self, places: &Places<HiveHandle>) -> Vec<String> {
        let mut running = Vec::new();
        for alias in self.aliases() {
            if matches!(self.find(&places.slot(&alias)).await, Ok(Some(_))) {
                running.push(alias);
            }
        }
        running
    }

    /// The workers of every hive that runs.
    pub(crate) async fn workers(&self, places: &Places<HiveHandle>) -> WorkerList {
        let hives = self.list(places).await.hives;
        let mut all = WorkerList::default();
        for WorkerList { workers, silent, leaving, waiting } in
            hives.into_iter().map(|hive| hive.workers)
        {
            all.workers.extend(workers);
            all.silent.extend(silent);
            all.leaving.extend(leaving);
            for (model, count) in waiting {
                *all.waiting.entry(model).or_default() += count;
            }
        }
        all
    }

    pub(super) async fn workers_of(&self, hive: &HiveHandle) -> Result<WorkerList, ErrorBody> {
        self.get(hive, paths::WORKERS).await
    }

    pub(crate) async fn get<T: DeserializeOwned>(
        &self,
        hive: &HiveHandle,
        path: &str,
    ) -> Result<T, ErrorBody> {
        self.read(hive, self.managing(hive, Method::GET, path)).await
    }

    /// Sends a request that the hive answers at once, and reads the answer.
    pub(crate) async fn read<T: DeserializeOwned>(
        &self,
        hive: &HiveHandle,
        request: reqwest::RequestBuilder,
    ) -> Result<T, ErrorBody> {
        let unreachable = |error: reqwest::Error| failure::unreachable(&hive.alias, &error);
        let response = request.timeout(LIST_DEADLINE).send().await.map_err(unreachable)?;
        if response.status().is_success() {
            return response.json().await.map_err(unreachable);
        }
        let status = response.status();
        Err(match response.json::<ErrorBody>().await {
            Ok(body) => body,
            Err(error) => {
                let message = format!("the hive `{}` answered {status}: {error}", hive.alias);
                ErrorBody::new(ErrorCode::BadGateway, message)
            }
        })
    }

    /// The hive with what it says of itself; starts nothing.
    pub(crate) async fn hive(
        &self,
        places: &Places<HiveHandle>,
        alias: &str,
    ) -> Result<Hive, ErrorBody> {
        let alias = self.alias(Some(alias))?;
        let (hive, slot) = (self.stopped(&alias), places.slot(&alias));
        let is_starting = slot.bringing_up.try_lock().is_err();
        let found = match self.is_elsewhere(&alias) {
            true => self.found_soon(&slot).await,
            false => self.find(&slot).await,
        };
        Ok(match found {
            Ok(Some(handle)) => self.asked(hive, &handle).await,
            _ if is_starting => Hive { state: HiveState::Starting, ..hive },
            Ok(None) => hive,
            Err(body) => {
                let detail = Some(body.error.message);
                Hive { state: HiveState::Failed, detail, ..hive }
            }
        })
    }

    /// What the configuration says of the hive.
    pub(super) fn stopped(&self, alias: &str) -> Hive {
        let config = self.config();
        let entry = config.hives.iter().find(|entry| entry.alias == alias);
        Hive {
            alias: alias.to_owned(),
            host: entry.map(|entry| entry.host.clone()).unwrap_or_default(),
            port: entry.map(|entry| entry.port).unwrap_or_default(),
            base_url: None,
            state: HiveState::Stopped,
            detail: None,
            health: None,
            capabilities: None,
            workers: WorkerList::default(),
            models: ModelList::default(),
            leaving: Vec::new(),
        }
    }

    /// The same with what it says of itself.
    pub(super) async fn asked(&self, mut hive: Hive, handle: &HiveHandle) -> Hive {
        hive.base_url = Some(handle.way.shown());
        match self.get::<Health>(handle, paths::HEALTH).await {
            Ok(health) => {
                hive.state = HiveState::Ready;
                hive.health = Some(health);
                let (capabilities, workers, models, leaving) = tokio::join!(
                    self.get::<Capabilities>(handle, paths::CAPABILITIES),
                    self.workers_of(handle),
                    self.get::<ModelList>(handle, paths::MODEL_STORE),
                    self.get::<Vec<Leaving>>(handle, paths::LEAVING),
                );
                hive.capabilities = capabilities.ok();
                hive.workers = workers.unwrap_or_default();
                hive.models = models.unwrap_or_default();
                hive.leaving = leaving.unwrap_or_default();
            }
            Err(body) => {
                hive.state = HiveState::Failed;
                hive.detail = Some(body.error.message);
            }
        }
        hive
    }
}
