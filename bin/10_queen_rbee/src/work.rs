//! What a job does, from its request to its end.

use axum::http::HeaderMap;
use bytes::Bytes;
use chain_level::{Again, Attempt, Head, Held, Level as _, Start, Wanted};
use http_guard::ApiError;
use job_server::{JobId, JobWriter};
use rbee_api::{
    ErrorBody, HiveInstalled, JobRequest, LoadRequest, ModelReach, ModelUnloaded, PullRequest,
    UnloadRequest, paths,
};
use reqwest::Method;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::{
    Queen,
    hives::{HiveHandle, Hives},
};

impl Queen {
    /// Begins the work that `request` asks for, for a client who watches.
    ///
    /// # Errors
    ///
    /// As of [`Self::begin`].
    pub(crate) fn begin_watched(
        &self,
        headers: &HeaderMap,
        request: JobRequest,
    ) -> Result<JobId, ApiError> {
        self.begin(request.operation().into(), headers, request)
    }

    /// Begins the work that `request` asks for; it goes on whether or not somebody watches.
    ///
    /// # Errors
    ///
    /// A completion that cannot be read; and when there is no room for another job.
    pub(crate) fn begin(
        &self,
        start: Start<'_>,
        headers: &HeaderMap,
        request: JobRequest,
    ) -> Result<JobId, ApiError> {
        let queen = self.clone();
        match request {
            JobRequest::ChatCompletion { request } => {
                self.complete_raw(headers, start, paths::CHAT_COMPLETIONS, &request)
            }
            JobRequest::Completion { request } => {
                self.complete_raw(headers, start, paths::COMPLETIONS, &request)
            }
            JobRequest::ModelPull { hive, model } => {
                let body = PullRequest { model: model.clone() };
                Ok(self.of_hive(start, hive, model, paths::MODEL_PULL, body)?)
            }
            JobRequest::ModelLoad { hive, model, keep_alive } => {
                let body = LoadRequest { model: model.clone(), keep_alive, part: None };
                Ok(self.of_hive(start, hive, model, paths::MODEL_LOAD, body)?)
            }
            JobRequest::HiveStart { alias } => {
                Ok(self.relays.begin_with(start, async move |job| {
                    let started = queen.start_hive(alias.as_deref()).await;
                    job.finish(started);
                })?)
            }
            JobRequest::HiveStop { alias, now } => {
                Ok(self.relays.begin_with(start, async move |job| {
                    let stopped = queen.stop_hive(alias.as_deref(), now).await;
                    job.finish(stopped);
                })?)
            }
            JobRequest::HiveInstall { alias } => {
                Ok(self.relays.begin_with(start, async move |job| {
                    let installed = queen.install_hive(alias.as_deref()).await;
                    job.finish(installed);
                })?)
            }
            JobRequest::HiveUpdate { alias } => {
                Ok(self.relays.begin_with(start, async move |job| {
                    queen.update_one(job, alias.as_deref()).await;
                })?)
            }
            JobRequest::HiveUninstall { alias, models } => {
                Ok(self.relays.begin_with(start, async move |job| {
                    let removed = queen.uninstall_hive(alias.as_deref(), models).await;
                    job.finish(removed);
                })?)
            }
            JobRequest::ChainUpdate {} => {
                Ok(self.relays.begin_with(start, async move |job| queen.update_chain(job).await)?)
            }
        }
    }

    fn complete_raw(
        &self,
        headers: &HeaderMap,
        start: Start<'_>,
        path: &'static str,
        body: &RawValue,
    ) -> Result<JobId, ApiError> {
        let body = Bytes::copy_from_slice(body.get().as_bytes());
        // Only who may manage begins a job by name.
        let head = Head::of_job(headers, &body)?;
        Ok(self.relays.complete(start, path, head, ModelReach::Any, body)?)
    }

    /// Has a hive do what it tells as a stream.
    fn of_hive(
        &self,
        start: Start<'_>,
        alias: Option<String>,
        model: String,
        path: &'static str,
        body: impl Serialize + Clone + Send + Sync + 'static,
    ) -> Result<JobId, job_server::Error> {
        let queen = self.clone();
        self.relays.begin(start, move |job, again| {
            job.about(&model);
            let (queen, alias, body) = (queen.clone(), alias.clone(), body.clone());
            let model = (path == paths::MODEL_LOAD).then(|| model.clone());
            async move {
                let wanted = Wanted::of(true, again.failed > 0);
                let shared = model.filter(|model| !queen.hives.beside(model).is_empty());
                let (hive, guard) = match shared {
                    Some(model) => {
                        let wanted = Wanted { job: Some(job), ..wanted };
                        let (hive, busy) = queen.pool.acquire_for(&model, wanted, &[]).await?;
                        (hive, Hives::hold(busy))
                    }
                    None => queen.hive(&queen.hives.alias(alias.as_deref())?, wanted).await?,
                };
                let at = hive.alias.clone();
                let request = queen.hives.managing(&hive, Method::POST, path);
                Ok(Attempt { request: request.json(&body), at, guard, elsewhere: false })
            }
        })
    }

