//! The queen's process: flags, configuration, listener.

use std::net::Ipv4Addr;

use anyhow::Context as _;
use chain_daemon::keep_fresh;
use chain_level::{LEASE_ROUND, narrate_into, serve};
use clap::Parser;
use daemon_lifecycle::Daemon;
use job_server::{JobServer, Limits};
use queen_rbee::{Queen, router};
use rbee_config::{LiveConfig, Overrides};

/// One address for everything that rbee serves; the keeper starts it.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Port on 127.0.0.1; 0 lets the system choose one.
    #[arg(long, default_value_t = 8500)]
    port: u16,
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
        served = serve(&daemon, listener, router) => Ok(served?),
        never = queen.keep_hives(LEASE_ROUND) => never,
        never = queen.leave_in_time(address) => never,
        never = keep_fresh(&daemon, &config) => never,
    }
}
