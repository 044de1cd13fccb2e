use std::{
    path::Path,
    time::{Duration, Instant},
};

use rbee_api::{EngineLost, Health, Lease, Part, paths};
use rbee_config::RbeeConfig;
use reqwest::{Method, RequestBuilder};
use serde::{Deserialize, de::DeserializeOwned};

use crate::{Error, config::socket};

/// How long a worker may take for an answer that needs no inference.
const CONTROL_DEADLINE: Duration = Duration::from_secs(5);

/// A worker whose socket was removed makes it anew within half a second; a busy machine takes longer.
const FOUND_AGAIN: Duration = Duration::from_secs(4);
/// Between two looks whether it has.
const LOOK: Duration = Duration::from_millis(50);

/// How long a stream may be silent.
const SILENCE: Duration = Duration::from_secs(60);

/// The model that a worker serves, or has a part in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    pub model: String,
    pub part: Option<Part>,
}

/// HTTP to one worker, over its Unix socket.
#[derive(Debug, Clone)]
pub struct WorkerClient {
    http: reqwest::Client,
    streams: reqwest::Client,
    socket: String,
}

impl WorkerClient {
    /// Connects with the first request, not before.
    ///
    /// # Errors
    ///
    /// When the platform's HTTP client cannot be set up.
    pub fn new(socket: &Path) -> Result<Self, Error> {
        let socket_name = socket.display().to_string();
        let failed = |source| Error::Client { socket: socket_name.clone(), source };
        // A connection from before would lead to a worker whose socket is gone, and hide that.
        let client = || reqwest::Client::builder().unix_socket(socket).pool_max_idle_per_host(0);
        let http = client().build().map_err(failed)?;
        let streams = client().read_timeout(SILENCE).build().map_err(failed)?;
        Ok(Self { http, streams, socket: socket_name })
    }

    /// To the worker whose instance has this id, whether or not it lives.
    ///
    /// # Errors
    ///
    /// When the platform's HTTP client cannot be set up.
    pub fn of(rbee: &RbeeConfig, id: &str) -> Result<Self, Error> {
        Self::new(&socket(rbee, id))
    }

    /// A request for `path`, such as `/v1/chat/completions`, whose answer may take any time.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, url(path))
    }

    /// The same for an answer that is a stream: one that is silent for longer than a minute is
    /// broken, since a worker that lives sends comments.
    pub fn stream(&self, method: Method, path: &str) -> RequestBuilder {
        self.streams.request(method, url(path))
    }

    pub async fn health(&self) -> Result<Health, Error> {
        self.get(paths::HEALTH).await
    }

    /// Waits until the worker, which lives, can be reached: its socket may have been removed just now.
    ///
    /// # Errors
    ///
    /// When it cannot be reached by then, or does not answer.
    pub async fn reach(&self) -> Result<(), Error> {
        let until = Instant::now() + FOUND_AGAIN;
        loop {
            match self.health().await {
                Ok(_) => return Ok(()),
                Err(Error::Unreachable { source, .. })
                    if source.is_connect() && Instant::now() < until =>
                {
                    tokio::time::sleep(LOOK).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// What the worker serves.
    pub async fn model(&self) -> Result<Served, Error> {
        #[derive(Deserialize)]
        struct Models {
            data: Vec<Named>,
        }
        #[derive(Deserialize)]
        struct Named {
            id: String,
            meta: Option<Meta>,
        }
        #[derive(Deserialize)]
        struct Meta {
            part: Option<Part>,
        }
        let models: Models = self.get(paths::MODELS).await?;
        let first = models.data.into_iter().next();
        let served = first
            .map(|Named { id, meta }| Served { model: id, part: meta.and_then(|meta| meta.part) });
        served.ok_or_else(|| Error::Refused {
            socket: self.socket.clone(),
            status: 200,
            body: "it lists no model".to_owned(),
        })
    }

    /// Tells the worker that the program which computes its tokens is fit no more, which it cannot see:
    /// it ends its requests with that reason, that program, and itself.
    ///
    /// # Errors
    ///
    /// When the worker does not answer: it may have ended.
    pub async fn give_engine_up(&self, why: String) -> Result<(), Error> {
        let request = self.http.delete(url(paths::ENGINE)).json(&EngineLost { why });
        self.sent(request).await.map(drop)
    }

    /// Tells the worker that a hive still wants it, and learns how many requests it is answering,
    /// whoever sent them.
    ///
    /// # Errors
    ///
    /// When the worker does not answer: it may have ended.
    pub async fn renew_lease(&self) -> Result<u32, Error> {
        let lease: Lease = self.read(self.http.post(url(paths::LEASE))).await?;
        Ok(lease.active_requests)
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        self.read(self.http.get(url(path))).await
    }

    async fn read<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, Error> {
        let response = self.sent(request).await?;
        response.json().await.map_err(|source| self.unreachable(source))
    }

    async fn sent(&self, request: RequestBuilder) -> Result<reqwest::Response, Error> {
        let sent = request.timeout(CONTROL_DEADLINE).send().await;
        self.succeeded(sent.map_err(|source| self.unreachable(source))?).await
    }

    async fn succeeded(&self, response: reqwest::Response) -> Result<reqwest::Response, Error> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = response.text().await.unwrap_or_default();
        Err(Error::Refused { socket: self.socket.clone(), status: status.as_u16(), body })
    }

    fn unreachable(&self, source: reqwest::Error) -> Error {
        Error::Unreachable { socket: self.socket.clone(), source }
    }
}

fn url(path: &str) -> String {
    format!("http://localhost{path}")
}
