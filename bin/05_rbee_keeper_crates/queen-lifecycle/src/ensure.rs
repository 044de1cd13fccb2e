use chain_daemon::{InstanceName, QUEEN, Spec};
use daemon_lifecycle::{DaemonHandle, DaemonManager, Outcome, RestartPolicy, Supervisor};
use rbee_config::{Overrides, RbeeConfig};

use crate::{Error, QueenHandle};

/// Makes sure that an up-to-date queen answers at `base_url`, such as `http://127.0.0.1:8500`.
///
/// The rest of the configuration is read from where rbee keeps it. A port of 0 stands for the port
/// that the queen of this `RBEE_HOME` has bound, or will: [`QueenHandle::base_url`] has it.
///
/// # Errors
///
/// As [`ensure_queen`], and when the configuration cannot be read or `base_url` has no port.
pub async fn ensure_queen_running(base_url: &str) -> Result<QueenHandle, Error> {
    let mut config = RbeeConfig::load(&Overrides::default()).map_err(Error::Config)?;
    config.queen.port = port_of(base_url)?;
    ensure_queen(&config).await
}

/// Makes sure that an up-to-date queen answers: starts one, or replaces one whose binary is stale.
///
/// # Errors
///
/// When the queen cannot be built, does not become ready, or something else holds its port.
pub async fn ensure_queen(config: &RbeeConfig) -> Result<QueenHandle, Error> {
    let daemon = manager(config).map_err(Error::Start)?.spawn().await.map_err(Error::Start)?;
    Ok(handle(&daemon))
}

/// The same, and a queen that is up to date is replaced too, by one of the same binary: as in every
/// replacement no request is refused and no stream cut, and hives and workers go on.
///
/// # Errors
///
/// As [`ensure_queen`].
pub async fn restart_queen(config: &RbeeConfig) -> Result<QueenHandle, Error> {
    let daemon = manager(config).map_err(Error::Start)?.restart().await.map_err(Error::Start)?;
    Ok(handle(&daemon))
}

fn handle(daemon: &DaemonHandle) -> QueenHandle {
    let base_url = format!("http://{}", daemon.address());
    let handle = match daemon.outcome() {
        Outcome::Started | Outcome::Replaced { .. } => {
            QueenHandle::started_by_us(base_url, daemon.id())
        }
        Outcome::Reused | Outcome::RolledBack { .. } | Outcome::Stale { .. } => {
            QueenHandle::already_running(base_url)
        }
    };
    handle.identified(daemon.identity().clone())
}

/// The queen that runs, stale or not; starts nothing.
///
/// # Errors
///
/// When the run directory cannot be read.
pub async fn find_queen(config: &RbeeConfig) -> Result<Option<QueenHandle>, Error> {
    let manager = manager(config).map_err(Error::Find)?;
    let running = manager.running().await.map_err(Error::Find)?;
    Ok(running.map(|identity| {
        QueenHandle::already_running(format!("http://{}", identity.address)).identified(identity)
    }))
}

/// Keeps a queen running, through its failures and replacements, for as long as the value lives.
/// The queen outlives it. Needs a Tokio runtime.
///
/// # Errors
///
/// When there is no queen's binary to be found; that it fails later is told by the supervisor.
pub fn supervise_queen(config: &RbeeConfig) -> Result<Supervisor, Error> {
    Ok(manager(config).map_err(Error::Start)?.supervise(RestartPolicy::default()))
}

pub(crate) fn manager(config: &RbeeConfig) -> Result<DaemonManager, daemon_lifecycle::Error> {
    let mut args = vec!["--port".to_owned(), config.queen.port.to_string()];
    if !config.queen.bind.is_loopback() || config.queen.bind.is_ipv6() {
        args.extend(["--bind".to_owned(), config.queen.bind.to_string()]);
    }
    let spec =
        Spec { binary: QUEEN, instance: instance(config), args, takeover: config.queen.takeover };
    // Hives on other machines are reached with the user's own keys.
    Ok(chain_daemon::manager(config, spec)?.env_allow(["SSH_AUTH_SOCK"]))
}

pub(crate) fn instance(config: &RbeeConfig) -> InstanceName {
    InstanceName::Queen { port: config.queen.port }
}

fn port_of(base_url: &str) -> Result<u16, Error> {
    base_url
        .trim_end_matches('/')
        .strip_prefix("http://")
        .and_then(|authority| authority.rsplit_once(':'))
        .and_then(|(_, port)| port.parse().ok())
        .ok_or_else(|| Error::BaseUrl { url: base_url.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::port_of;

    #[test]
    fn the_port_is_taken_from_the_base_url() {
        assert_eq!(port_of("http://127.0.0.1:8500").unwrap(), 8500);
        assert_eq!(port_of("http://localhost:0/").unwrap(), 0);
    }

    #[test]
    fn an_address_without_a_port_is_refused() {
        for url in ["http://127.0.0.1", "https://127.0.0.1:8500", "8500", "http://[::1]"] {
            assert!(port_of(url).is_err(), "{url}");
        }
    }
}
