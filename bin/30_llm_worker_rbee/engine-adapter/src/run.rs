use std::{
    fs,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use daemon_lifecycle::{Daemon, Program};
use rbee_api::{Status, jobs_socket, jobs_sockets, lease_socket};
use worker_service::{Defaults, Lease, WorkerService};

use crate::{
    Common, Plan,
    engine::Engine,
    http::{Service, router},
};

/// What an engine without requests may take to end when it is asked to.
const END_GRACE: Duration = Duration::from_secs(5);

/// The same where the starter kills whatever takes longer.
const HURRIED_GRACE: Duration = Duration::from_secs(1);

/// What is left of an engine that has broken down may take so long to be cleared away by itself.
const BROKEN_GRACE: Duration = Duration::from_secs(2);

/// What ended streams may take to reach their readers, and their requests to end in the engine.
const LAST_WORDS: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(20);

/// Serves by the engine of `plan` until the worker is told to end, or nobody wants it any more, or
/// the engine breaks down.
///
/// # Errors
///
/// When the engine cannot be started, or breaks down; the starter is told why.
pub async fn run(role: &str, common: &Common, plan: anyhow::Result<Plan>) -> anyhow::Result<()> {
    let daemon = Daemon::attach(role).context("cannot become a daemon")?;
    // What a worker does is narrated by its hive.
    chain_daemon::init_tracing(Some(&common.log), |_| ());
    let served = match plan {
        Ok(plan) => serve(&daemon, common, &plan).await,
        Err(error) => Err(error),
    };
    if let Err(error) = &served {
        tracing::error!("{error:#}");
        daemon.fail(format!("{error:#}")).await;
    }
    served
}

async fn serve(daemon: &Daemon, common: &Common, plan: &Plan) -> anyhow::Result<()> {
    let defaults = Defaults::read(common.settings.clone())?;
    let mut engine = Engine::take(&common.engine, plan, common.orphan).await?;
    let how = if engine.is_adopted { "goes on with" } else { "starts" };
    tracing::info!(folder = %common.engine.display(), "the worker {how} {}", plan.engine);
    let loaded = tokio::select! {
        loaded = engine.ready(common.load_timeout, |line| daemon.progress(line)) => loaded,
        _ = daemon.shutdown() => Err(anyhow::anyhow!("the worker was told to end")),
    };
    if let Err(error) = loaded {
        engine.leave(HURRIED_GRACE).await;
        return Err(error);
    }
    let _record = Record::write(&common.socket, engine.program());
    match serve_by(daemon, common, plan, &engine, defaults).await? {
        Some(why) => Err(anyhow::anyhow!(why)),
        None => Ok(()),
    }
}

/// Until the worker is to end, and its part in the engine with it; `Some` when that is since the
/// engine has broken down.
async fn serve_by(
    daemon: &Daemon,
    common: &Common,
    plan: &Plan,
    engine: &Engine,
    defaults: Defaults,
) -> anyhow::Result<Option<String>> {
    let lease = Lease::new(common.lease);
    let health = {
        let (daemon, since) = (daemon.clone(), Instant::now());
        move || {
            let mut health = chain_daemon::health(daemon.identity(), since);
            if daemon.shutdown().requested().is_some() {
                health.status = Status::Draining;
            }
            health
        }
    };
    let worker = WorkerService::new(lease.clone(), health).keeping_what_is_unread();
    let upstream = engine.upstream.clone();
    let service = Service::new(common, plan, worker, upstream).with_defaults(defaults);
    let listener = daemon.listen_unix(&common.socket).await?;
    let beside = service.worker.routes_beside();
    let _beside = daemon.answer_beside(&lease_socket(&common.socket), beside).await?;
    remove_left(&common.socket);
    let apart = jobs_socket(&common.socket, daemon.identity().generation);
    let _apart = daemon.answer_apart(&apart, service.worker.routes()).await?;
    daemon.ready(common.socket.display()).await?;
    tracing::info!(socket = %common.socket.display(), "the worker is ready");
    let drained = async {
        read_out(daemon, &service).await;
        let deadline = daemon.shutdown().requested().map(|shutdown| shutdown.drain_deadline);
        let is_hurried = deadline.is_some_and(|deadline| deadline < Instant::now());
        leave(&service, engine, if is_hurried { HURRIED_GRACE } else { END_GRACE }).await;
    };
    let serving = daemon.serve_then(listener, router(service.clone()), drained);
    let broken = async {
        tokio::select! {
            why = engine.failed() => why,
            why = service.broken() => why,
        }
    };
    tokio::pin!(serving);
    let why = tokio::select! {
        served = &mut serving => {
            served?;
            return Ok(None);
        }
        () = unwanted(daemon, &lease) => {
            tracing::info!("nobody has renewed the lease: leaving");
            read_out(daemon, &service).await;
            leave(&service, engine, END_GRACE).await;
            return Ok(None);
        }
        why = broken => why,
    };
    tracing::error!("the engine has broken down: {why}");
    service.break_down(why.clone());
    let told = async {
        idle(&service).await;
        // What the streams end with is still to be written to their connections.
        tokio::time::sleep(PAUSE * 10).await;
    };
    tokio::select! {
        () = told => {}
        () = tokio::time::sleep(LAST_WORDS) => tracing::warn!("requests are still under way"),
        _ = serving => {}
    }
    engine.end_broken(BROKEN_GRACE).await;
    Ok(Some(why))
}

/// Removes the sockets for jobs that killed workers have left.
fn remove_left(socket: &Path) {
    for (_, left) in jobs_sockets(socket) {
        if UnixStream::connect(&left).is_err()
            && let Err(error) = fs::remove_file(&left)
        {
            tracing::debug!(%error, "a socket that was left cannot be removed");
        }
    }
}

/// Until the lease has ended of a worker that serves. One that is told to end has its time to finish what it
/// has.
async fn unwanted(daemon: &Daemon, lease: &Lease) {
    lease.ended().await;
    if daemon.shutdown().requested().is_some() {
        std::future::pending::<()>().await;
    }
}

/// Until whoever reads a stream has got it, or is not to be waited for any more: what it lacks is nowhere
/// else, and it may have lost its connection, or be another process by now.
async fn read_out(daemon: &Daemon, service: &Service) {
    let shutdown = daemon.shutdown();
    tokio::select! {
        () = service.worker.read_out() => {}
        () = shutdown.drained() => {}
    }
}

/// Gives the engine up, once it has no request of this worker.
async fn leave(service: &Service, engine: &Engine, grace: Duration) {
    // What is left at the deadline would be waited for in vain.
    let jobs = service.worker.jobs();
    for job in jobs.list() {
        drop(jobs.cancel(&job.id, None));
    }
    if tokio::time::timeout(LAST_WORDS, idle(service)).await.is_err() {
        tracing::warn!("requests are still under way");
    }
    engine.leave(grace).await;
}

async fn idle(service: &Service) {
    while service.worker.lease().requests() > 0 {
        tokio::time::sleep(PAUSE).await;
    }
}

/// Beside the worker's socket, for whoever counts the memory of a worker: the engine's processes.
struct Record(PathBuf);

impl Record {
    fn write(socket: &Path, program: &Program) -> Self {
        let path = socket.with_file_name("engine.json");
        let text = serde_json::to_vec(program).unwrap_or_default();
        if let Err(error) = fs::write(&path, text) {
            tracing::warn!(%error, "cannot say which processes are the engine's");
        }
        Self(path)
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::debug!(%error, "the record of the engine's processes is gone already");
        }
    }
}
