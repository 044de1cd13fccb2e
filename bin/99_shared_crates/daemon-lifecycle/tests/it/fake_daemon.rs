//! A daemon that does what a script says, appended to its executable: so two of them are really
//! different binaries, and behave differently with the same arguments.

mod inject; // faults at the steps of a hand-over

use std::{
    convert::Infallible,
    fs::File,
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    net::SocketAddr,
    path::PathBuf,
    pin::Pin,
    process::ExitCode,
    sync::{
        Mutex,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use daemon_lifecycle::{Daemon, DaemonManager, Listener, State, Work};
use hyper::{
    HeaderMap, Method, Request, Response,
    body::{Body, Bytes, Frame, Incoming},
};
use rustix::process::{Resource, Rlimit, Signal, setrlimit};
use serde::Deserialize;
use tokio::sync::mpsc;

use self::inject::{Fault, watch_edges};

/// Ends an executable that carries a script; before it stands the script's length.
const MARK: &[u8] = b"#script!";
const LENGTH_DIGITS: usize = 8;

/// So long nothing else happens on the thread that answers, if somebody asks for it.
const BLOCKED: Duration = Duration::from_secs(6);

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Script {
    version: String,
    ready_after_ms: u64,
    /// Says that it is still starting, this often, until it is ready.
    progress_every_ms: Option<u64>,
    exit_before_ready: Option<u8>,
    never_ready: bool,
    fail: Option<String>,
    die_when_ready: bool,
    die_after_serving_ms: Option<u64>,
    /// Stops itself, as if it hung, this long after it began to serve.
    hang_after_serving_ms: Option<u64>,
    /// Computes so hard, once it serves, that no request is answered any more.
    starve: bool,
    /// Answers at this socket besides.
    beside: Option<PathBuf>,
    /// The same, until its end.
    apart: Option<PathBuf>,
    answer_500: bool,
    /// The same, from this long after it began to serve.
    answer_500_after_serving_ms: Option<u64>,
    /// Answers no `/health`, and everything else, once it serves.
    mute: bool,
    /// Listens where it should by itself, and has another listener to hand over.
    binds_itself: bool,
    never_exit: bool,
    flood_stderr_bytes: usize,
    /// May have so many descriptors at most, and a quarter of them from the start.
    descriptors: Option<u64>,
    grandchild: bool,
    /// Watches its own sources, and trusts each look for so long.
    keep_fresh_trust_ms: Option<u64>,
    /// Kills itself at this edge, or stops itself there as if it hung.
    die_at: Option<String>,
    stop_at: Option<String>,
}

impl Script {
    fn fault(&self) -> Option<Fault> {
        let at = |at: &Option<String>, signal| at.clone().map(|at| Fault { at, signal });
        at(&self.die_at, Signal::KILL).or_else(|| at(&self.stop_at, Signal::STOP))
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match &args[..] {
        [flag, manager, script @ ..] if flag == "--start" => {
            let script: Option<Script> =
                script.first().map(|script| read_script(script.as_bytes()));
            watch_edges("starter", script.and_then(|script| script.fault()));
            start(manager).await
        }
        _ => {
            let script = script();
            watch_edges(&script.version, script.fault());
            inject::begun();
            run(script, args).await
        }
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            report(&format!("fake-daemon: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn script() -> Script {
    let mut exe = File::open("/proc/self/exe").expect("a running executable can be read");
    let mut last = |bytes: usize| {
        let mut end = vec![0; bytes];
        exe.seek(SeekFrom::End(-(bytes as i64))).and_then(|_| exe.read_exact(&mut end)).ok()?;
        Some(end)
    };
    let trailer = LENGTH_DIGITS + MARK.len();
    let read = last(trailer).filter(|end| end.ends_with(MARK)).and_then(|end| {
        let length: usize = std::str::from_utf8(&end[..LENGTH_DIGITS]).ok()?.parse().ok()?;
        last(length + trailer).map(|end| end[..length].to_owned())
    });
    read.map_or_else(Script::default, |script| read_script(&script))
}

fn read_script(script: &[u8]) -> Script {
    serde_json::from_slice(script).expect("the test wrote a script")
}

/// Not a daemon this time, but the starter of one.
async fn start(manager: &str) -> Result<ExitCode, Box<dyn std::error::Error + Send + Sync>> {
    serde_json::from_str::<DaemonManager>(manager)?.spawn().await?;
    Ok(ExitCode::SUCCESS)
}

async fn run(
    script: Script,
    args: Vec<String>,
) -> Result<ExitCode, Box<dyn std::error::Error + Send + Sync>> {
    report(&format!("fake-daemon {} with {args:?}", script.version));
    if script.grandchild {
        let mut grandchild = std::process::Command::new("sh");
        grandchild.args(["-c", "trap '' TERM; exec sleep 1000"]).spawn()?;
    }
    let line = "x".repeat(99);
    for _ in 0..script.flood_stderr_bytes / 100 {
        report(&line);
    }
    if let Some(code) = script.exit_before_ready {
        return Ok(ExitCode::from(code));
    }
    if let Some(most) = script.descriptors {
        let limit = Rlimit { current: Some(most / 4), maximum: Some(most) };
        setrlimit(Resource::Nofile, limit)?;
    }
    let daemon = Daemon::attach("fake")?;
    if let Some(why) = &script.fail {
        daemon.fail(why).await;
        return Ok(ExitCode::FAILURE);
    }
    let (listener, address) = listen(&daemon, &script, &args).await?;
    if daemon.identity().generation > 1 {
        report("listening again");
    }
    start_slowly(&daemon, &script).await;
    if script.never_ready {
        std::future::pending::<()>().await;
    }
    daemon.ready(&address).await?;
    if script.die_when_ready {
        return Ok(ExitCode::from(4));
    }
    if let Some(trust) = script.keep_fresh_trust_ms.map(Duration::from_millis) {
        let daemon = daemon.clone();
        tokio::spawn(async move { daemon.keep_fresh(|| Some(trust)).await });
    }
    tokio::spawn(misbehave(daemon.clone(), script.clone()));
    let service = {
        let (daemon, script) = (daemon.clone(), script.clone());
        tower::service_fn(move |request| answer(daemon.clone(), script.clone(), request))
    };
    let beside = match &script.beside {
        Some(path) => Some(daemon.answer_beside(path, service.clone()).await?),
        None => None,
    };
    let apart = match &script.apart {
        Some(path) => Some(daemon.answer_apart(path, service.clone()).await?),
        None => None,
    };
    daemon.serve(listener, service).await?;
    drop((beside, apart));
    if script.never_exit {
        std::future::pending::<()>().await;
    }
    Ok(ExitCode::SUCCESS)
}

async fn listen(
    daemon: &Daemon,
    script: &Script,
    args: &[String],
) -> Result<(Listener, String), daemon_lifecycle::Error> {
    match args {
        [flag, path] if flag == "--unix" => {
            Ok((daemon.listen_unix(path.as_ref()).await?.into(), path.clone()))
        }
        [flag, path] if flag == "--unix-shared" => {
            Ok((daemon.listen_unix_shared(path.as_ref()).await?.into(), path.clone()))
        }
        [flag, address, ..] if flag == "--listen" => {
            let address: SocketAddr = address.parse().expect("--listen takes an address");
            if script.binds_itself {
                daemon.listen_tcp(([127, 0, 0, 1], 0).into()).await?;
                let bound = tokio::net::TcpListener::bind(address).await;
                return Ok((bound.expect("the port is free").into(), address.to_string()));
            }
            let listener = daemon.listen_tcp(address).await?;
            let local = listener.local_addr().expect("a bound listener has an address");
            Ok((listener.into(), local.to_string()))
        }
        other => panic!("unknown arguments {other:?}"),
    }
}

async fn start_slowly(daemon: &Daemon, script: &Script) {
    let ready = tokio::time::sleep(Duration::from_millis(script.ready_after_ms));
    tokio::pin!(ready);
    loop {
        let progress = async {
            match script.progress_every_ms {
                Some(every) => tokio::time::sleep(Duration::from_millis(every)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = &mut ready => return,
            () = progress => daemon.progress("loading").await,
        }
    }
}

#[expect(clippy::exit, reason = "a daemon that dies")]
async fn misbehave(daemon: Daemon, script: Script) {
    while daemon.state() != State::Serving {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    if script.starve {
        // Far more than there are threads that run tasks.
        for _ in 0..256 {
            tokio::spawn(async { std::thread::park() });
        }
    }
    if let Some(after) = script.die_after_serving_ms {
        tokio::time::sleep(Duration::from_millis(after)).await;
        std::process::exit(9);
    }
    if let Some(after) = script.hang_after_serving_ms {
        tokio::time::sleep(Duration::from_millis(after)).await;
        let own = rustix::process::getpid();
        rustix::process::kill_process(own, Signal::STOP).expect("a process may stop itself");
    }
}

async fn answer(
    daemon: Daemon,
    script: Script,
    request: Request<Incoming>,
) -> Result<Response<Tokens>, Infallible> {
    let late = script.answer_500_after_serving_ms.is_some_and(|after| {
        daemon.state() == State::Serving
            && time_of_day().as_millis() as u64 > daemon.identity().started_at_ms + after
    });
    let status = if script.answer_500 || late { 500 } else { 200 };
    let (tokens, body) = mpsc::channel(4);
    let path = request.uri().path().to_owned();
    if script.mute && path == "/health" && daemon.state() == State::Serving {
        std::future::pending::<()>().await;
    }
    tokio::spawn(async move {
        // `/stream/COUNT/MS`
        if let Some((count, every)) = path.strip_prefix("/stream/").and_then(|p| p.split_once('/'))
        {
            let (count, every) = (count.parse().unwrap_or(0), every.parse().unwrap_or(0));
            let shutdown = daemon.shutdown();
            for number in 0..count {
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_millis(every)) => {}
                    () = shutdown.drained() => {
                        drop(tokens.send(Bytes::from_static(b"hand-off\n")).await);
                        return;
                    }
                }
                if tokens.send(Bytes::from(format!("token {number}\n"))).await.is_err() {
                    return;
                }
            }
        } else {
            drop(tokens.send(said(&daemon, &script, &path).await).await);
        }
    });
    let mut response = Response::new(Tokens(body));
    *response.status_mut() = status.try_into().expect("both are statuses");
    Ok(response)
}

/// Beside streams: what an earlier generation says, work without a connection, and who this is.
async fn said(daemon: &Daemon, script: &Script, path: &str) -> Bytes {
    static WORK: Mutex<Vec<Work>> = Mutex::new(Vec::new());
    static PROBES: AtomicU32 = AtomicU32::new(0);
    let work = || WORK.lock().expect("nobody panics here");
    if let Some(path) = path.strip_prefix("/earlier") {
        let earlier = daemon.ask_earlier(Method::GET, path, &HeaderMap::new()).await;
        return earlier.unwrap_or_else(|| Bytes::from_static(b"nobody\n"));
    }
    if let Some(path) = path.strip_prefix("/each-earlier") {
        let each = daemon.earlier(path, &HeaderMap::new()).await.into_iter();
        let each = each.map(|(identity, said)| {
            let said = said.unwrap_or_else(|| Bytes::from_static(b"nothing\n"));
            format!("{}: {}", identity.pid, String::from_utf8_lossy(&said))
        });
        return Bytes::from(each.collect::<String>());
    }
    match path {
        "/health" => drop(PROBES.fetch_add(1, Ordering::Relaxed)),
        "/probes" => return Bytes::from(format!("{}\n", PROBES.load(Ordering::Relaxed))),
        "/time" => return Bytes::from(format!("{}\n", time_of_day().as_secs())),
        "/block" => block(),
        "/report" => report(&"x".repeat(99)),
        "/work" => work().push(daemon.work()),
        "/work-done" => work().clear(),
        _ => {}
    }
    Bytes::from(format!("{} {}\n", script.version, std::process::id()))
}

/// Nothing else happens on this thread meanwhile.
fn block() {
    report("blocks");
    let (_nobody, says) = std::sync::mpsc::channel::<()>();
    says.recv_timeout(BLOCKED).ok();
}

fn time_of_day() -> Duration {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default()
}

struct Tokens(mpsc::Receiver<Bytes>);

impl Body for Tokens {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|token| token.map(|token| Ok(Frame::data(token))))
    }
}

/// Not `eprintln!`, which panics when nobody listens any more.
fn report(line: &str) {
    drop(writeln!(std::io::stderr(), "{line}"));
}
