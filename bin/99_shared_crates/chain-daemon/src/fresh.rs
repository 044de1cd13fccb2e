use daemon_lifecycle::Daemon;
use rbee_config::{AutoUpdate, LiveConfig};

/// Replaces the daemon when its own sources change, while the configuration has updates and
/// watching switched on. Never returns; to be raced against serving.
pub async fn keep_fresh(daemon: &Daemon, config: &LiveConfig) -> ! {
    let trust = || {
        let AutoUpdate { enabled, watch, check_interval, .. } = config.current().auto_update;
        (enabled && watch).then_some(check_interval)
    };
    daemon.keep_fresh(trust).await
}
