use std::time::Duration;

use daemon_lifecycle::Daemon;
use rbee_config::LiveConfig;

/// How often a daemon looks at its own sources where the configuration trusts no check for longer.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(2);

/// Replaces the daemon when its own sources change, while the configuration has updates switched
/// on. Never returns; to be raced against serving.
pub async fn keep_fresh(daemon: &Daemon, config: &LiveConfig) -> ! {
    let every = config.current().auto_update.check_interval.max(SHORTEST_INTERVAL);
    daemon.keep_fresh(every, || config.current().auto_update.enabled).await;
    std::future::pending().await
}
