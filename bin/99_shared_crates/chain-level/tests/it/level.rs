//! A level that is neither the queen's nor a hive's: what it takes to be one, and what it gets.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use axum::{
    Extension, Json, Router,
    body::Body,
    http::{Request, StatusCode},
    routing::post,
};
use chain_level::{
    Form, Lapse, Level, Metrics, Place, Places, Pool, Relays, Renewed, Running, Wanted,
    completion_routes, job_routes, respond,
};
use daemon_lifecycle::{Daemon, Identity, Outcome};
use http_body_util::BodyExt as _;
use http_guard::Token;
use job_server::{JobServer, Limits};
use rbee_api::{Continuation, ErrorBody, ErrorCode, JobState, ModelReach, StreamEvent};
use reqwest::{Client, Method, RequestBuilder, header::AUTHORIZATION};
use tokio::{net::TcpListener, sync::watch};
use tower::ServiceExt as _;

use crate::{DEADLINE, Next};

/// A level of processes that count. What one has begun the next one has too.
#[derive(Debug, Clone)]
struct Counters(Arc<Script>);

#[derive(Debug, Clone)]
struct Counter(String, Identity);

impl Level for Counters {
    type Handle = Counter;
    type Description = String;
    const NARRATOR: &'static str = "test";
    const PROCESS: &'static str = "counter";
    const CAN_CONTINUE: bool = true;

    fn id(counter: &Counter) -> &str {
        &counter.0
    }
    fn identity(counter: &Counter) -> &Identity {
        &counter.1
    }
    fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }
    fn outcome(_: &Counter) -> &Outcome {
        &Outcome::Started
    }
    fn default_model(&self) -> String {
        "a".to_owned()
    }
    async fn is_current(&self, _: &Counter) -> bool {
        !self.0.is_stale.load(SeqCst)
    }
    async fn bring_up(&self, place: Place<'_, Self>, _: &Wanted) -> Result<Counter, ErrorBody> {
        let address = self.0.serve().await;
        Ok(Counter(place.slot.name.clone(), Identity { address, ..self.0.identity.clone() }))
    }
    fn request(&self, counter: &Counter, method: Method, path: &str) -> RequestBuilder {
        let request = self.0.http.request(method, format!("http://{}{path}", counter.1.address));
        request.header(AUTHORIZATION, self.0.token.authorization())
    }
    async fn describe(&self, running: &Running<Counter>) -> String {
        running.handle.0.clone()
    }
    async fn renew(&self, counter: &Counter) -> Result<Renewed, Lapse> {
        self.0.renew(counter).await
    }
    async fn end(&self, _: &Self::Handle, _: &Identity) {
        self.0.ended.fetch_add(1, SeqCst);
    }
}

/// What the processes do, and what was done to them.
#[derive(Debug)]
struct Script {
    identity: Identity,
    http: Client,
    token: Token,
    daemon: Daemon,
    jobs: JobServer,
    /// How far they may count.
    allowed: watch::Sender<usize>,
    is_stale: AtomicBool,
    /// The address of the one that hangs, and how.
    hung: watch::Sender<Option<(String, Hung)>>,
    renewals: watch::Sender<usize>,
    started: AtomicUsize,
    ended: AtomicUsize,
    metrics: Metrics,
}

const LAST: usize = 4;
const ASKED: &str = r#"{"stream": true}"#;

impl Script {
    /// Starts a process; gives its address.
    async fn serve(&self) -> String {
        self.started.fetch_add(1, SeqCst);
        self.is_stale.store(false, SeqCst);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (jobs, allowed) = (self.jobs.clone(), self.allowed.clone());
        let count_from = move |first: usize| {
            let (jobs, mut allowed) = (jobs.clone(), allowed.subscribe());
            async move {
                let job = jobs.create("count").unwrap();
                let id = job.id();
                tokio::spawn(async move {
                    for n in first..=LAST {
                        tokio::select! {
                            () = job.cancelled() => return job.cancelled_end(),
                            _ = allowed.wait_for(|allowed| *allowed >= n) => {}
                        }
                        job.send(StreamEvent::Chunk(n.to_string()));
                    }
                    job.send(StreamEvent::Done);
                    job.complete();
                });
                respond(&jobs, id, Form::Events).await
            }
        };
        let relays =
            Relays::new(self.jobs.clone(), Next(address), self.daemon.clone(), self.token.clone());
        let count = count_from.clone();
        let go_on = move |Json(asked): Json<Continuation>| {
            assert_eq!((&*asked.path, asked.request.get()), ("/v1/completions", ASKED));
            count_from(asked.delivered.len() + 1)
        };
        let routes = Router::new()
            .route("/v1/completions", post(move || count(1)))
            .route("/v1/continuations", post(go_on))
            .merge(job_routes(relays));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        address.to_string()
    }

