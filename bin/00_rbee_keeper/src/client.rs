mod error;

use std::{convert::Infallible, time::Duration};

use job_client::{EventStream, NotRead, Source};
use rbee_api::{
    ErrorBody, HEADER_EVENTS, HEADER_FRESH, HEADER_JOB, Health, HiveList, JobCreated, JobList,
    JobRequest, KeyCreated, KeyList, KeyRequest, Model, ModelList, ModelRemoved, ModelUnloaded,
    Origin, UnloadRequest, WorkerList, paths,
};
use reqwest::{
    Method, RequestBuilder, Response,
    header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER},
};
use serde::de::DeserializeOwned;
use serde_json::Value;

pub(crate) use self::error::{ClientError, from_detail};

/// For a connection on this machine; anything slower is a queen that hangs.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);

/// For answers that need no work behind them.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);

/// The queen's HTTP interface, as far as a person at a terminal needs it.
#[derive(Debug, Clone)]
pub(crate) struct QueenClient {
    http: reqwest::Client,
    base_url: String,
    token: Option<String>,
}

/// A job's name for coming back to it, and its stream from the first event where that is open.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) job_id: Option<String>,
    pub(crate) events: Option<EventStream>,
}

impl QueenClient {
    /// `base_url` without a final slash; `token` opens the management endpoints.
    pub(crate) fn new(base_url: &str, token: Option<String>) -> Result<Self, ClientError> {
        // A proxy is for the world outside; the queen is on this machine.
        let http = reqwest::Client::builder()
            .no_proxy()
            .tcp_nodelay(true)
            .connect_timeout(CONNECT_DEADLINE)
            .build()
            .map_err(ClientError::Build)?;
        Ok(Self { http, base_url: base_url.trim_end_matches('/').to_owned(), token })
    }

    pub(crate) fn base_url(&self) -> &str {
        &self.base_url
    }

    pub(crate) async fn health(&self) -> Result<Health, ClientError> {
        self.json(Method::GET, paths::HEALTH).await
    }

    pub(crate) async fn hives(&self) -> Result<HiveList, ClientError> {
        self.json(Method::GET, paths::HIVES).await
    }

    pub(crate) async fn jobs(&self) -> Result<JobList, ClientError> {
        self.json(Method::GET, paths::JOBS).await
    }

    pub(crate) async fn workers(&self) -> Result<WorkerList, ClientError> {
        self.json(Method::GET, paths::WORKERS).await
    }

    /// The models of a hive's store and of the catalogue; of the first hive when `hive` is `None`.
    pub(crate) async fn models(&self, hive: Option<&str>) -> Result<ModelList, ClientError> {
        self.json(Method::GET, &paths::of_hive(paths::MODEL_STORE, hive)).await
    }

    /// One of them, by any of its spellings; `None` where there is none.
    pub(crate) async fn model(
        &self,
        name: &str,
        hive: Option<&str>,
    ) -> Result<Option<Model>, ClientError> {
        let path = paths::of_hive(&paths::stored_model(name), hive);
        match self.json(Method::GET, &path).await {
            Err(ClientError::Refused { status: 404, .. }) => Ok(None),
            answer => answer.map(Some),
        }
    }

    pub(crate) async fn unload_model(
        &self,
        model: &str,
        hive: Option<&str>,
    ) -> Result<ModelUnloaded, ClientError> {
        let path = paths::of_hive(paths::MODEL_UNLOAD, hive);
        let body = UnloadRequest { model: model.to_owned(), lost: None };
        let request = self.request(Method::POST, &path).timeout(ANSWER_DEADLINE).json(&body);
        let response = self.send(request).await?;
        self.decode(&path, response).await
    }

    pub(crate) async fn remove_model(
        &self,
        name: &str,
        hive: Option<&str>,
    ) -> Result<ModelRemoved, ClientError> {
        let path = paths::of_hive(&paths::stored_model(name), hive);
        self.json(Method::DELETE, &path).await
    }

    pub(crate) async fn keys(&self) -> Result<KeyList, ClientError> {
        self.json(Method::GET, paths::KEYS).await
    }

    pub(crate) async fn add_key(&self, key: &KeyRequest) -> Result<KeyCreated, ClientError> {
        let request = self.request(Method::POST, paths::KEYS).timeout(ANSWER_DEADLINE).json(key);
        let response = self.send(request).await?;
        self.decode(paths::KEYS, response).await
    }

