//! A queen between a client and hives that are scripts in this process.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    convert::Infallible,
    ops::Deref,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse as _, Response},
};
use chain_level::{Metrics, Told};
use daemon_lifecycle::{Daemon, Identity, Outcome, SignOfLife};
use futures::{StreamExt as _, future::BoxFuture, stream};
use hive_lifecycle::{Error, HiveStartRequest, HiveStartResponse};
use job_journal::{Accepted, Bounds, JobJournal, Keep};
use job_server::{JobId, JobServer, Limits};
use queen_rbee::{Hosts, Queen, router};
use rbee_api::HEADER_JOB;
use rbee_config::{Environment, LiveConfig, Overrides, RbeeConfig};
use router_client::RouterClient;
use tokio::{net::TcpListener, sync::watch};

pub(crate) const CHUNKS: &str = "data: {\"n\":1}\n\ndata: {\"n\":2}\n\ndata: [DONE]\n\n";
const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) struct World {
    pub(crate) hives: BTreeMap<String, Hive>,
    pub(crate) told: Told,
    pub(crate) jobs: JobServer,
    /// What outlives this queen, and is hers until she dies.
    journal: JobJournal,
    queen: Queen,
    daemon: Daemon,
    client: RouterClient,
    home: Arc<tempfile::TempDir>,
    /// How many queens there have been.
    nth: usize,
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
    requests: watch::Sender<Vec<Seen>>,
    /// Why it does not start.
    broken: AtomicBool,
    ended: watch::Sender<usize>,
    hung: watch::Sender<bool>,
    /// Whether it is stuck, as it says past its listener; `None` is one that says nothing there.
    sign: Mutex<Option<bool>>,
    /// How often it was asked for that.
    signs: watch::Sender<usize>,
}

#[derive(Debug, Clone)]
pub(crate) struct Reply {
    status: u16,
    kind: &'static str,
    body: String,
    /// The id of the job that it is the stream of.
    job: Option<&'static str>,
    /// Whether nothing comes behind the body, and no end either.
    stays_open: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// Method and path.
    pub(crate) line: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

#[derive(Debug)]
struct Hosted(BTreeMap<String, Hive>);

impl World {
    /// A queen whose hives have these aliases.
    pub(crate) async fn of(aliases: &[&str]) -> Self {
        Self::configured(aliases, "").await
    }

    /// The same with more in the configuration.
    pub(crate) async fn configured(aliases: &[&str], more: &str) -> Self {
        let home = Arc::new(tempfile::tempdir().unwrap());
        let entry = |(nth, alias): (usize, &&str)| {
            format!("[[hive]]\nalias = \"{alias}\"\nhost = \"localhost\"\nport = {}\n", 9000 + nth)
        };
        let file: String = aliases.iter().enumerate().map(entry).collect();
        std::fs::write(home.path().join("config.toml"), file + more).unwrap();
        let daemon = Daemon::attach("queen-rbee").unwrap();
        let mut hives = BTreeMap::new();
        for alias in aliases {
            hives.insert((*alias).to_owned(), Hive::listen(daemon.identity()).await);
        }
        Self::over(home, hives, daemon, 1)
    }

    fn over(
        home: Arc<tempfile::TempDir>,
        hives: BTreeMap<String, Hive>,
        daemon: Daemon,
        nth: usize,
    ) -> Self {
        let variable = [("RBEE_HOME", home.path().as_os_str().to_owned())];
        let environment: Environment = variable.into_iter().collect();
        let overrides = Overrides::default();
        let config = RbeeConfig::resolve(&overrides, &environment, None).unwrap();
        config.paths.create().unwrap();
        let token_file = config.paths.token.clone();
        let file = config.paths.state.join("jobs.sqlite");
        // Of all of them the last one lives.
        let (own, kept) = (nth.to_string(), (Keep::Answers, Bounds::default()));
        let is_alive = move |holder: &str| holder == nth.to_string();
        let journal = JobJournal::open(file, own, is_alive, kept).unwrap();
        let jobs = JobServer::new(Limits::default());
        let live = LiveConfig::from_now_on(config, overrides);
        let hosts = Arc::new(Hosted(hives.clone()));
        let (told, metrics) = (Told::new(), Metrics::default());
        let queen = Queen::with_hosts(live, jobs.clone(), metrics, daemon.clone(), hosts).unwrap();
        let queen = queen.telling(told.clone()).journaled(journal.clone());
        let token = std::fs::read_to_string(token_file).unwrap();
        let client = RouterClient::new(router(queen.clone(), 8500), 8500, &token);
        Self { hives, told, jobs, journal, queen, daemon, client, home, nth }
    }

