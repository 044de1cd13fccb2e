//! The hive's process: flags, configuration, listener.

mod manage; // a hive on a machine without sources, by its own binary

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use anyhow::Context as _;
use chain_daemon::keep_fresh;
use chain_level::{LEASE_ROUND, Metrics, ServedAt, Told, narrate_into, serve};
use clap::Parser;
use daemon_lifecycle::{Daemon, Listener};
use job_server::{JobServer, Limits};
use rbee_config::{LiveConfig, Overrides};
use rbee_hive::{Hive, router};

/// How long a stream waits for a queen on another machine.
const LINK_CUT: Duration = Duration::from_mins(5);

/// Serves the models of one host; the queen starts it.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Args {
    /// Port on 127.0.0.1; 0 lets the system choose one.
    #[arg(long, default_value_t = 8600)]
    port: u16,
    /// A Unix socket in place of the port.
    #[arg(long, conflicts_with = "port")]
    socket: Option<PathBuf>,
    /// The name that the configuration has for this hive.
    #[arg(long, default_value = "localhost")]
    alias: String,
    #[command(subcommand)]
    manage: Option<manage::Manage>,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    match args.manage {
        Some(manage) => Ok(manage::run(manage).await),
        None => run(args).await.map(|()| ExitCode::SUCCESS),
    }
}

async fn run(args: Args) -> anyhow::Result<()> {
    let config = LiveConfig::load(Overrides::default()).context("cannot read the configuration")?;
    config.current().paths.create().context("cannot make rbee's folders")?;
    let (jobs, metrics) = (JobServer::new(limits(args.socket.is_some())), Metrics::default());
    let told = Told::new();
    let narrate = narrate_into(jobs.clone(), told.clone(), metrics.clone());
    chain_daemon::init_tracing(config.current().log.as_deref(), narrate);
    let daemon = Daemon::attach("rbee-hive")?;
    let (listener, at) = listen(&daemon, args.socket, args.port).await?;
    let hive =
        Hive::open(&args.alias, config.clone(), jobs, metrics, daemon.clone())?.telling(told);
    hive.adopt_workers().await;
    let port = match &at {
        ServedAt::Port(address) => {
            daemon.ready(address).await?;
            tracing::info!(%address, "hive is ready");
            Some(address.port())
        }
        ServedAt::Socket(path) => {
            daemon.ready(path.display()).await?;
            tracing::info!(path = %path.display(), "hive is ready");
            None
        }
    };
    let router = router(hive.clone(), port);
    tokio::select! {
        served = serve(&daemon, listener, router) => Ok(served?),
        never = hive.keep_workers(LEASE_ROUND) => never,
        never = hive.leave_in_time(at) => never,
        never = keep_fresh(&daemon, &config) => never,
    }
}

/// Whoever comes by a socket comes over a link, and is away while that is cut.
fn limits(is_linked: bool) -> Limits {
    let limits = Limits::default();
    Limits { absence: if is_linked { LINK_CUT } else { limits.absence }, ..limits }
}

async fn listen(
    daemon: &Daemon,
    socket: Option<PathBuf>,
    port: u16,
) -> anyhow::Result<(Listener, ServedAt)> {
    if let Some(path) = socket {
        let listener = daemon.listen_unix_shared(&path).await?;
        return Ok((listener.into(), ServedAt::Socket(path)));
    }
    let listener = daemon.listen_tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?;
    let address = listener.local_addr()?;
    Ok((listener.into(), ServedAt::Port(address)))
}