    pub(crate) async fn revoke_key(&self, name: &str) -> Result<(), ClientError> {
        let path = paths::key(name);
        self.send(self.request(Method::DELETE, &path).timeout(ANSWER_DEADLINE)).await.map(drop)
    }

    /// Cancels a job; one that has ended or is unknown is as good as cancelled.
    pub(crate) async fn cancel(&self, job_id: &str) -> Result<(), ClientError> {
        let path = paths::job(job_id);
        let request = self.request(Method::DELETE, &path).timeout(ANSWER_DEADLINE);
        match self.send(request).await {
            Ok(_) | Err(ClientError::Refused { status: 404 | 409, .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Starts a job, whose stream [`Self::read_on`] opens.
    pub(crate) async fn start(&self, job: &JobRequest) -> Result<Started, ClientError> {
        let request = self.request(Method::POST, paths::JOBS).timeout(ANSWER_DEADLINE).json(job);
        let response = self.send(request).await?;
        let created: JobCreated = self.decode(paths::JOBS, response).await?;
        Ok(Started { job_id: Some(created.job_id), events: None })
    }

    /// Asks for a completion that waits for fresh binaries, with what happens meanwhile.
    pub(crate) async fn chat(&self, body: &Value) -> Result<Started, ClientError> {
        let request = self
            .request(Method::POST, paths::CHAT_COMPLETIONS)
            .header(ACCEPT, "text/event-stream")
            .header(HEADER_EVENTS, "1")
            .header(HEADER_FRESH, "1")
            .json(body);
        let response = self.send(request).await?;
        let job = response.headers().get(HEADER_JOB).and_then(|value| value.to_str().ok());
        let job_id = job.map(str::to_owned);
        Ok(Started { job_id, events: Some(self.events(response)?) })
    }

    /// The rest of a job's events, or all of them.
    pub(crate) async fn read_on(
        &self,
        job: &Origin,
        failed: usize,
    ) -> Result<EventStream, ClientError> {
        match job_client::read_on(self, job, failed).await {
            Ok((response, ())) => self.events(response),
            Err(NotRead::Broken(source)) => Err(self.unreachable(source)),
            Err(NotRead::Refused(answer) | NotRead::Lost(answer)) => {
                Err(self.refusal(*answer).await)
            }
            Err(NotRead::Unreachable(never)) => match never {},
        }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base_url));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    async fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
    ) -> Result<T, ClientError> {
        let response = self.send(self.request(method, path).timeout(ANSWER_DEADLINE)).await?;
        self.decode(path, response).await
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let response = request.send().await.map_err(|source| self.unreachable(source))?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(self.refusal(response).await)
    }

    /// What an answer means that is no success.
    async fn refusal(&self, response: Response) -> ClientError {
        let status = response.status().as_u16();
        let retry_after = response.headers().get(RETRY_AFTER);
        let retry_after_s = retry_after.and_then(|value| value.to_str().ok()?.parse().ok());
        let text = match response.text().await {
            Ok(text) => text,
            Err(source) => return self.unreachable(source),
        };
        match serde_json::from_str::<ErrorBody>(&text) {
            Ok(body) => {
                ClientError::Refused { status, detail: Box::new(body.error), retry_after_s }
            }
            Err(_) => ClientError::Stranger {
                url: self.base_url.clone(),
                answer: format!("HTTP status {status} without rbee's error body"),
            },
        }
    }

    async fn decode<T: DeserializeOwned>(
        &self,
        path: &str,
        response: Response,
    ) -> Result<T, ClientError> {
        let body = response.bytes().await.map_err(|source| self.unreachable(source))?;
        serde_json::from_slice(&body)
            .map_err(|source| ClientError::Decode { path: path.to_owned(), source })
    }

    fn events(&self, response: Response) -> Result<EventStream, ClientError> {
        if EventStream::is_one(&response) {
            return Ok(EventStream::new(response));
        }
        let kind = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        Err(ClientError::Stranger {
            url: self.base_url.clone(),
            answer: format!("`{}` where a stream of events was due", kind.unwrap_or("nothing")),
        })
    }

    fn unreachable(&self, source: reqwest::Error) -> ClientError {
        ClientError::unreachable(&self.base_url, &source)
    }
}

/// Whichever process serves at the address has the queen's jobs.
impl Source for QueenClient {
    type Held = ();
    type Error = Infallible;

    async fn request(
        &self,
        _at: &str,
        method: Method,
        path: &str,
        _failed: usize,
    ) -> Result<(RequestBuilder, ()), Infallible> {
        Ok((self.request(method, path), ()))
    }
}