    /// Has her write down a job and do nothing more about it; its id.
    pub(crate) async fn accepts_and_dies_at_once(&self, request: &str) -> JobId {
        let (id, operation, request) = (JobId::generate(), "hive_stop".into(), request.to_owned());
        let accepted = Accepted { id, operation, subject: None, request };
        assert_eq!(self.journal.accept(accepted).await, Ok(true));
        id
    }

    /// Has this queen die, with all that she has in memory; gives the next one, who has the same hives and
    /// goes on with what is left.
    pub(crate) async fn killed(&self) -> Self {
        self.journal.close().await;
        for job in self.jobs.list() {
            // What has ended has ended.
            drop(self.jobs.cancel(&job.id, None));
        }
        self.jobs.idle().await;
        let (home, hives) = (Arc::clone(&self.home), self.hives.clone());
        let next = Self::over(home, hives, self.daemon.clone(), self.nth + 1);
        next.queen.go_on_with_what_is_left(&next.journal).await;
        next
    }

    /// The folder of the configuration.
    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// Looks after the hives every `round`; to be raced against what comes of it.
    pub(crate) async fn keep_hives(&self, round: Duration) -> ! {
        // There is no generation before, so it serves from here on.
        self.daemon.ready("nowhere").await.unwrap();
        self.queen.keep_hives(round).await
    }

    /// A queen with one hive, `a`.
    pub(crate) async fn one() -> (Self, Hive) {
        let world = Self::of(&["a"]).await;
        let hive = world.hives["a"].clone();
        (world, hive)
    }
}

impl Deref for World {
    type Target = RouterClient;

    fn deref(&self) -> &RouterClient {
        &self.client
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
            requests: watch::Sender::default(),
            broken: AtomicBool::new(false),
            ended: watch::Sender::new(0),
            hung: watch::Sender::new(false),
            sign: Mutex::default(),
            signs: watch::Sender::new(0),
        });
        let answering = Arc::clone(&script);
        let answer = move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| {
            let script = Arc::clone(&answering);
            async move {
                let line = format!("{method} {uri}");
                let mut hung = script.hung.subscribe();
                // A request that came to one that hung ends with that one.
                if *hung.borrow() {
                    script.saw(Seen::of(line, headers, &body));
                    drop(hung.wait_for(|hung| !*hung).await);
                    return StatusCode::BAD_GATEWAY.into_response();
                }
                script.answer(line, headers, &body)
            }
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

    pub(crate) fn is_stopped(&self) {
        self.0.running.store(false, SeqCst);
    }

    pub(crate) fn is_stale(&self) {
        self.0.current.store(false, SeqCst);
    }

    /// Its streams begin and say nothing more, and nothing else is answered, until it is started again.
    pub(crate) fn hangs(&self) {
        self.0.hung.send_replace(true);
    }

    /// Past its listener it says from now on whether it is stuck.
    pub(crate) fn gives_signs(&self, is_stuck: bool) {
        *self.0.sign.lock().unwrap() = Some(is_stuck);
    }

    /// Waits until it was asked for a sign of life that often.
    pub(crate) async fn has_given_signs(&self, times: usize) {
        until(&self.0.signs, |signs| *signs >= times).await;
    }

    /// How often it was ended because it hung.
    pub(crate) fn ended(&self) -> usize {
        *self.0.ended.borrow()
    }

    /// Waits until it was ended.
    pub(crate) async fn is_ended(&self) {
        until(&self.0.ended, |ended| *ended > 0).await;
    }

    pub(crate) fn cannot_start(&self) {
        self.0.broken.store(true, SeqCst);
    }

    pub(crate) fn starts(&self) -> usize {
        *self.0.starts.borrow()
    }

    /// Waits until it was started that often.
    pub(crate) async fn started(&self, times: usize) {
        until(&self.0.starts, |starts| *starts >= times).await;
    }

    pub(crate) fn seen(&self, line: &str) -> Vec<Seen> {
        self.0.requests.borrow().iter().filter(|seen| seen.line == line).cloned().collect()
    }

    /// Waits until it was asked that often.
    pub(crate) async fn has_seen(&self, line: &str, times: usize) {
        let is_enough = |requests: &Vec<Seen>| {
            requests.iter().filter(|seen| seen.line == line).count() >= times
        };
        until(&self.0.requests, is_enough).await;
    }

    /// The bodies of what it was asked, in the order in which it came.
    pub(crate) fn bodies(&self, line: &str) -> Vec<String> {
        self.seen(line).into_iter().map(|seen| seen.body).collect()
    }
}

/// Waits until `is_so` of what `sender` sends.
async fn until<T>(sender: &watch::Sender<T>, is_so: impl FnMut(&T) -> bool) {
    let mut receiver = sender.subscribe();
    let waited = tokio::time::timeout(DEADLINE, receiver.wait_for(is_so)).await;
    drop(waited.expect("it comes in time").unwrap());
}

impl Script {
    fn saw(&self, seen: Seen) {
        self.requests.send_modify(|requests| requests.push(seen));
    }

