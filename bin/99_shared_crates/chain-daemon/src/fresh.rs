use daemon_lifecycle::Daemon;
use rbee_config::LiveConfig;

/// Replaces the daemon when its own sources change, while the configuration has updates switched
/// on. Never returns; to be raced against serving.
pub async fn keep_fresh(daemon: &Daemon, config: &LiveConfig) -> ! {
    let trust = || {
        let config = config.current();
        config.auto_update.enabled.then_some(config.auto_update.check_interval)
    };
    daemon.keep_fresh(trust).await
}
