//! The queen's process: flags, configuration, listener.

use std::net::Ipv4Addr;

use anyhow::Context as _;
use axum::Extension;
use chain_daemon::keep_fresh;
use clap::Parser;
use completion_relay::narrate_into;
use daemon_lifecycle::{Connection, Daemon};
use http_guard::Peer;
use job_server::{JobServer, Limits};
use queen_rbee::{Queen, router};
use rbee_config::{LiveConfig, Overrides};
use tower::Layer as _;

/// One address for everything that rbee serves; the keeper starts it.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Port on 127.0.0.1; 0 lets the system choose one.
    #[arg(long, default_value_t = 8500)]
    port: u16,
}

/// Tells the routes whose connection a request came on.
fn known(from: Connection) -> Extension<Peer> {
    Extension(match from {
        Connection::Tcp { local, remote } => Peer::of_tcp(local, remote),
        Connection::Unix => Peer::SameUser,
    })
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let config = LiveConfig::load(Overrides::default()).context("cannot read the configuration")?;
    config.current().paths.create().context("cannot make rbee's folders")?;
    let jobs = JobServer::new(Limits::default());
    chain_daemon::init_tracing(config.current().log.as_deref(), narrate_into(jobs.clone()));
    let daemon = Daemon::attach("queen-rbee")?;
    let listener = daemon.listen_tcp((Ipv4Addr::LOCALHOST, args.port).into()).await?;
    let address = listener.local_addr()?;
    let queen = Queen::open(config.clone(), jobs, daemon.clone())?;
    daemon.ready(address).await?;
    tracing::info!(%address, "queen is ready");
    let router = router(queen.clone(), address.port());
    tokio::select! {
        served = daemon.serve_each(listener, |from| known(from).layer(router.clone())) => Ok(served?),
        never = queen.leave_in_time(address) => never,
        never = keep_fresh(&daemon, &config) => never,
    }
}