    fn answer(&self, line: String, headers: HeaderMap, body: &[u8]) -> Response {
        self.saw(Seen::of(line.clone(), headers, body));
        let mut replies = self.replies.lock().unwrap();
        let reply = match replies.get_mut(&line) {
            Some(replies) if replies.len() > 1 => replies.pop_front(),
            Some(replies) => replies.front().cloned(),
            None => None,
        };
        let Some(Reply { status, kind, body, job, stays_open }) = reply else {
            return StatusCode::NOT_IMPLEMENTED.into_response();
        };
        let status = StatusCode::from_u16(status).unwrap();
        let body = match stays_open {
            true => {
                let begun = stream::iter([Ok::<_, Infallible>(body)]).chain(stream::pending());
                Body::from_stream(begun)
            }
            false => body.into(),
        };
        let mut response = (status, [(header::CONTENT_TYPE, kind)], body).into_response();
        if let Some(job) = job {
            response.headers_mut().insert(HEADER_JOB, HeaderValue::from_static(job));
        }
        response
    }
}

impl Seen {
    fn of(line: String, headers: HeaderMap, body: &[u8]) -> Self {
        Self { line, headers, body: String::from_utf8_lossy(body).into_owned() }
    }
}

impl Reply {
    pub(crate) fn json(status: u16, body: &str) -> Self {
        let (kind, body) = ("application/json", body.to_owned());
        Self { status, kind, body, job: None, stays_open: false }
    }

    pub(crate) fn stream(body: &str) -> Self {
        Self { kind: "text/event-stream", ..Self::json(200, body) }
    }

    /// The same of a job that goes on when the stream breaks off.
    pub(crate) fn stream_of(job: &'static str, body: &str) -> Self {
        Self { job: Some(job), ..Self::stream(body) }
    }

    /// The same of one that is under way.
    pub(crate) fn open_stream_of(job: &'static str, body: &str) -> Self {
        Self { stays_open: true, ..Self::stream_of(job, body) }
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
            script.hung.send_replace(false);
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

    fn sign<'a>(
        &self,
        _: &'a RbeeConfig,
        alias: &'a str,
    ) -> BoxFuture<'a, Result<Option<SignOfLife>, Error>> {
        let script = &self.0[alias].0;
        script.signs.send_modify(|signs| *signs += 1);
        let sign = *script.sign.lock().unwrap();
        let identity = script.identity.clone();
        Box::pin(async move { Ok(sign.map(|is_stuck| SignOfLife { identity, is_stuck })) })
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
        hung.unwrap().0.ended.send_modify(|ended| *ended += 1);
        Box::pin(async {})
    }
}
