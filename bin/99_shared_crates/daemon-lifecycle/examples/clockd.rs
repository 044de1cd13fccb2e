//! A server that is replaced by another build of itself, without a lost request.
//!
//! `cargo run -p daemon-lifecycle --example clockd -- start` starts it, or finds it running, or replaces
//! it where this file was edited since. `-- stop` ends it. `docs/tutorial.md` has one that follows edits by
//! itself.

#![expect(clippy::print_stdout, reason = "a program that is run by hand")]

use std::{
    env,
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, UNIX_EPOCH},
};

use axum::{Router, routing::get};
use daemon_lifecycle::{Daemon, DaemonManager, Error, StopMode};

const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8610);

#[tokio::main]
async fn main() -> Result<(), Error> {
    match env::args().nth(1).as_deref() {
        Some("start") => {
            let clock = manager()?.spawn().await?;
            println!("{:?}: http://{}/", clock.outcome(), clock.address());
        }
        Some("stop") => {
            let stopped = manager()?.stop(StopMode::Drain(Duration::from_secs(10))).await?;
            println!("{} stopped", stopped.ended.len());
        }
        // Started by the above, or by hand.
        _ => Daemon::run("clockd", ADDRESS, Router::new().route("/", get(time))).await?,
    }
    Ok(())
}

/// This very program: a real daemon would be another binary, found by
/// [`DaemonManager::find_in_target`] and kept up to date by [`DaemonManager::enable_auto_update`].
fn manager() -> Result<DaemonManager, Error> {
    let path = env::current_exe();
    let path = path.map_err(|source| Error::Launch { path: "clockd".into(), source })?;
    Ok(DaemonManager::new(path, ["serve"]))
}

async fn time() -> String {
    let since = UNIX_EPOCH.elapsed().unwrap_or_default();
    format!("{} seconds since 1970\n", since.as_secs())
}
