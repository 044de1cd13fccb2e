use std::{net::SocketAddr, time::Duration};

use axum::{
    Router,
    body::Body,
    http::StatusCode,
    response::IntoResponse,
    routing::{get, post},
};
use http_guard::{ApiError, ApiJson, ApiPath, ApiQuery, Guard, Token, fallbacks, require_token};
use rbee_api::ErrorCode;
use serde::Deserialize;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

const DEADLINE: Duration = Duration::from_secs(10);

#[derive(Debug, Deserialize)]
struct Order {
    model: String,
    #[serde(default)]
    messages: Vec<Message>,
}

#[derive(Debug, Deserialize)]
struct Message {
    role: String,
}

#[derive(Debug, Deserialize)]
struct Page {
    limit: u32,
}

/// The server under test; it stops with the test's runtime.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// In lower case, up to the empty line.
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::start_with(|guard| guard, None).await
    }

    pub(crate) async fn start_with(
        configure: impl FnOnce(Guard) -> Guard,
        management: Option<Token>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let guard = configure(Guard::loopback(address.port()));
        let router = routes(management).layer(guard.layer());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address }
    }

    /// Sends `request` with `{host}` replaced by the server's own name.
    pub(crate) async fn send(&self, request: &str) -> Answer {
        let stream = TcpStream::connect(self.address).await.unwrap();
        exchange(stream, &request.replace("{host}", &self.address.to_string())).await
    }

    /// `GET` of `path` with further header lines.
    pub(crate) async fn get(&self, path: &str, headers: &[&str]) -> Answer {
        let mut lines = vec![format!("GET {path} HTTP/1.1"), "host: {host}".to_owned()];
        lines.extend(headers.iter().map(|&line| line.to_owned()));
        self.send(&(lines.join("\r\n") + "\r\nconnection: close\r\n\r\n")).await
    }

    /// `POST` of a whole body with further header lines.
    pub(crate) async fn post(&self, path: &str, headers: &[&str], body: &str) -> Answer {
        let length = format!("content-length: {}", body.len());
        let mut lines = vec![format!("POST {path} HTTP/1.1"), "host: {host}".to_owned(), length];
        lines.extend(headers.iter().map(|&line| line.to_owned()));
        self.send(&(lines.join("\r\n") + "\r\nconnection: close\r\n\r\n" + body)).await
    }
}

impl Answer {
    /// The code in the envelope, after checking the rest of it.
    #[track_caller]
    pub(crate) fn refusal(&self) -> (u16, String) {
        let body: rbee_api::ErrorBody =
            serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"));
        assert_eq!(body.error.status, Some(self.status), "{self:?}");
        assert!(!body.error.message.is_empty(), "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/json"), "{self:?}");
        (self.status, body.error.code.to_string())
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let prefix = format!("{name}: ");
        self.head.lines().find_map(|line| line.strip_prefix(&prefix))
    }

    pub(crate) fn param(&self) -> Option<String> {
        serde_json::from_str::<rbee_api::ErrorBody>(&self.body).unwrap().error.param
    }
}

pub(crate) fn routes(management: Option<Token>) -> Router {
    let mut router = Router::new()
        .route("/health", get(async || "ok"))
        .route("/cached", get(async || ([("cache-control", "max-age=60")], "ok")))
        .route("/order", post(order))
        .route("/raw", post(async |body: Body| raw(body).await))
        .route("/number/{n}", get(async |ApiPath(n): ApiPath<u32>| n.to_string()))
        .route("/page", get(async |ApiQuery(page): ApiQuery<Page>| page.limit.to_string()))
        .route("/broken", get(broken))
        .route("/busy", get(busy));
    if let Some(token) = management {
        let managed = Router::new().route("/shutdown", post(async || "stopping"));
        router = router.merge(managed.route_layer(require_token(token)));
    }
    fallbacks(router)
}

async fn order(ApiJson(order): ApiJson<Order>) -> String {
    let roles: Vec<String> = order.messages.into_iter().map(|message| message.role).collect();
    format!("{} for {}", order.model, roles.join(","))
}

/// Reads its body without an extractor, as a proxy does.
async fn raw(body: Body) -> impl IntoResponse {
    match axum::body::to_bytes(body, usize::MAX).await {
        Ok(bytes) => (StatusCode::OK, bytes.len().to_string()),
        Err(_) => (StatusCode::IM_A_TEAPOT, "cut".to_owned()),
    }
}

async fn broken() -> ApiError {
    let cause = std::io::Error::other("password 1234");
    ApiError::internal(cause)
}

async fn busy() -> ApiError {
    ApiError::new(ErrorCode::HiveUnavailable, "no hive answers")
        .retry_after(Duration::from_millis(1500))
}

pub(crate) async fn exchange(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    request: &str,
) -> Answer {
    let talk = async {
        // A server that refuses a body closes while it is still being sent.
        drop(stream.write_all(request.as_bytes()).await);
        let mut answer = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return answer,
                Ok(length) => answer.extend_from_slice(&buffer[..length]),
            }
        }
    };
    let answer = tokio::time::timeout(DEADLINE, talk).await.expect("no answer in time");
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("cut: {answer:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_lowercase(), body: body.to_owned() }
}
