//! A queen between a client and hives that are scripts in this process.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use axum::{
    Extension, Router,
    body::{Body, Bytes},
    http::{HeaderMap, Method, Request, StatusCode, Uri, header},
    response::{IntoResponse as _, Response},
};
use daemon_lifecycle::{Daemon, Identity, Outcome};
use futures::future::BoxFuture;
use hive_lifecycle::{Error, HiveStartRequest, HiveStartResponse};
use http_body_util::BodyExt as _;
use http_guard::Peer;
use job_server::{JobServer, Limits};
use queen_rbee::{Hosts, Queen, router};
use rbee_api::ErrorBody;
use rbee_config::{Environment, LiveConfig, Overrides, RbeeConfig};
use serde_json::Value;
use tokio::{net::TcpListener, sync::watch};
use tower::ServiceExt as _;

pub(crate) const CHUNKS: &str = "data: {\"n\":1}\n\ndata: {\"n\":2}\n\ndata: [DONE]\n\n";
const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) struct World {
    pub(crate) hives: BTreeMap<String, Hive>,
    pub(crate) token: String,
    router: Router,
    _home: tempfile::TempDir,
}

/// One hive: whether it runs, and what it answers.
#[derive(Debug, Clone)]
pub(crate) struct Hive(Arc<Script>);

#[derive(Debug)]
struct Script {
    identity: Identity,
    running: AtomicBool,
    current: AtomicBool,
    starts: watch::Sender<usize>,
    replies: Mutex<HashMap<String, VecDeque<Reply>>>,
    requests: Mutex<Vec<Seen>>,
    /// Why it does not start.
    broken: AtomicBool,
    /// How often it was ended because it hung.
    ended: AtomicUsize,
}

#[derive(Debug, Clone)]
pub(crate) struct Reply(u16, &'static str, String);

#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// Method and path.
    pub(crate) line: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
    /// Whether the body broke off.
    pub(crate) cut: bool,
}

#[derive(Debug)]
struct Hosted(BTreeMap<String, Hive>);

impl World {
    /// A queen whose hives have these aliases.
    pub(crate) async fn of(aliases: &[&str]) -> Self {
        let home = tempfile::tempdir().unwrap();
        let entry = |(nth, alias): (usize, &&str)| {
            format!("[[hive]]\nalias = \"{alias}\"\nhost = \"localhost\"\nport = {}\n", 9000 + nth)
        };
        let file: String = aliases.iter().enumerate().map(entry).collect();
        std::fs::write(home.path().join("config.toml"), file).unwrap();
        let variable = [("RBEE_HOME", home.path().as_os_str().to_owned())];
        let environment: Environment = variable.into_iter().collect();
        let overrides = Overrides::default();
        let config = RbeeConfig::resolve(&overrides, &environment, None).unwrap();
        config.paths.create().unwrap();
        let token_file = config.paths.token.clone();
        let daemon = Daemon::attach("queen-rbee").unwrap();
        let mut hives = BTreeMap::new();
        for alias in aliases {
            hives.insert((*alias).to_owned(), Hive::listen(daemon.identity()).await);
        }
        let jobs = JobServer::new(Limits::default());
        let live = LiveConfig::from_now_on(config, overrides);
        let hosts = Arc::new(Hosted(hives.clone()));
        let queen = Queen::with_hosts(live, jobs, daemon, hosts).unwrap();
        let token = std::fs::read_to_string(token_file).unwrap().trim().to_owned();
        Self { hives, token, router: router(queen, 8500), _home: home }
    }

    /// A queen with one hive, `a`.
    pub(crate) async fn one() -> (Self, Hive) {
        let world = Self::of(&["a"]).await;
        let hive = world.hives["a"].clone();
        (world, hive)
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], "").await
    }

    /// With the token.
    pub(crate) async fn manage(&self, method: &str, path: &str, body: &str) -> Answer {
        let bearer = format!("Bearer {}", self.token);
        self.ask(method, path, &[("authorization", &bearer)], body).await
    }

    pub(crate) async fn post(&self, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        self.ask("POST", path, headers, body).await
    }

    pub(crate) async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        self.ask_as(Peer::SameUser, method, path, headers, body).await
    }

    /// As [`Self::ask`], on a connection of `peer`.
    pub(crate) async fn ask_as(
        &self,
        peer: Peer,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let mut request =
            Request::builder().method(method).uri(path).header("host", "127.0.0.1:8500");
        if !body.is_empty() {
            request = request.header("content-type", "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let answered = async {
            let router = self.router.clone().layer(Extension(peer));
            let response = router.oneshot(request).await.unwrap();
            let (parts, mut body) = response.into_parts();
            let (mut read, mut cut) = (Vec::new(), false);
            while let Some(frame) = body.frame().await {
                match frame {
                    Ok(frame) => read.extend_from_slice(&frame.into_data().unwrap()),
                    Err(_) => cut = true,
                }
            }
            let body = String::from_utf8(read).unwrap();
            Answer { status: parts.status, headers: parts.headers, body, cut }
        };
        tokio::time::timeout(DEADLINE, answered).await.expect("an answer in time")
    }

    /// Begins a job and reads its stream to the end.
    pub(crate) async fn job(&self, request: &str) -> Answer {
        let created = self.manage("POST", "/v1/jobs", request).await;
        assert_eq!(created.status, StatusCode::CREATED, "{created:?}");
        let url = created.json()["sse_url"].as_str().unwrap().to_owned();
        self.get(&url).await
    }
}

