//! Assembles the worker: flags, model, engine, listener.

use std::{sync::Arc, time::Instant};

use anyhow::Context as _;
use clap::Parser as _;
use daemon_lifecycle::Daemon;
use llm_worker_rbee::{Args, Engine, Model, Service, router};
use rbee_api::Status;
use worker_service::Lease;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let daemon = Daemon::attach("llamacpp-worker").context("cannot become a daemon")?;
    // What a worker does is narrated by its hive.
    chain_daemon::init_tracing(Some(&args.log), |_| ());
    let served = serve(&daemon, args).await;
    if let Err(error) = &served {
        tracing::error!("{error:#}");
        daemon.fail(format!("{error:#}")).await;
    }
    served
}

async fn serve(daemon: &Daemon, args: Args) -> anyhow::Result<()> {
    let path = args.model.clone();
    let model = tokio::task::spawn_blocking(move || Model::load(&path))
        .await
        .context("the model's loading broke off")??;
    let config = args.engine(model.facts());
    tracing::info!(?config, facts = ?model.facts(), "the model is loaded");
    daemon.progress("preparing the context").await;
    let (engine, thread) = Engine::start(Arc::new(model), config).await?;
    let lease = Lease::new(args.lease);
    let health = {
        let (daemon, engine, since) = (daemon.clone(), engine.clone(), Instant::now());
        move || {
            let mut health = chain_daemon::health(daemon.identity(), since);
            if daemon.shutdown().requested().is_some() {
                health.status = Status::Draining;
            }
            if let Some(silent) = engine.stuck_for() {
                tracing::error!(?silent, "the engine's thread gets nowhere");
                health.status = Status::Stuck;
            }
            health
        }
    };
    let listener = daemon.listen_unix(&args.socket).await?;
    daemon.ready(args.socket.display()).await?;
    tracing::info!(socket = %args.socket.display(), "the worker is ready");
    let service = router(Service::new(engine, &args.name, lease.clone(), health));
    tokio::select! {
        served = daemon.serve(listener, service) => served?,
        () = lease.ended() => tracing::info!("nobody has renewed the lease: leaving"),
    }
    tokio::task::spawn_blocking(|| thread.join()).await.context("the engine broke off")
}
