//! The queen's process: flags, configuration, listener.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use anyhow::Context as _;
use chain_daemon::keep_fresh;
use chain_level::{LEASE_ROUND, Metrics, Told, narrate_into, serve};
use clap::Parser;
use daemon_lifecycle::{Daemon, Handshake, Listener, TcpListener};
use futures::future::try_join_all;
use job_server::{JobServer, Limits};
use queen_rbee::{Queen, Tls, open_journal, router};
use rbee_config::{LiveConfig, Overrides};

/// One address for everything that rbee serves; the keeper starts it.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Port on 127.0.0.1; 0 lets the system choose one.
    #[arg(long, default_value_t = 8500)]
    port: u16,
    /// Another of this machine's addresses to listen at; `0.0.0.0` stands for all of them.
    #[arg(long, default_value_t = Ipv4Addr::LOCALHOST.into())]
    bind: IpAddr,
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
    let daemon = Daemon::attach("queen-rbee")?;
    let (address, listeners) = listen(&daemon, args.bind, args.port).await?;
    let journal = open_journal(&config, daemon.identity()).context("cannot keep a journal")?;
    let queen = Queen::open(config.clone(), jobs, metrics, daemon.clone())?;
    let queen = queen.telling(told).journaled(journal.clone());
    daemon.ready(address).await?;
    tracing::info!(%address, "queen is ready");
    let router = router(queen.clone(), address.port());
    let handshake: Arc<dyn Handshake> = Arc::new(Tls::new(config.clone()));
    let served = listeners.into_iter().map(|listener| {
        let listener = Listener::from(listener).with_handshake(Arc::clone(&handshake));
        serve(&daemon, listener, router.clone())
    });
    let served = tokio::select! {
        served = try_join_all(served) => served.map(drop),
        never = queen.keep_hives(LEASE_ROUND) => never,
        never = queen.keep_accepted() => never,
        never = queen.keep_followed() => never,
        never = queen.leave_in_time(address) => never,
        never = keep_fresh(&daemon, &config) => never,
    };
    // What ends from here on ends because this process does, and is the next one's.
    journal.close().await;
    Ok(served?)
}

/// Listens at `bind`, and on 127.0.0.1, where this machine's programs look; says where that is.
async fn listen(
    daemon: &Daemon,
    bind: IpAddr,
    port: u16,
) -> anyhow::Result<(SocketAddr, Vec<TcpListener>)> {
    let is_any = bind.is_unspecified();
    let own = if is_any { bind } else { Ipv4Addr::LOCALHOST.into() };
    let listener = daemon.listen_tcp((own, port).into()).await?;
    let port = listener.local_addr()?.port();
    let mut listeners = vec![listener];
    if !is_any && bind != own {
        listeners.push(daemon.listen_tcp((bind, port).into()).await?);
    }
    Ok(((Ipv4Addr::LOCALHOST, port).into(), listeners))
}