impl Hive {
    async fn listen(identity: &Identity) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let script = Arc::new(Script {
            identity: Identity { address, ..identity.clone() },
            running: AtomicBool::new(false),
            current: AtomicBool::new(true),
            starts: watch::Sender::new(0),
            replies: Mutex::default(),
            requests: Mutex::default(),
            broken: AtomicBool::new(false),
            ended: AtomicUsize::new(0),
        });
        let answering = Arc::clone(&script);
        let answer = move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| {
            let script = Arc::clone(&answering);
            async move { script.answer(&method, &uri, headers, &body) }
        };
        let routes = Router::new().fallback(answer);
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self(script)
    }

    /// Adds a reply to requests such as `GET /v1/workers`; the last one stays.
    pub(crate) fn on(&self, line: &str, reply: Reply) -> &Self {
        let mut replies = self.0.replies.lock().unwrap();
        replies.entry(line.to_owned()).or_default().push_back(reply);
        self
    }

    /// From now on the only reply to such requests.
    pub(crate) fn only(&self, line: &str, reply: Reply) {
        self.0.replies.lock().unwrap().insert(line.to_owned(), VecDeque::from([reply]));
    }

    pub(crate) fn runs(&self) -> &Self {
        self.0.running.store(true, SeqCst);
        self
    }

    pub(crate) fn is_stale(&self) {
        self.0.current.store(false, SeqCst);
    }

    pub(crate) fn cannot_start(&self) {
        self.0.broken.store(true, SeqCst);
    }

    pub(crate) fn starts(&self) -> usize {
        *self.0.starts.borrow()
    }

    /// Waits until it was started that often.
    pub(crate) async fn started(&self, times: usize) {
        let mut starts = self.0.starts.subscribe();
        let started = starts.wait_for(|starts| *starts >= times);
        drop(tokio::time::timeout(DEADLINE, started).await.expect("a start in time").unwrap());
    }

    pub(crate) fn seen(&self, line: &str) -> Vec<Seen> {
        let seen = self.0.requests.lock().unwrap();
        seen.iter().filter(|seen| seen.line == line).cloned().collect()
    }
}

impl Script {
    fn answer(&self, method: &Method, uri: &Uri, headers: HeaderMap, body: &[u8]) -> Response {
        let line = format!("{method} {uri}");
        let body = String::from_utf8_lossy(body).into_owned();
        self.requests.lock().unwrap().push(Seen { line: line.clone(), headers, body });
        let mut replies = self.replies.lock().unwrap();
        let reply = match replies.get_mut(&line) {
            Some(replies) if replies.len() > 1 => replies.pop_front(),
            Some(replies) => replies.front().cloned(),
            None => None,
        };
        let Some(Reply(status, kind, body)) = reply else {
            return StatusCode::NOT_IMPLEMENTED.into_response();
        };
        let status = StatusCode::from_u16(status).unwrap();
        (status, [(header::CONTENT_TYPE, kind)], body).into_response()
    }
}

impl Reply {
    pub(crate) fn json(status: u16, body: &str) -> Self {
        Self(status, "application/json", body.to_owned())
    }

    pub(crate) fn stream(body: &str) -> Self {
        Self(200, "text/event-stream", body.to_owned())
    }
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Status and code of a refusal, after checking that its body says the same.
    #[track_caller]
    pub(crate) fn refusal(&self) -> (u16, String) {
        let body: ErrorBody =
            serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"));
        assert_eq!(body.error.status, Some(self.status.as_u16()), "{self:?}");
        (self.status.as_u16(), body.error.code.to_string())
    }
}

impl Hosts for Hosted {
    fn start(
        &self,
        config: Arc<RbeeConfig>,
        request: HiveStartRequest,
    ) -> BoxFuture<'static, Result<HiveStartResponse, Error>> {
        let alias = request.alias.expect("the queen names the hive");
        let script = Arc::clone(&self.0[&alias].0);
        Box::pin(async move {
            script.starts.send_modify(|starts| *starts += 1);
            if script.broken.load(SeqCst) {
                config.hive(Some("not-configured")).map_err(Error::UnknownHive)?;
            }
            script.current.store(true, SeqCst);
            let outcome = match script.running.swap(true, SeqCst) {
                true => Outcome::Reused,
                false => Outcome::Started,
            };
            let identity = script.identity.clone();
            let base_url = hive_lifecycle::base_url(&identity);
            Ok(HiveStartResponse { alias, base_url, identity, outcome })
        })
    }

    fn find<'a>(
        &self,
        _: &'a RbeeConfig,
        alias: &'a str,
    ) -> BoxFuture<'a, Result<Option<Identity>, Error>> {
        let script = &self.0[alias].0;
        let found = script.running.load(SeqCst).then(|| script.identity.clone());
        Box::pin(async { Ok(found) })
    }

    fn is_current<'a>(
        &self,
        _: &'a RbeeConfig,
        alias: &'a str,
        _: &'a Identity,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        let current = self.0[alias].0.current.load(SeqCst);
        Box::pin(async move { Ok(current) })
    }

    fn stop<'a>(
        &self,
        _: &'a RbeeConfig,
        alias: &'a str,
        _: bool,
    ) -> BoxFuture<'a, Result<Vec<String>, Error>> {
        let ran = self.0[alias].0.running.swap(false, SeqCst);
        let names = if ran { vec![format!("hive-{alias}")] } else { Vec::new() };
        Box::pin(async { Ok(names) })
    }

    fn end<'a>(&'a self, hive: &'a Identity) -> BoxFuture<'a, ()> {
        let hung = self.0.values().find(|hosted| hosted.0.identity.address == hive.address);
        hung.unwrap().0.ended.fetch_add(1, SeqCst);
        Box::pin(async {})
    }
}
