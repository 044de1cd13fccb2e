use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rbee_api::{
    EngineLost, Health, Lease, Part, Status, jobs_socket, jobs_sockets, lease_socket, paths,
};
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
    /// To the socket that is for its lease alone.
    lease: reqwest::Client,
    /// To the socket that this very process has until its end.
    own: Option<reqwest::Client>,
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
        let to = |socket: PathBuf| {
            reqwest::Client::builder().unix_socket(socket).pool_max_idle_per_host(0)
        };
        let http = to(socket.to_owned()).build().map_err(failed)?;
        let streams = to(socket.to_owned()).read_timeout(SILENCE).build().map_err(failed)?;
        let lease = to(lease_socket(socket)).build().map_err(failed)?;
        Ok(Self { http, streams, lease, own: None, socket: socket_name })
    }

    /// The same to the process of that generation, which says how it is when it accepts nothing any more.
    ///
    /// # Errors
    ///
    /// When the platform's HTTP client cannot be set up.
    pub(crate) fn of_generation(socket: &Path, generation: u64) -> Result<Self, Error> {
        let own = Self::new(&jobs_socket(socket, generation))?.http;
        Ok(Self { own: Some(own), ..Self::new(socket)? })
    }

    /// To the worker of this id that has the job, with its generation where another one may have taken its
    /// place; else to the one that there is.
    ///
    /// # Errors
    ///
    /// When none is reached.
    pub async fn with_job(
        rbee: &RbeeConfig,
        id: &str,
        job_path: &str,
    ) -> Result<(Self, Option<u64>), Error> {
        let socket = socket(rbee, id);
        for (generation, own) in jobs_sockets(&socket) {
            let client = Self::new(&own)?;
            let asked = client.http.get(url(job_path)).timeout(CONTROL_DEADLINE).send().await;
            if asked.is_ok_and(|answer| answer.status().is_success()) {
                return Ok((client, Some(generation)));
            }
        }
        let client = Self::new(&socket)?;
        // One that hangs would keep the request for as long as a stream may be silent.
        client.health().await?;
        Ok((client, None))
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

    /// The same of one that may accept nothing any more, as it finishes what it has.
    pub async fn own_health(&self) -> Result<Health, Error> {
        self.or_of_itself(Method::GET, paths::HEALTH, self.health().await).await
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
    /// whoever sent them, and how it is by its own word.
    ///
    /// # Errors
    ///
    /// When the worker does not answer: it may have ended.
    pub async fn renew_lease(&self) -> Result<(u32, Status), Error> {
        let lease: Lease = self.beside(Method::POST, paths::LEASE).await?;
        let health: Health = self.beside(Method::GET, paths::HEALTH).await?;
        Ok((lease.active_requests, health.status))
    }

    /// What a worker answers however much else it has to answer; one that has no socket for that answers
    /// on the one for all.
    async fn beside<T: DeserializeOwned>(&self, method: Method, path: &str) -> Result<T, Error> {
        match self.read(self.lease.request(method.clone(), url(path))).await {
            Err(Error::Unreachable { source, .. }) if source.is_connect() => {
                let answer = self.read(self.http.request(method.clone(), url(path))).await;
                self.or_of_itself(method, path, answer).await
            }
            other => other,
        }
    }

    /// The answer, or where nobody is reached that of the very process, while it finishes what it has.
    async fn or_of_itself<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        answer: Result<T, Error>,
    ) -> Result<T, Error> {
        match (answer, &self.own) {
            (Err(Error::Unreachable { source, .. }), Some(own)) if source.is_connect() => {
                self.read(own.request(method, url(path))).await
            }
            (answer, _) => answer,
        }
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

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        os::unix::net::UnixListener,
        thread,
    };

    use super::*;

    /// Answers a renewal and what follows it on the socket of that name.
    fn answers_on(socket: &Path) -> thread::JoinHandle<()> {
        const ANSWERS: [&str; 2] = [
            r#"{"lease_s":60.0,"active_requests":7}"#,
            r#"{"status":"ok","role":"w","instance_id":"i","pid":1,"start_time":1,"exe_hash":"","source_root":null,"version":"0","uptime_s":1}"#,
        ];
        let listener = UnixListener::bind(socket).unwrap();
        thread::spawn(move || {
            for body in ANSWERS {
                let (mut stream, _) = listener.accept().unwrap();
                let mut asked = Vec::new();
                while !asked.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).unwrap();
                    asked.extend(byte);
                }
                let length = body.len();
                write!(
                    stream,
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
                )
                .unwrap();
            }
        })
    }

    #[tokio::test]
    async fn a_lease_is_renewed_past_a_socket_that_does_not_get_to_answer() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("http.sock");
        // It takes connections, and no more.
        let _saturated = UnixListener::bind(&socket).unwrap();
        let answering = answers_on(&lease_socket(&socket));
        let client = WorkerClient::new(&socket).unwrap();
        assert_eq!(client.renew_lease().await.unwrap(), (7, Status::Ok));
        answering.join().unwrap();
    }

    #[tokio::test]
    async fn a_worker_without_a_socket_for_its_lease_renews_it_on_the_one_for_all() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("http.sock");
        let answering = answers_on(&socket);
        let client = WorkerClient::new(&socket).unwrap();
        assert_eq!(client.renew_lease().await.unwrap(), (7, Status::Ok));
        answering.join().unwrap();
    }
}
