use std::{
    io::{self, Read as _},
    sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender},
    thread,
    time::Duration,
};

use ureq::{
    Agent, Body, Timeout,
    http::{HeaderMap, Response, StatusCode, header},
    tls::{RootCerts, TlsConfig},
    unversioned::transport::DefaultConnector,
};
use url::Url;

use crate::{
    error::{Error, shown_url},
    guard::{Guard, NotPublic},
    report::{CANCEL_TICK, Report},
    sources::Patience,
};

const MAX_REDIRECTS: usize = 10;
const CHUNK_LEN: usize = 128 * 1024;
/// Chunks between the network and the disk.
const QUEUE_LEN: usize = 4;
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

/// What requests have in common.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    guard: Guard,
    patience: Patience,
}

/// The beginning of an answer with a status of success, or 416.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: u16,
    /// Bytes of this body.
    pub(crate) length: Option<u64>,
    /// First byte and size of the whole, of a `Content-Range`.
    pub(crate) range: Option<(Option<u64>, u64)>,
    /// A strong validator.
    pub(crate) etag: Option<String>,
    /// The content's SHA-256, where Hugging Face says it.
    pub(crate) sha256: Option<String>,
}

/// The body of an answer, read by a thread of its own so that a wait for it can be cancelled.
///
/// Dropping it closes the connection, and the thread ends.
#[derive(Debug)]
pub(crate) struct Stream {
    receiver: Receiver<Message>,
    agent: Agent,
    pub(crate) host: String,
    received: u64,
}

#[derive(Debug)]
enum Message {
    Head(Result<Head, Error>),
    Bytes(Vec<u8>),
    End,
    Broken(io::Error),
}

impl Client {
    pub(crate) fn new(endpoint: &Url, patience: Patience) -> Self {
        Self { guard: Guard::new(endpoint), patience }
    }

    /// Requests `url` and follows redirects, each of which the guard checks.
    pub(crate) fn open(
        &self,
        url: &Url,
        headers: Vec<(&'static str, String)>,
        report: &Report<'_>,
    ) -> Result<(Head, Stream), Error> {
        let agent = self.agent();
        let (sender, receiver) = mpsc::sync_channel(QUEUE_LEN);
        let (guard, of_thread, start) = (self.guard.clone(), agent.clone(), url.clone());
        thread::spawn(move || read(&guard, &of_thread, start, &headers, &sender));
        let host = url.host_str().unwrap_or_default().to_owned();
        let stream = Stream { receiver, agent, host, received: 0 };
        match stream.message(report)? {
            Message::Head(head) => Ok((head?, stream)),
            _ => unreachable!("an answer begins with its head"),
        }
    }

    /// The whole body, which has at most `most` bytes.
    pub(crate) fn bytes(
        &self,
        url: &Url,
        most: usize,
        report: &Report<'_>,
    ) -> Result<Vec<u8>, Error> {
        let (_, mut stream) = self.open(url, Vec::new(), report)?;
        let mut body = Vec::new();
        while let Some(bytes) = stream.next(report)? {
            body.extend_from_slice(&bytes);
            if body.len() > most {
                let why = format!("it is longer than {most} bytes");
                return Err(Error::Answer { host: stream.host.clone(), why });
            }
        }
        Ok(body)
    }

    /// One for each request: to shut it down is how a request is interrupted.
    fn agent(&self) -> Agent {
        // `SSL_CERT_FILE` and `SSL_CERT_DIR` count, as they do for pip and curl.
        let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build();
        let config = Agent::config_builder()
            .tls_config(tls)
            .user_agent(concat!("rbee/", env!("CARGO_PKG_VERSION")))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_resolve(Some(self.patience.connect))
            .timeout_connect(Some(self.patience.connect))
            .timeout_recv_response(Some(self.patience.stall))
            .timeout_per_read(Some(self.patience.stall))
            .build();
        Agent::with_parts(config, DefaultConnector::default(), self.guard.clone())
    }
}

impl Stream {
    /// The next bytes; `None` at the end.
    pub(crate) fn next(&mut self, report: &Report<'_>) -> Result<Option<Vec<u8>>, Error> {
        match self.message(report)? {
            Message::Bytes(bytes) => {
                self.received += bytes.len() as u64;
                Ok(Some(bytes))
            }
            Message::End => Ok(None),
            Message::Broken(source) => {
                let (host, received) = (self.host.clone(), self.received);
                Err(Error::Interrupted { host, received, source })
            }
            Message::Head(_) => unreachable!("an answer has one head"),
        }
    }