    /// Unloads the model in that hive, else in every hive that runs; starts none.
    pub(crate) async fn unload(
        &self,
        alias: Option<&str>,
        model: &str,
    ) -> Result<ModelUnloaded, ErrorBody> {
        if let Some(unloaded) = self.hives.unload_together(self.pool.places(), model).await {
            return unloaded;
        }
        let aliases = match alias {
            Some(_) => vec![self.hives.alias(alias)?],
            None => self.hives.running(self.pool.places()).await,
        };
        let mut unloaded = ModelUnloaded { name: model.to_owned(), was_loaded: false };
        for alias in aliases {
            let (hive, _guard) = self.hive(&alias, Wanted::of(false, false)).await?;
            let request = self.hives.managing(&hive, Method::POST, paths::MODEL_UNLOAD);
            let body = UnloadRequest { model: model.to_owned(), lost: None };
            let ModelUnloaded { name, was_loaded } =
                self.hives.read(&hive, request.json(&body)).await?;
            unloaded = ModelUnloaded { name, was_loaded: unloaded.was_loaded || was_loaded };
        }
        Ok(unloaded)
    }

    /// Brings every hive that runs, and its workers, up to date.
    async fn update_chain(&self, job: JobWriter) {
        let aliases = match self.hives.running(self.pool.places()).await {
            aliases if aliases.is_empty() => {
                return job.finish(Ok(self.hives.list(self.pool.places()).await));
            }
            aliases => aliases,
        };
        for alias in aliases {
            let updated = tokio::select! {
                () = job.cancelled() => return job.cancelled_end(),
                updated = self.update_hive(&job, &alias) => updated,
            };
            if let Err(body) = updated {
                return job.fail_with(body);
            }
        }
        let list = self.hives.list(self.pool.places()).await;
        job.finish(Ok(list));
    }

    async fn update_hive(&self, job: &JobWriter, alias: &str) -> Result<(), ErrorBody> {
        let attempt = async |again: Again| {
            let (hive, guard) = self.hive(alias, Wanted::of(true, again.failed > 0)).await?;
            let request = self.hives.managing(&hive, Method::POST, paths::WORKERS_UPDATE);
            Ok(Attempt { request, at: alias.to_owned(), guard, elsewhere: false })
        };
        self.relays.attempts(job, attempt).await
    }

    async fn start_hive(&self, alias: Option<&str>) -> Result<rbee_api::Hive, ErrorBody> {
        let alias = self.hives.alias(alias)?;
        self.pool.acquire(&alias, Wanted::of(true, true)).await?;
        self.hives.hive(self.pool.places(), &alias).await
    }

    async fn install_hive(&self, alias: Option<&str>) -> Result<HiveInstalled, ErrorBody> {
        self.hives.install(&self.hives.alias(alias)?).await
    }

    async fn uninstall_hive(
        &self,
        alias: Option<&str>,
        models: bool,
    ) -> Result<Vec<String>, ErrorBody> {
        let alias = self.hives.alias(alias)?;
        self.hives.uninstall(self.pool.places(), &alias, models).await
    }

    /// Brings a hive, which is started if need be, and its workers up to date.
    async fn update_one(&self, job: JobWriter, alias: Option<&str>) {
        let updated = async {
            let alias = self.hives.alias(alias)?;
            self.update_hive(&job, &alias).await?;
            self.hives.hive(self.pool.places(), &alias).await
        };
        let updated = tokio::select! {
            () = job.cancelled() => return job.cancelled_end(),
            updated = updated => updated,
        };
        job.finish(updated);
    }

    async fn stop_hive(&self, alias: Option<&str>, now: bool) -> Result<Vec<String>, ErrorBody> {
        let alias = self.hives.alias(alias)?;
        self.hives.stop(self.pool.places(), &alias, now).await
    }

    async fn hive(
        &self,
        alias: &str,
        wanted: Wanted,
    ) -> Result<(HiveHandle, Held<HiveHandle>), ErrorBody> {
        let (hive, busy) = self.pool.acquire(alias, wanted).await?;
        Ok((hive, Hives::hold(busy)))
    }
}
