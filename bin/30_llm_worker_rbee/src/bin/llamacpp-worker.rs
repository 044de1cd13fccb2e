//! Assembles the worker: flags, model, engine, listener.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use clap::Parser as _;
use daemon_lifecycle::Daemon;
use llm_worker_rbee::{
    Args, Carrier, Embedder, Engine, EngineThread, LoadError, LoadOptions, Model, ModelFile,
    Sandbox, Service, Work, router,
};
use rbee_api::{Status, lease_socket};
use worker_service::{Defaults, Lease, SettingsError};

/// What is read before the sandbox is entered.
struct Read {
    model: Result<ModelFile, LoadError>,
    settings: Result<Defaults, SettingsError>,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    // The sandbox is this thread's and that of those it starts, so it comes before all others.
    let read =
        Read { model: Model::open(&args.model), settings: Defaults::read(args.settings.clone()) };
    let file = read.model.as_ref().ok();
    let sandbox = file.map(|file| Sandbox::enter(file.file(), args.folder()));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.context("cannot start Tokio")?.block_on(run(args, read, sandbox))
}

async fn run(args: Args, read: Read, sandbox: Option<Sandbox>) -> anyhow::Result<()> {
    let daemon = Daemon::attach("llamacpp-worker").context("cannot become a daemon")?;
    // What a worker does is narrated by its hive.
    chain_daemon::init_tracing(Some(&args.log), |_| ());
    match sandbox {
        Some(sandbox) if sandbox.is_whole() => tracing::info!("sandboxed: {sandbox}"),
        Some(sandbox) => tracing::warn!("not wholly sandboxed by this kernel: {sandbox}"),
        None => {}
    }
    let served = serve(&daemon, args, read).await;
    if let Err(error) = &served {
        tracing::error!("{error:#}");
        daemon.fail(format!("{error:#}")).await;
    }
    served
}

async fn serve(daemon: &Daemon, args: Args, read: Read) -> anyhow::Result<()> {
    let (file, defaults) = (read.model?, read.settings?);
    let chat_template = defaults.settings().chat_template.clone();
    let options = LoadOptions { gpu_layers: args.gpu_layers, chat_template };
    let model = tokio::task::spawn_blocking(move || file.load_with(&options))
        .await
        .context("the model's loading broke off")??;
    tracing::info!(facts = ?model.facts(), "the model is loaded");
    daemon.progress("preparing the context").await;
    let (work, thread) = start(&args, model).await?;
    tracing::info!(config = ?work.config(), pooling = ?work.pooling(), "the context is made");
    let lease = Lease::new(args.lease);
    let health = {
        let (daemon, work, since) = (daemon.clone(), work.clone(), Instant::now());
        move || {
            let mut health = chain_daemon::health(daemon.identity(), since);
            if daemon.shutdown().requested().is_some() {
                health.status = Status::Draining;
            }
            if let Some(silent) = work.stuck_for() {
                tracing::error!(?silent, "the engine's thread gets nowhere");
                health.status = Status::Stuck;
            }
            health
        }
    };
    let carrier = carrier(&work, args.folder());
    let service = Service::new(work, &args.name, lease.clone(), health)
        .with_defaults(defaults)
        .map_err(|error| anyhow::anyhow!("what is set for the model: {}", error.message()))?;
    let listener = daemon.listen_unix(&args.socket).await?;
    let beside = service.routes_beside();
    let _beside = daemon.answer_beside(&lease_socket(&args.socket), beside).await?;
    daemon.ready(args.socket.display()).await?;
    tracing::info!(socket = %args.socket.display(), "the worker is ready");
    tokio::select! {
        served = daemon.serve_then(listener, router(service), hand_on(carrier)) => served?,
        () = lease.ended() => tracing::info!("nobody has renewed the lease: leaving"),
        () = unreachable(&args.socket, &lease) => {
            tracing::info!("the socket is gone and cannot be made anew: leaving");
        }
    }
    tokio::task::spawn_blocking(|| thread.join()).await.context("the engine broke off")
}

/// What the model is for, or what whoever starts the worker says that it is for.
async fn start(args: &Args, model: Model) -> Result<(Work, EngineThread), LoadError> {
    let pooling = model.served(args.pooling)?;
    let config = args.engine(model.facts(), pooling.is_some());
    let model = Arc::new(model);
    Ok(match pooling {
        None => {
            let (engine, thread) = Engine::start(model, config).await?;
            (engine.into(), thread)
        }
        Some(pooling) => {
            let (embedder, thread) = Embedder::start(model, config, pooling).await?;
            (embedder.into(), thread)
        }
    })
}

/// Where conversations are handed on: of text, and where there may be a socket for it.
fn carrier(work: &Work, folder: &Path) -> Option<Carrier> {
    let Work::Text(engine) = work else { return None };
    Carrier::start(engine.clone(), folder)
        .inspect_err(|error| tracing::warn!(%error, "no conversation can be carried over"))
        .ok()
}

async fn hand_on(carrier: Option<Carrier>) {
    if let Some(carrier) = carrier {
        carrier.finish().await;
    }
}

/// How long the socket may be away. The daemon makes it anew within half a second where it can; in the
/// sandbox it can only while its folder is there.
const SOCKET_AWAY: Duration = Duration::from_secs(3);

/// Until nobody can reach this worker any more, and it answers nobody: a hive starts another.
async fn unreachable(socket: &Path, lease: &Lease) {
    let mut away = Duration::ZERO;
    while away < SOCKET_AWAY || lease.requests() > 0 {
        const LOOK: Duration = Duration::from_millis(500);
        tokio::time::sleep(LOOK).await;
        away = if socket.exists() { Duration::ZERO } else { away + LOOK };
    }
}