    fn message(&self, report: &Report<'_>) -> Result<Message, Error> {
        loop {
            report.check()?;
            match self.receiver.recv_timeout(CANCEL_TICK) {
                Ok(message) => return Ok(message),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Ok(Message::Broken(io::ErrorKind::UnexpectedEof.into()));
                }
            }
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.agent.clone().shutdown();
    }
}

/// Sends the head, then the body. Ends early when nobody receives.
fn read(
    guard: &Guard,
    agent: &Agent,
    url: Url,
    headers: &[(&'static str, String)],
    sender: &SyncSender<Message>,
) {
    let (head, body) = match request(guard, agent, url, headers) {
        Ok((head, body)) => (Ok(head), Some(body)),
        Err(error) => (Err(error), None),
    };
    if sender.send(Message::Head(head)).is_err() {
        return;
    }
    let Some(body) = body else { return };
    let mut body = body.into_reader();
    loop {
        let mut bytes = vec![0; CHUNK_LEN];
        let message = match body.read(&mut bytes) {
            Ok(0) => Message::End,
            Ok(length) => {
                bytes.truncate(length);
                Message::Bytes(bytes)
            }
            Err(error) => Message::Broken(error),
        };
        let is_last = !matches!(message, Message::Bytes(_));
        if sender.send(message).is_err() || is_last {
            return;
        }
    }
}

fn request(
    guard: &Guard,
    agent: &Agent,
    mut url: Url,
    headers: &[(&'static str, String)],
) -> Result<(Head, Body), Error> {
    let mut sha256 = None;
    for _ in 0..=MAX_REDIRECTS {
        guard.check(&url)?;
        let mut request = agent.get(url.as_str());
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let response = request.call().map_err(|error| of_request(&url, error))?;
        if guard.is_endpoint(&url) {
            sha256 = sha256.or_else(|| linked_sha256(response.headers()));
        }
        if let Some(target) = redirect(&url, &response)? {
            url = target;
            continue;
        }
        let status = response.status();
        if !status.is_success() && status != StatusCode::RANGE_NOT_SATISFIABLE {
            let retry_after = retry_after(response.headers());
            return Err(Error::Status {
                url: shown_url(&url),
                status: status.as_u16(),
                retry_after,
            });
        }
        let headers = response.headers();
        let head = Head {
            status: status.as_u16(),
            length: response.body().content_length(),
            range: text(headers, header::CONTENT_RANGE.as_str()).and_then(content_range),
            etag: text(headers, header::ETAG.as_str())
                .filter(|etag| etag.starts_with('"'))
                .map(str::to_owned),
            sha256,
        };
        return Ok((head, response.into_body()));
    }
    Err(Error::Answer { host: host(&url), why: "it redirects without end".into() })
}

fn redirect(url: &Url, response: &Response<Body>) -> Result<Option<Url>, Error> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let target = text(response.headers(), header::LOCATION.as_str());
    let target = target.and_then(|target| url.join(target).ok());
    let why = || Error::Answer { host: host(url), why: "it redirects to nowhere".into() };
    target.map(Some).ok_or_else(why)
}

fn of_request(url: &Url, error: ureq::Error) -> Error {
    let host = host(url);
    match error {
        ureq::Error::Other(inner) if inner.is::<NotPublic>() => {
            Error::Forbidden { url: shown_url(url), why: NotPublic.to_string() }
        }
        ureq::Error::Tls(_) | ureq::Error::Rustls(_) | ureq::Error::TlsRequired => {
            Error::Tls { host, source: Box::new(error) }
        }
        // rustls hands its refusal of a certificate through the handshake's I/O.
        ureq::Error::Io(inner) if inner.kind() == io::ErrorKind::InvalidData => {
            Error::Tls { host, source: Box::new(inner) }
        }
        ureq::Error::Timeout(Timeout::Resolve | Timeout::Connect)
        | ureq::Error::HostNotFound
        | ureq::Error::ConnectionFailed => Error::Unreachable { host, source: Box::new(error) },
        ureq::Error::Io(source) if is_connected(source.kind()) => {
            Error::Interrupted { host, received: 0, source }
        }
        ureq::Error::Io(inner) => Error::Unreachable { host, source: Box::new(inner) },
        ureq::Error::Timeout(_) => {
            Error::Interrupted { host, received: 0, source: io::ErrorKind::TimedOut.into() }
        }
        other => Error::Answer { host, why: other.to_string() },
    }
}

/// Whether an established connection failed; what fails before has many kinds, the resolver's
/// among them, which has no name.
fn is_connected(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::NotConnected
            | io::ErrorKind::UnexpectedEof
    )
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn linked_sha256(headers: &HeaderMap) -> Option<String> {
    let tag = text(headers, "x-linked-etag")?.trim_matches('"');
    let is_hash = tag.len() == 64 && tag.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hash.then(|| tag.to_ascii_lowercase())
}

/// `bytes 5-9/10` and `bytes */10`.
fn content_range(value: &str) -> Option<(Option<u64>, u64)> {
    let (range, total) = value.strip_prefix("bytes ")?.split_once('/')?;
    let start = range.split_once('-').map(|(start, _)| start.parse()).transpose().ok()?;
    Some((start, total.parse().ok()?))
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = text(headers, header::RETRY_AFTER.as_str())?.parse().ok()?;
    Some(Duration::from_secs(seconds).min(MAX_RETRY_AFTER))
}

fn host(url: &Url) -> String {
    url.host_str().unwrap_or_default().to_owned()
}