    /// How many renewals were asked for before.
    fn nth_renewal(&self) -> usize {
        let mut nth = 0;
        self.renewals.send_modify(|renewals| nth = std::mem::replace(renewals, *renewals + 1));
        nth
    }

    async fn renew(&self, counter: &Counter) -> Result<Renewed, Lapse> {
        let hung = self.hung.borrow().clone().filter(|(address, _)| *address == counter.1.address);
        match hung {
            Some((_, Hung::NowAndThen)) if self.nth_renewal().is_multiple_of(3) => {
                Ok(Renewed::default())
            }
            Some((_, Hung::Silent)) => {
                self.nth_renewal();
                std::future::pending().await
            }
            Some((_, Hung::NowAndThen)) => std::future::pending().await,
            Some((_, Hung::Stuck)) => Err(Lapse::Stuck),
            Some((_, Hung::Replaced)) => {
                self.nth_renewal();
                let start_time = counter.1.start_time + 1;
                let by = Some(Identity { start_time, ..counter.1.clone() });
                Ok(Renewed { by, ..Renewed::default() })
            }
            Some((_, Hung::Leaving)) => Err(Lapse::Refused("it takes no requests".to_owned())),
            None => Ok(Renewed::default()),
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Hung {
    Silent,
    /// It answers each third time.
    NowAndThen,
    Stuck,
    Leaving,
    /// Another one, which is gone again, has answered in its name.
    Replaced,
}

struct World {
    script: Arc<Script>,
    pool: Pool<Counters>,
    relays: Relays<Pool<Counters>>,
}

impl World {
    fn new(allowed: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let daemon = Daemon::attach("level").unwrap();
        let script = Arc::new(Script {
            identity: daemon.identity().clone(),
            http: Client::builder().build().unwrap(),
            token: Token::load_or_create(&folder.path().join("token")).unwrap(),
            daemon,
            jobs: JobServer::new(Limits::default()),
            allowed: watch::Sender::new(allowed),
            is_stale: AtomicBool::new(false),
            hung: watch::Sender::new(None),
            renewals: watch::Sender::new(0),
            started: AtomicUsize::new(0),
            ended: AtomicUsize::new(0),
            metrics: Metrics::default(),
        });
        let pool = Pool::new(Counters(Arc::clone(&script)));
        let relays = Self::generation(&script, &pool);
        Self { script, pool, relays }
    }

    /// The jobs of one generation of the process that uses the level.
    fn generation(script: &Script, pool: &Pool<Counters>) -> Relays<Pool<Counters>> {
        let jobs = JobServer::new(Limits::default());
        Relays::new(jobs, pool.clone(), script.daemon.clone(), script.token.clone())
    }

    /// Asks for a streamed completion.
    async fn ask(&self, headers: &[(&str, &str)]) -> (StatusCode, String, Body) {
        let request = Request::builder().method("POST").uri("/v1/completions");
        let request =
            headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let routes = completion_routes(self.relays.clone()).layer(Extension(ModelReach::Any));
        let request = request.body(Body::from(ASKED)).unwrap();
        let response = routes.oneshot(request).await.unwrap();
        let job = response.headers()["x-rbee-job"].to_str().unwrap().to_owned();
        (response.status(), job, response.into_body())
    }

    async fn answer(&self, headers: &[(&str, &str)]) -> String {
        read(self.ask(headers).await.2).await
    }

    fn started(&self) -> usize {
        self.script.started.load(SeqCst)
    }
}

async fn read(body: Body) -> String {
    let read = tokio::time::timeout(DEADLINE, body.collect()).await.unwrap();
    String::from_utf8(read.unwrap().to_bytes().into()).unwrap()
}

const COUNTED: &str = "data: 1\n\ndata: 2\n\ndata: 3\n\ndata: 4\n\ndata: [DONE]\n\n";
const FRESH: (&str, &str) = ("x-rbee-fresh", "1");

#[tokio::test]
async fn a_level_serves_completions() {
    let world = World::new(LAST);
    for _ in 0..3 {
        assert_eq!(world.answer(&[]).await, COUNTED);
    }
    assert_eq!((world.started(), world.pool.list().await), (1, vec!["a".to_owned()]));
}

#[tokio::test]
async fn a_level_hands_over_to_what_is_fresh() {
    let world = World::new(LAST);
    world.answer(&[]).await;
    world.script.is_stale.store(true, SeqCst);
    assert_eq!(world.answer(&[FRESH]).await, COUNTED);
    assert_eq!(world.started(), 2);
    world.script.is_stale.store(true, SeqCst);
    world.pool.update(&Wanted::of(true, false)).await.unwrap();
    assert_eq!(world.started(), 3);
}

#[tokio::test]
async fn a_level_ends_what_nobody_waits_for() {
    let world = World::new(1);
    let (_, _, mut body) = world.ask(&[]).await;
    body.frame().await.unwrap().unwrap();
    drop(body);
    tokio::time::timeout(DEADLINE, world.script.jobs.idle()).await.unwrap();
    let job = rbee_api::JobInfo::from(world.script.jobs.list().remove(0));
    assert_eq!(job.state, JobState::Cancelled);
}

#[tokio::test]
async fn a_later_generation_goes_on_with_a_stream_of_the_one_before() {
    let world = World::new(2);
    let (_, job, mut body) = world.ask(&[]).await;
    for _ in 0..2 {
        body.frame().await.unwrap().unwrap();
    }
    let job = job.parse().unwrap();
    let transfer = world.relays.release(job).await.unwrap();
    let next = World::generation(&world.script, &world.pool);
    next.take_up(transfer).unwrap();
    world.script.allowed.send_replace(LAST);
    let whole = respond(next.jobs(), job, Form::OpenAiStream).await.into_body();
    assert_eq!(read(whole).await, COUNTED);
}

/// The second world's processes have never heard of what one of the first had begun.
#[tokio::test]
async fn a_later_generation_goes_on_behind_a_stream_that_nobody_has_any_more() {
    let world = World::new(2);
    let (_, job, mut body) = world.ask(&[]).await;
    for _ in 0..2 {
        body.frame().await.unwrap().unwrap();
    }
    let job = job.parse().unwrap();
    let transfer = world.relays.release(job).await.unwrap();
    let transfer = serde_json::to_string(&transfer).unwrap();
    let next = World::new(LAST);
    next.relays.take_up(serde_json::from_str(&transfer).unwrap()).unwrap();
    let whole = respond(next.relays.jobs(), job, Form::OpenAiStream).await.into_body();
    assert_eq!(read(whole).await, COUNTED);

    // A generation before this one did not say what was asked.
    let world = World::new(2);
    let (_, job, mut body) = world.ask(&[]).await;
    body.frame().await.unwrap().unwrap();
    let transfer = world.relays.release(job.parse().unwrap()).await.unwrap();
    let mut transfer = serde_json::to_value(&transfer).unwrap();
    transfer.as_object_mut().unwrap().remove("asked").unwrap();
    let next = World::new(LAST);
    next.relays.take_up(serde_json::from_value(transfer).unwrap()).unwrap();
    let cut = respond(next.relays.jobs(), job.parse().unwrap(), Form::Events).await.into_body();
    let cut = read(cut).await;
    assert!(cut.contains("the answer was cut off") && cut.contains("upstream_lost"), "{cut}");
}

#[tokio::test]
async fn streams_that_nobody_has_any_more_are_gone_on_with_beside_one_another() {
    let (world, next) = (World::new(2), World::new(LAST - 1));
    let mut jobs = Vec::new();
    for _ in 0..5 {
        let (_, job, mut body) = world.ask(&[]).await;
        for _ in 0..2 {
            body.frame().await.unwrap().unwrap();
        }
        let job = job.parse().unwrap();
        next.relays.take_up(world.relays.release(job).await.unwrap()).unwrap();
        jobs.push(job);
    }
    let mut streams = Vec::new();
    for job in jobs {
        let mut body = respond(next.relays.jobs(), job, Form::OpenAiStream).await.into_body();
        let mut said = String::new();
        // None comes to its end before all of them have gone on.
        while !said.contains("data: 3") {
            let frame = tokio::time::timeout(DEADLINE, body.frame()).await.unwrap();
            said += str::from_utf8(frame.unwrap().unwrap().data_ref().unwrap()).unwrap();
        }
        streams.push((said, body));
    }
    next.script.allowed.send_replace(LAST);
    for (said, body) in streams {
        assert_eq!(said + &read(body).await, COUNTED);
    }
}

#[tokio::test]
async fn a_process_that_hangs_is_ended_and_its_streams_go_on_with_the_next() {
    for how in [Hung::Silent, Hung::Stuck] {
        let world = World::new(2);
        let (_, _, mut body) = world.ask(&[]).await;
        let mut said = String::new();
        for _ in 0..2 {
            let frame = body.frame().await.unwrap().unwrap();
            said += str::from_utf8(frame.data_ref().unwrap()).unwrap();
        }
        let hung = world.pool.places().occupant("a").unwrap().handle.1.address.clone();
        world.script.hung.send_replace(Some((hung, how)));
        let pool = world.pool.clone();
        let keeping =
            tokio::spawn(async move { pool.keep(Duration::from_millis(5), || true).await });
        world.script.allowed.send_replace(LAST);
        assert_eq!(said + &read(body).await, COUNTED);
        keeping.abort();
    }
}

#[tokio::test]
async fn a_process_that_misses_a_renewal_now_and_then_stays() {
    let world = World::new(LAST);
    world.answer(&[]).await;
    let running = world.pool.places().occupant("a").unwrap();
    let hung = (running.handle.1.address.clone(), Hung::NowAndThen);
    world.script.hung.send_replace(Some(hung));
    let mut renewals = world.script.renewals.subscribe();
    tokio::select! {
        never = world.pool.keep(Duration::from_millis(5), || true) => never,
        renewed = renewals.wait_for(|renewals| *renewals >= 9) => drop(renewed.unwrap()),
    }
    assert_eq!(world.script.ended.load(SeqCst), 0);
}

#[tokio::test]
async fn a_process_that_has_so_much_to_say_that_it_answers_no_renewal_stays() {
    let world = World::new(1);
    let (_, _, mut body) = world.ask(&[]).await;
    let mut frame = async || {
        let frame = body.frame().await.unwrap().unwrap();
        str::from_utf8(frame.data_ref().unwrap()).unwrap().to_owned()
    };
    let mut said = frame().await;
    let busy = world.pool.places().occupant("a").unwrap().handle.1.address.clone();
    world.script.hung.send_replace(Some((busy, Hung::Silent)));
    let mut renewals = world.script.renewals.subscribe();
    let going_on = async {
        for n in 2..=LAST {
            // One has been missed then, and the next one is going to be.
            drop(renewals.wait_for(|renewals| *renewals >= 2 * (n - 1)).await.unwrap());
            world.script.allowed.send_replace(n);
            said += &frame().await;
        }
        said + &frame().await
    };
    tokio::select! {
        never = world.pool.keep(Duration::from_millis(500), || true) => never,
        said = going_on => assert_eq!(said, COUNTED),
    }
    assert_eq!((world.started(), world.script.ended.load(SeqCst)), (1, 0));
}

#[tokio::test]
async fn only_the_process_that_serves_ends_one_that_hangs() {
    let world = World::new(LAST);
    world.answer(&[]).await;
    let hung = world.pool.places().occupant("a").unwrap().handle.1.address.clone();
    world.script.hung.send_replace(Some((hung, Hung::Stuck)));
    let rounds = world.pool.keep(Duration::from_millis(5), || false);
    drop(tokio::time::timeout(Duration::from_millis(100), rounds).await);
    assert_eq!(world.script.ended.load(SeqCst), 0);
    assert_eq!(world.answer(&[]).await, COUNTED);
}

#[tokio::test]
async fn a_process_that_only_finishes_what_it_has_is_not_taken_to_hang() {
    let world = World::new(LAST);
    world.answer(&[]).await;
    let leaving = world.pool.places().occupant("a").unwrap().handle.1.address.clone();
    world.script.hung.send_replace(Some((leaving, Hung::Leaving)));
    let rounds = world.pool.keep(Duration::from_millis(5), || true);
    drop(tokio::time::timeout(Duration::from_millis(100), rounds).await);
    assert_eq!(world.script.ended.load(SeqCst), 0);
}

#[tokio::test]
async fn a_process_in_whose_name_another_one_has_answered_is_looked_for_anew() {
    let world = World::new(LAST);
    world.answer(&[]).await;
    let replaced = world.pool.places().occupant("a").unwrap().handle.1.address.clone();
    world.script.hung.send_replace(Some((replaced, Hung::Replaced)));
    let mut renewals = world.script.renewals.subscribe();
    tokio::select! {
        never = world.pool.keep(Duration::from_millis(5), || true) => never,
        renewed = renewals.wait_for(|renewals| *renewals >= 2) => drop(renewed.unwrap()),
    }
    assert_eq!(world.answer(&[]).await, COUNTED);
    assert_eq!(world.started(), 2);
}

/// A level of two machines; there is no way to the first.
#[derive(Debug, Clone)]
struct Machines(Arc<(Metrics, Identity, Client)>);

impl Level for Machines {
    type Handle = Counter;
    type Description = String;
    const NARRATOR: &'static str = "test";
    const PROCESS: &'static str = "machine";
    const CHOOSES: bool = true;

    fn id(machine: &Counter) -> &str {
        &machine.0
    }
    fn identity(machine: &Counter) -> &Identity {
        &machine.1
    }
    fn metrics(&self) -> &Metrics {
        &self.0.0
    }
    fn outcome(_: &Counter) -> &Outcome {
        &Outcome::Started
    }
    fn default_model(&self) -> String {
        "a".to_owned()
    }
    async fn choose(&self, _: &Places<Counter>, model: &str, without: &[String]) -> Option<String> {
        let mut machines =
            ["far", "near"].into_iter().filter(|name| model == "a" || *name == model);
        machines.find(|name| !without.iter().any(|other| other == name)).map(str::to_owned)
    }
    async fn is_current(&self, _: &Counter) -> bool {
        true
    }
    async fn bring_up(&self, place: Place<'_, Self>, _: &Wanted) -> Result<Counter, ErrorBody> {
        match place.slot.name.as_str() {
            "far" => Err(ErrorBody::new(ErrorCode::HiveUnavailable, "there is no way to it")),
            name => Ok(Counter(name.to_owned(), self.0.1.clone())),
        }
    }
    fn request(&self, _: &Counter, method: Method, _: &str) -> RequestBuilder {
        self.0.2.request(method, "http://127.0.0.1:1/")
    }
    async fn describe(&self, running: &Running<Counter>) -> String {
        running.handle.0.clone()
    }
    async fn renew(&self, _: &Counter) -> Result<Renewed, Lapse> {
        Ok(Renewed { requests: 0, by: None })
    }
    async fn end(&self, _: &Counter, _: &Identity) {}
}

#[tokio::test]
async fn where_there_is_no_way_to_the_chosen_place_another_is_chosen() {
    let identity = Daemon::attach("test").unwrap().identity().clone();
    let client = Client::builder().build().unwrap();
    let pool = Pool::new(Machines(Arc::new((Metrics::default(), identity, client))));
    let (machine, _busy) = pool.acquire_for("a", Wanted::default(), &[]).await.unwrap();
    assert_eq!(machine.0, "near");
    // Where there is no other, the reason is the place's own.
    let refused = pool.acquire_for("far", Wanted::default(), &[]).await.unwrap_err();
    assert_eq!(refused.error.message, "there is no way to it");
}
