//! For tests of a daemon's routes: asks a router what a client would, without a socket or a process.
#![expect(clippy::unwrap_used, reason = "only tests use it, and a test fails by panicking")]

mod answer; // what came back

use std::time::Duration;

use axum::{Extension, Router, body::Body, http::Request};
use http_body_util::BodyExt as _;
use http_guard::Peer;
use tower::ServiceExt as _;

pub use crate::answer::Answer;

/// From a request to the end of its answer.
const DEADLINE: Duration = Duration::from_secs(20);

/// A client of one router.
#[derive(Debug, Clone)]
pub struct RouterClient {
    router: Router,
    host: String,
    pub token: String,
}

impl RouterClient {
    /// Of a router that takes itself to listen on the loopback `port`, and whose server's token is that
    /// one.
    pub fn new(router: Router, port: u16, token: &str) -> Self {
        let host = format!("127.0.0.1:{port}");
        Self { router, host, token: token.trim().to_owned() }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], "").await
    }

    pub async fn post(&self, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        self.ask("POST", path, headers, body).await
    }

    /// With the token.
    pub async fn manage(&self, method: &str, path: &str, body: &str) -> Answer {
        let bearer = format!("Bearer {}", self.token);
        self.ask(method, path, &[("authorization", &bearer)], body).await
    }

    /// Begins a job and reads its stream to the end.
    pub async fn job(&self, request: &str) -> Answer {
        let created = self.manage("POST", rbee_api::paths::JOBS, request).await;
        assert_eq!(created.status, 201, "{created:?}");
        self.get(created.json()["sse_url"].as_str().unwrap()).await
    }

    pub async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        self.ask_as(Peer::SameUser, method, path, headers, body).await
    }

    /// As [`Self::ask`], on a connection of `peer`.
    pub async fn ask_as(
        &self,
        peer: Peer,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let answered = async { self.begin_as(peer, method, path, headers, body).await.end().await };
        tokio::time::timeout(DEADLINE, answered).await.expect("an answer in time")
    }

    /// The beginning of an answer; dropping it is the client's going away.
    pub async fn begin(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Begun {
        let begun = self.begin_as(Peer::SameUser, method, path, headers, body);
        tokio::time::timeout(DEADLINE, begun).await.expect("an answer in time")
    }

    async fn begin_as(
        &self,
        peer: Peer,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Begun {
        let mut request = Request::builder().method(method).uri(path).header("host", &self.host);
        if !body.is_empty() {
            request = request.header("content-type", "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let response = self.router.clone().layer(Extension(peer)).oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let answer = Answer {
            status: parts.status,
            headers: parts.headers,
            body: String::new(),
            cut: false,
        };
        Begun { answer, body }
    }
}

/// An answer whose rest has not come.
#[derive(Debug)]
pub struct Begun {
    /// As far as it has come.
    pub answer: Answer,
    body: Body,
}

impl Begun {
    /// Waits until `text` has come.
    pub async fn says(&mut self, text: &str) {
        let said = async { while !self.answer.body.contains(text) && self.more().await {} };
        tokio::time::timeout(DEADLINE, said).await.expect("more of the answer in time");
        assert!(self.answer.body.contains(text), "{:?}", self.answer);
    }

    /// All of it.
    pub async fn end(mut self) -> Answer {
        let ended = async { while self.more().await {} };
        tokio::time::timeout(DEADLINE, ended).await.expect("the end of the answer in time");
        self.answer
    }

    async fn more(&mut self) -> bool {
        match self.body.frame().await {
            Some(Ok(frame)) => {
                let data = frame.into_data().unwrap_or_default();
                self.answer.body += str::from_utf8(&data).unwrap();
                true
            }
            Some(Err(_)) => {
                self.answer.cut = true;
                true
            }
            None => false,
        }
    }
}
