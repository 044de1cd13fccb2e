//! The hive's process: flags, configuration, listener.

use std::net::Ipv4Addr;

use anyhow::Context as _;
use chain_daemon::keep_fresh;
use chain_level::{LEASE_ROUND, Metrics, Told, narrate_into, serve};
use clap::Parser;
use daemon_lifecycle::Daemon;
use job_server::{JobServer, Limits};
use rbee_config::{LiveConfig, Overrides};
use rbee_hive::{Hive, router};

/// Serves the models of one host; the queen starts it.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Port on 127.0.0.1; 0 lets the system choose one.
    #[arg(long, default_value_t = 8600)]
    port: u16,
    /// The name that the configuration has for this hive.
    #[arg(long, default_value = "localhost")]
    alias: String,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let config = LiveConfig::load(Overrides::default()).context("cannot read the configuration")?;
    config.current().paths.create().context("cannot make rbee's folders")?;
    let (jobs, metrics) = (JobServer::new(Limits::default()), Metrics::default());
    let told = Told::new();
    let narrate = narrate_into(jobs.clone(), told.clone(), metrics.clone());
    chain_daemon::init_tracing(config.current().log.as_deref(), narrate);
    let daemon = Daemon::attach("rbee-hive")?;
    let listener = daemon.listen_tcp((Ipv4Addr::LOCALHOST, args.port).into()).await?;
    let address = listener.local_addr()?;
    let hive =
        Hive::open(&args.alias, config.clone(), jobs, metrics, daemon.clone())?.telling(told);
    hive.adopt_workers().await;
    daemon.ready(address).await?;
    tracing::info!(%address, "hive is ready");
    let router = router(hive.clone(), address.port());
    tokio::select! {
        served = serve(&daemon, listener, router) => Ok(served?),
        never = hive.keep_workers(LEASE_ROUND) => never,
        never = hive.leave_in_time(address) => never,
        never = keep_fresh(&daemon, &config) => never,
    }
}
